package build

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// toolFiles are the files that name versions of tools, of the folders in which
// the commands run and of the repository's root.
type toolFiles struct {
	fsys fs.FS
	dirs []string
	// packages, versions and mise have the parsed files of each folder.
	packages map[string]toolPackage
	versions map[string]map[string]string
	mise     map[string]miseFile
}

// toolPackage is the part of a package.json that names versions. A key of a
// wrong type stays empty.
type toolPackage struct {
	Scripts        map[string]string `json:"scripts"`
	PackageManager any               `json:"packageManager"`
	Engines        any               `json:"engines"`
	Volta          any               `json:"volta"`
	DevEngines     struct {
		Runtime        any `json:"runtime"`
		PackageManager any `json:"packageManager"`
	} `json:"devEngines"`
}

type miseFile struct {
	name  string
	tools map[string]any
}

func readToolFiles(fsys fs.FS, dirs ...string) (toolFiles, error) {
	f := toolFiles{fsys: fsys, packages: map[string]toolPackage{}, versions: map[string]map[string]string{}, mise: map[string]miseFile{}}
	for _, dir := range append(dirs, ".") {
		if slices.Contains(f.dirs, dir) {
			continue
		}
		f.dirs = append(f.dirs, dir)
		if err := f.read(dir); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f toolFiles) read(dir string) error {
	data, err := f.file(dir, "package.json")
	if err != nil {
		return err
	}
	if data != nil {
		var p toolPackage
		if err := json.Unmarshal(data, &p); err != nil {
			if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); !wrongType {
				return troy.Errorf(troy.Invalid, "%s can't be read: %w", path.Join(dir, "package.json"), err)
			}
		}
		f.packages[dir] = p
	}
	if data, err = f.file(dir, ".tool-versions"); err != nil {
		return err
	}
	f.versions[dir] = map[string]string{}
	for line := range strings.Lines(string(data)) {
		// A line may name versions to fall back to (asdf-vm.com/manage/configuration.html).
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 1 {
			f.versions[dir][words[0]] = words[1]
		}
	}
	for _, name := range []string{"mise.toml", ".mise.toml", ".config/mise.toml"} {
		data, err := f.file(dir, name)
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		var file struct {
			Tools map[string]any `toml:"tools"`
		}
		if err := unmarshalTOML(data, &file); err != nil {
			return troy.Errorf(troy.Invalid, "%s is not valid TOML: %s", path.Join(dir, name), strings.TrimPrefix(err.Error(), "toml: "))
		}
		f.mise[dir] = miseFile{name, file.Tools}
		break
	}
	return nil
}

// file returns a file's content, or nil if it does not exist.
func (f toolFiles) file(dir, name string) ([]byte, error) {
	data, err := readFile(f.fsys, path.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && data == nil {
		data = []byte{}
	}
	return data, err
}

// scripts returns the commands in the package.json files.
func (f toolFiles) scripts() (all []string) {
	for _, dir := range f.dirs {
		scripts := f.packages[dir].Scripts
		for _, name := range slices.Sorted(maps.Keys(scripts)) {
			all = append(all, scripts[name])
		}
	}
	return all
}

// asks returns what the files ask for: those of the nearest folder first, and
// in a folder those that pin a version before the ranges of package.json.
func (f toolFiles) asks(kind toolKind) (all []Ask, err error) {
	add := func(text, by string) {
		if err != nil || strings.TrimSpace(text) == "" {
			return
		}
		var ask Ask
		if ask, err = kind.ask(text, by); err == nil {
			all = append(all, ask)
		}
	}
	for _, dir := range f.dirs {
		for _, name := range kind.files {
			data, readErr := f.file(dir, name)
			if readErr != nil {
				return nil, readErr
			}
			add(firstLine(data), path.Join(dir, name))
		}
		p := f.packages[dir]
		if name, version := p.manager(); name == kind.name {
			add(version, keyIn("packageManager", dir, "package.json"))
		}
		add(textAt(p.Volta, kind.name), keyIn("volta."+kind.name, dir, "package.json"))
		for _, name := range kind.names {
			add(f.versions[dir][name], keyIn(name, dir, ".tool-versions"))
		}
		for _, name := range kind.names {
			add(miseVersion(f.mise[dir].tools[name]), keyIn("tools."+name, dir, f.mise[dir].name))
		}
		add(engine(p.DevEngines.Runtime, kind.name), keyIn("devEngines.runtime", dir, "package.json"))
		add(engine(p.DevEngines.PackageManager, kind.name), keyIn("devEngines.packageManager", dir, "package.json"))
		if text := textAt(p.Engines, kind.name); kind.name == "node" {
			add(text, keyIn("engines.node", dir, "package.json"))
		} else if _, ok := ParseRange(kind.name, text); ok {
			// Some packages forbid a manager with a sentence in its place.
			add(text, keyIn("engines."+kind.name, dir, "package.json"))
		}
		switch kind.name {
		case "ruby":
			data, readErr := f.file(dir, "Gemfile")
			if readErr != nil {
				return nil, readErr
			}
			if m := gemfileRuby.FindSubmatch(data); m != nil {
				add(string(m[1]), path.Join(dir, "Gemfile"))
			}
		case "go":
			data, readErr := f.file(dir, "go.mod")
			if readErr != nil {
				return nil, readErr
			}
			// The go command takes both as the oldest version, and toolchain is the
			// newer one (go.dev/ref/mod#go-mod-file-toolchain).
			for _, line := range []struct {
				key     string
				matches *regexp.Regexp
			}{{"toolchain", goModToolchain}, {"go", goModGo}} {
				if m := line.matches.FindSubmatch(data); m != nil {
					add(">="+string(m[1]), keyIn(line.key, dir, "go.mod"))
					break
				}
			}
		}
	}
	return all, err
}

// gemfileRuby matches a Gemfile's version of Ruby (bundler.io/man/gemfile.5.html).
var gemfileRuby = regexp.MustCompile(`(?m)^\s*ruby\s*\(?\s*["']([^"']+)["']\s*\)?\s*(#.*)?\r?$`)

// These match the lines of go.mod that name a release of Go.
var (
	goModToolchain = regexp.MustCompile(`(?m)^toolchain[ \t]+go(1\.[0-9]+(?:\.[0-9]+)?)[ \t]*(?://.*)?\r?$`)
	goModGo        = regexp.MustCompile(`(?m)^go[ \t]+(1\.[0-9]+(?:\.[0-9]+)?)[ \t]*(?://.*)?\r?$`)
	goModRequires  = regexp.MustCompile(`(?m)^require[ \t]*[(a-z]`)
)

// hugoModules reports whether Hugo, if a command runs it, needs the go command:
// a go.mod requires modules, and no folder _vendor has them
// (gohugo.io/hugo-modules/use-modules).
func (f toolFiles) hugoModules() bool {
	for _, dir := range f.dirs {
		data, err := f.file(dir, "go.mod")
		if err != nil || !goModRequires.Match(data) {
			continue
		}
		if info, err := fs.Stat(f.fsys, path.Join(dir, "_vendor")); err != nil || !info.IsDir() {
			return true
		}
	}
	return false
}

// firstLine returns the first line of a file that is not a comment.
func firstLine(data []byte) string {
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return ""
}

// manager splits packageManager: "pnpm@9.1.0+sha512.0a1b…".
func (p toolPackage) manager() (name, version string) {
	text, _ := p.PackageManager.(string)
	name, version, _ = strings.Cut(text, "@")
	version, _, _ = strings.Cut(version, "+")
	return name, version
}

// digest returns the digest of a manager's package in packageManager
// (github.com/nodejs/corepack#when-authoring-packages).
func (f toolFiles) digest(manager string) string {
	for _, dir := range f.dirs {
		if name, _ := f.packages[dir].manager(); name == manager {
			text, _ := f.packages[dir].PackageManager.(string)
			_, digest, _ := strings.Cut(text, "+")
			return digest
		}
	}
	return ""
}

// textAt returns a text of an object, or "".
func textAt(object any, key string) string {
	fields, _ := object.(map[string]any)
	text, _ := fields[key].(string)
	return text
}

// engine returns the version of a name in devEngines, which has one object or a
// list of them.
func engine(value any, name string) string {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, item := range list {
		if textAt(item, "name") == name {
			return textAt(item, "version")
		}
	}
	return ""
}

// miseVersion returns the version of a tool in mise.toml, which has a text, an
// object or a list of them (mise.jdx.dev/configuration.html).
func miseVersion(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case map[string]any:
		return textAt(v, "version")
	case []any:
		if len(v) > 0 {
			return miseVersion(v[0])
		}
	}
	return ""
}

// rubyRange converts Ruby's ~> to npm's grammar: ~> 3.2 is >=3.2 and below 4
// (guides.rubygems.org/patterns).
func rubyRange(text string) string {
	rest, found := strings.CutPrefix(text, "~>")
	if !found {
		return text
	}
	rest = strings.TrimSpace(rest)
	if strings.Count(rest, ".") < 2 {
		return "^" + rest
	}
	return "~" + rest
}

// pythonRange converts the operators of PEP 440 to npm's grammar.
func pythonRange(text string) string {
	return strings.NewReplacer("~=", "^", "==", "=", ",", " ").Replace(text)
}
