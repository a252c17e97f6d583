package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// detected is what the files of a repository show.
type detected struct {
	install, build          choice
	installRoot             string
	outputs                 []string
	outputBy                string
	manager, managerVersion string
	lockfile                string
	workspace               string // the folder above root of the workspace that contains it
	generator               string
	script                  string // the script in package.json that builds it
	// catalogue reports that the site is beside the package's own purpose.
	catalogue bool
	// server is the sign that the framework builds a server, or empty.
	server string
	// notes are sentences for the log.
	notes []string
	// site reports that it was recognized as a site; plain, that it is plain
	// HTML; spa, that one page answers all addresses by default.
	site, plain, spa bool
}

// manifest is the relevant part of a package.json.
type manifest struct {
	Scripts         map[string]string `json:"scripts"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	PackageManager  string            `json:"packageManager"`
	Source          any               `json:"source"` // Parcel's pages
	Workspaces      any               `json:"workspaces"`
	DevEngines      struct {
		PackageManager any `json:"packageManager"`
	} `json:"devEngines"`
}

func (m manifest) depends(onOneOf ...string) bool {
	return slices.ContainsFunc(onOneOf, func(name string) bool { return m.Dependencies[name] != "" || m.DevDependencies[name] != "" })
}

// dependencies returns the names of all dependencies, sorted.
func (m manifest) dependencies() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(m.Dependencies)), maps.Keys(m.DevDependencies))
	slices.Sort(names)
	return slices.Compact(names)
}

func detect(fsys fs.FS, root string) (detected, error) {
	d := detected{installRoot: root, outputs: usualOutputs(), outputBy: "the usual folders"}
	m, isPackage, err := readManifest(fsys, root)
	if err != nil {
		return d, err
	}
	if isPackage {
		if err := d.packages(fsys, root, m); err != nil {
			return d, err
		}
		if err := d.ofPackage(fsys, root, m); err != nil || d.site {
			return d, err
		}
	}
	if err := d.others(fsys, root); err != nil || d.site {
		return d, err
	}
	for _, dir := range []string{".", "public"} {
		if isPage(fsys, path.Join(root, dir, indexName)) {
			d.outputs, d.outputBy, d.site, d.plain = []string{dir}, "plain HTML", true, true
			break
		}
	}
	return d, nil
}

// ofPackage recognizes the framework of a package, or else its script build.
func (d *detected) ofPackage(fsys fs.FS, root string, m manifest) error {
	frameworks := slices.Concat(applications(), generators())
	if !m.onlyCatalogue() {
		frameworks = append(frameworks, bundlers()...)
	}
	for _, f := range frameworks {
		if m.depends(f.Modules...) {
			return d.use(fsys, root, f, m)
		}
	}
	for _, f := range catalogues() {
		if !m.depends(f.Modules...) {
			continue
		}
		if len(f.Files) > 0 {
			if m.Scripts["build"] != "" {
				continue // it runs the tasks
			}
			if at, err := f.foundAt(fsys, root); at == "" || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		if strings.Contains(m.Scripts["build"], f.Command) {
			f.Scripts = []string{"build"}
		} else if m.Scripts["build"] != "" {
			continue
		}
		d.catalogue = true
		return d.use(fsys, root, f, m)
	}
	if m.Scripts["build"] != "" {
		d.script = m.Scripts["build"]
		d.build, d.site = chosen(d.manager+" run build", "scripts.build in package.json"), true
	}
	return nil
}

// onlyCatalogue reports whether a package has a script that builds a catalogue
// of components and none that builds anything else. Its bundler is then the
// catalogue's.
func (m manifest) onlyCatalogue() bool {
	return m.Scripts["build"] == "" && slices.ContainsFunc(catalogues(), func(f Framework) bool {
		return m.depends(f.Modules...) && slices.ContainsFunc(f.Scripts, func(name string) bool { return m.Scripts[name] != "" })
	})
}

// use applies the framework of a package.
func (d *detected) use(fsys fs.FS, root string, f Framework, m manifest) error {
	scripts := f.Scripts
	if scripts == nil {
		scripts = []string{"build"}
	}
	var script string
	for _, name := range scripts {
		if script = m.Scripts[name]; script == "" {
			continue
		}
		command, err := withDependencies(fsys, root, name, d, m)
		if err != nil {
			return err
		}
		if command == "" {
			command = d.manager + " run " + name
		}
		d.script, d.build = script, chosen(command, fmt.Sprintf("%s, scripts.%s in package.json", f.Name, name))
		break
	}
	words := f.words(fsys, root, m, script)
	if script == "" {
		run := runner(d.manager)
		command := strings.TrimSpace(words.Replace(f.Command))
		d.build = chosen(run+strings.ReplaceAll(command, "&& ", "&& "+run), f.Name)
	}
	d.adapter(f, m)
	if sign, err := f.serves(fsys, root, m, script); err != nil {
		return err
	} else if sign != "" {
		d.server = sign
	}
	return d.recognized(fsys, root, f, words, script)
}

// adapter records that a package builds a server, because it has another
// adapter of its framework than the static one.
func (d *detected) adapter(f Framework, m manifest) {
	if f.Adapter == "" || m.depends(f.Adapter) {
		return
	}
	family := f.Adapter[:strings.LastIndex(f.Adapter, "-")+1]
	for _, name := range m.dependencies() {
		if strings.HasPrefix(name, family) {
			d.server = name + " in package.json"
			return
		}
	}
}

// recognized applies what a framework's own settings say about the output.
func (d *detected) recognized(fsys fs.FS, root string, f Framework, words *strings.Replacer, script string) error {
	d.generator, d.outputs, d.outputBy, d.site = f.Name, f.Outputs, f.Name+"'s folder", true
	c, err := f.configured(fsys, root, words, script)
	if err != nil {
		return err
	}
	if c.outputs != nil {
		d.outputs, d.outputBy = c.outputs, c.by
	}
	if c.server != "" {
		d.server = c.server
	}
	d.spa = f.SPA && !c.pages
	d.notes = append(d.notes, c.notes...)
	return nil
}

// runner returns the command with which a manager runs a dependency's program.
func runner(manager string) string {
	switch manager {
	case "pnpm":
		return "pnpm exec "
	case "yarn":
		return "yarn run "
	case "bun":
		return "bunx "
	}
	return "npx --no-install "
}

// others recognizes sites that are not npm packages.
func (d *detected) others(fsys fs.FS, root string) error {
	at := func(name string) string { return path.Join(root, name) }
	for _, f := range otherLanguages() {
		file, err := f.foundAt(fsys, root)
		if err != nil {
			return err
		}
		if file == "" {
			continue
		}
		command := f.Command
		switch f.manager() {
		case "bundler":
			gems, err := readFile(fsys, at("Gemfile"))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				command = strings.TrimPrefix(command, bundle)
			case err != nil:
				return err
			case f.Name == "Jekyll" && !strings.Contains(string(gems), "jekyll") && !strings.Contains(string(gems), "github-pages"):
				continue
			default:
				d.useManager(fsys, root, "bundler", f.Install, "Gemfile", "Gemfile.lock")
			}
		case "composer":
			d.useManager(fsys, root, "composer", f.Install, "composer.json", "composer.lock")
		case "pip":
			d.install = chosen(f.Install, f.Name)
			for _, list := range []string{"requirements.txt", "docs/requirements.txt", "requirements/docs.txt", "requirements-docs.txt"} {
				if isFile(fsys, at(list)) {
					d.install = chosen("pip install -r "+list, at(list))
					break
				}
			}
		}
		words := f.words(fsys, root, manifest{}, "")
		d.build = chosen(words.Replace(command), f.Name+", "+file)
		return d.recognized(fsys, root, f, words, "")
	}
	return nil
}

// useManager sets the package manager of another language.
func (d *detected) useManager(fsys fs.FS, root, manager, install, list, lock string) {
	d.install, d.installRoot, d.manager = chosen(install, path.Join(root, list)), root, manager
	if lock = path.Join(root, lock); isFile(fsys, lock) {
		d.lockfile = lock
	}
}

// sourceOfPage matches pages that a bundler or generator has yet to process:
// modules that no browser can load, and the templates of Create React App, of
// EJS, of Trunk and of generators with front matter.
var sourceOfPage = regexp.MustCompile(`(?i)src\s*=\s*["'][^"']+\.(?:tsx?|jsx|vue|svelte)["']|%PUBLIC_URL%|<%=|\bdata-trunk\b|\A\s*---\r?\n`)

// isPage reports whether a file is a finished page.
func isPage(fsys fs.FS, name string) bool {
	if !isFile(fsys, name) {
		return false
	}
	data, err := readFile(fsys, name)
	return err != nil || !sourceOfPage.Match(data)
}

// readManifest reads a folder's package.json. found is false if there is none.
func readManifest(fsys fs.FS, dir string) (m manifest, found bool, err error) {
	name := path.Join(dir, "package.json")
	data, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	// Irrelevant keys may have any type. A relevant key of a wrong type stays
	// empty, as in npm.
	if err := json.Unmarshal(data, &m); err != nil {
		if _, wrongType := errors.AsType[*json.UnmarshalTypeError](err); !wrongType {
			return m, false, troy.Errorf(troy.Invalid, "%s can't be read: %w", name, err)
		}
	}
	return m, true, nil
}

func isFile(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.Mode().IsRegular()
}

func isFolder(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.IsDir()
}
