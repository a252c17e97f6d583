package build

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxConfig is the maximum size in bytes of a framework's configuration file
// that is looked into. A larger one is ignored.
const maxConfig = 256 << 10

// foundAt returns the file in the root folder that shows that the framework is
// used, or "".
func (f Framework) foundAt(fsys fs.FS, root string) (string, error) {
	for _, pattern := range f.Files {
		kind := strings.IndexAny(pattern, "~+=")
		name, what := pattern, ""
		if kind >= 0 {
			name, what = pattern[:kind], pattern[kind+1:]
		}
		file := path.Join(root, name)
		if strings.HasPrefix(name, "*") {
			if found, err := fs.Glob(fsys, name); root == "." && err == nil && len(found) > 0 {
				return found[0], nil
			}
			continue
		}
		if _, err := fs.Stat(fsys, file); err != nil {
			continue
		}
		if kind < 0 || pattern[kind] == '+' && isFolder(fsys, path.Join(root, what)) {
			return file, nil
		}
		if pattern[kind] == '+' {
			continue
		}
		data, err := readFile(fsys, file)
		if err != nil {
			return "", err
		}
		if pattern[kind] == '=' {
			var content map[string]any
			if unmarshalTOML(data, &content) == nil && content[what] != nil {
				return file, nil
			}
		} else if strings.Contains(strings.ToLower(string(data)), strings.ToLower(what)) {
			return file, nil
		}
	}
	return "", nil
}

// manager returns the manager of the framework's own packages.
func (f Framework) manager() string {
	first, _, _ := strings.Cut(f.Install, " ")
	if first == "bundle" {
		return "bundler"
	}
	return first
}

// docsInScript matches the folder of pages in a script.
var docsInScript = regexp.MustCompile(`\b(?:vitepress|vuepress|vuepress-vite|vuepress-webpack)\s+build\s+([A-Za-z0-9_./-]+)`)

// words returns the values of the words that the table has in braces: {docs},
// the folder with the pages of VitePress or VuePress; {page}, the page that
// Parcel starts from; {pelican}, the settings of Pelican, and {sphinx}, the
// folder with those of Sphinx.
func (f Framework) words(fsys fs.FS, root string, m manifest, script string) *strings.Replacer {
	first := func(dirs []string, name string) string {
		for _, dir := range dirs {
			if _, err := fs.Stat(fsys, path.Join(root, dir, name)); err == nil {
				return dir
			}
		}
		return ""
	}
	var docs string
	if in := docsInScript.FindStringSubmatch(script); in != nil {
		docs = path.Clean(in[1])
	} else if docs = first([]string{"docs", "src", ".", "site", "website"}, "."+strings.ToLower(f.Name)); docs == "" {
		docs = "."
	}
	page := ""
	if dir := first([]string{".", "src"}, indexName); m.Source == nil && dir != "" {
		page = path.Join(dir, indexName)
	}
	pelican := "pelicanconf.py"
	if isFile(fsys, path.Join(root, "publishconf.py")) {
		pelican = "publishconf.py"
	}
	sphinx := first([]string{".", "source", "docs", "docs/source", "doc"}, "conf.py")
	return strings.NewReplacer("{docs}", docs, "{page}", page, "{pelican}", pelican, "{sphinx}", sphinx)
}

// configuration is what a framework's own settings say.
type configuration struct {
	outputs []string
	by      string   // their origin
	server  string   // the sign that it builds a server
	pages   bool     // it writes a page for each address
	notes   []string // sentences for the log
}

// outputOption matches the options with which a command names its output
// folder.
var outputOption = regexp.MustCompile(`\s--(?:outDir|out-dir|dist-dir|output|output-path|output-dir|dest|destination|outdir)[= ]["']?([A-Za-z0-9_./@-]+)["']?(?:\s|$)`)

// configured reads the output folder from the options in the script and from
// the framework's configuration files.
func (f Framework) configured(fsys fs.FS, root string, words *strings.Replacer, script string) (configuration, error) {
	c := configuration{}
	if f.Name == "Angular" || f.Name == "Ionic Angular" {
		if err := c.angular(fsys, root); err != nil {
			return c, err
		}
	}
	for _, name := range f.Config {
		file, values, err := readSettings(fsys, root, words.Replace(name))
		if err != nil {
			return c, err
		}
		for key, value := range f.Server {
			if got, _ := values(key); got == value {
				c.server = fmt.Sprintf("%s: %q in %s", key, value, file)
			}
		}
		for key, value := range f.Pages {
			got, _ := values(key)
			c.pages = c.pages || got == value
		}
		if c.outputs != nil {
			continue
		}
		for _, key := range f.Keys {
			value, found := values(key)
			relative := f.Relative
			if strings.HasPrefix(relative, "{") {
				relative = words.Replace(relative)
			} else if relative != "" {
				relative, _ = values(relative)
			}
			if folder, ok := place(root, relative, value, f.Inside); ok {
				c.outputs, c.by = []string{folder}, fmt.Sprintf("%s in %s", key, file)
				break
			}
			if found && value == "" {
				c.notes = append(c.notes, fmt.Sprintf("%s: %s is an expression, which Troy does not evaluate. If the output is not in the default folder, set the output folder in troy.toml.", file, key))
			}
		}
	}
	if option := outputOption.FindAllStringSubmatch(script, -1); len(option) == 1 {
		if folder, ok := place(root, "", option[0][1], f.Inside); ok {
			c.outputs, c.by = []string{folder}, "the script's option"
		}
	}
	return c, nil
}

// place returns a folder that a configuration names, relative to the root
// folder. ok is false if it is not a folder of its own inside the repository.
func place(root, relative, value, inside string) (folder string, ok bool) {
	if value == "" || path.IsAbs(value) || strings.ContainsAny(value, "*?[\\$%{}~") || strings.ContainsFunc(value, isControl) || len(value) > 1024 {
		return "", false
	}
	folder = path.Join(relative, value, inside)
	full := path.Join(root, folder)
	if !fs.ValidPath(full) || full == "." || within(root, full) {
		return "", false
	}
	return folder, true
}

// settings returns the text at a key of a configuration file. found reports
// that the key exists; the value of one that is not literal text is "".
type settings func(key string) (value string, found bool)

// scripts are the extensions of JavaScript and TypeScript.
var scripts = []string{".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"}

// readSettings reads a configuration file. A name without a known extension is
// a script's.
func readSettings(fsys fs.FS, root, name string) (string, settings, error) {
	names := []string{name}
	parse := literalSettings
	switch path.Ext(name) {
	case ".toml":
		parse = tomlSettings
	case ".yml", ".yaml":
		parse = yamlSettings
	case ".json":
	default:
		for _, ext := range scripts {
			names = append(names, name+ext)
		}
	}
	for _, name := range names {
		file := path.Join(root, name)
		if !isFile(fsys, file) {
			continue
		}
		data, err := readFile(fsys, file)
		if err != nil {
			return "", nil, err
		}
		if len(data) <= maxConfig {
			return file, parse(data), nil
		}
	}
	return "", literalSettings(nil), nil
}

func literalSettings(data []byte) settings {
	source := string(data)
	if strings.HasPrefix(strings.TrimSpace(source), "{") {
		source = "x = " + source // JSON, perhaps with comments
	}
	found := readLiterals(source)
	return func(key string) (string, bool) {
		value, has := found[key]
		return value, has
	}
}

func tomlSettings(data []byte) settings {
	var content map[string]any
	if err := unmarshalTOML(data, &content); err != nil {
		content = nil // the framework reports the error
	}
	return func(key string) (string, bool) {
		var value any = content
		for part := range strings.SplitSeq(key, ".") {
			table, _ := value.(map[string]any)
			value = table[part]
		}
		text, ok := value.(string)
		return text, ok
	}
}

// topYAML matches a plain text at the top of a YAML file.
var topYAML = regexp.MustCompile(`(?m)^([A-Za-z_-]+):[ \t]+["']?([A-Za-z0-9_./-]+)["']?[ \t]*(?:#.*)?\r?$`)

// yamlSettings reads scalars without expanding aliases, which could be huge.
func yamlSettings(data []byte) settings {
	file, err := parser.ParseBytes(data, 0)
	return func(key string) (string, bool) {
		if err != nil || len(file.Docs) == 0 {
			// Some frameworks have tags that are not valid elsewhere.
			for _, m := range topYAML.FindAllSubmatch(data, -1) {
				if string(m[1]) == key {
					return string(m[2]), true
				}
			}
			return "", false
		}
		node := file.Docs[0].Body
		for part := range strings.SplitSeq(key, ".") {
			node = yamlValue(node, part)
		}
		if text, ok := node.(*ast.StringNode); ok {
			return text.Value, true
		}
		return "", false
	}
}

func yamlValue(node ast.Node, key string) ast.Node {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	}
	if i := slices.IndexFunc(values, func(v *ast.MappingValueNode) bool { return v.Key.GetToken().Value == key }); i >= 0 {
		return values[i].Value
	}
	return nil
}

// notFound reports whether a file is missing.
func notFound(err error) bool { return errors.Is(err, fs.ErrNotExist) }
