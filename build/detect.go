package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"

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
	// site reports that it was recognised as a site; plain, that it is plain
	// HTML.
	site, plain bool
}

// manifest is the relevant part of a package.json.
type manifest struct {
	Scripts         map[string]string `json:"scripts"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	PackageManager  string            `json:"packageManager"`
	Workspaces      any               `json:"workspaces"`
	DevEngines      struct {
		PackageManager any `json:"packageManager"`
	} `json:"devEngines"`
}

func (m manifest) depends(on string) bool {
	return m.Dependencies[on] != "" || m.DevDependencies[on] != ""
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
		if d.findGenerator(m); d.site {
			return d, nil
		}
	}
	return d, d.others(fsys, root)
}

// findGenerator recognises the site generator of a package.
func (d *detected) findGenerator(m manifest) {
	run := d.manager + " run "
	for _, g := range generators() {
		if !m.depends(g.module) {
			continue
		}
		if d.generator == "" {
			d.generator, d.outputBy, d.outputs = g.name, g.name+"'s folder", g.outputs
		}
		scripts := g.scripts
		if scripts == nil {
			scripts = []string{"build"}
		}
		for _, script := range scripts {
			if m.Scripts[script] != "" {
				d.found(g.name, run+script, fmt.Sprintf("%s, scripts.%s in package.json", g.name, script), g.outputs)
				return
			}
		}
		if g.without != "" {
			d.found(g.name, runner(d.manager)+g.without, g.name, g.outputs)
			return
		}
	}
	if m.Scripts["build"] != "" {
		d.build, d.site = chosen(run+"build", "scripts.build in package.json"), true
	}
}

func (d *detected) found(generator, command, by string, outputs []string) {
	d.generator, d.build, d.outputs, d.outputBy, d.site = generator, chosen(command, by), outputs, generator+"'s folder", true
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

// others recognises sites that are not packages.
func (d *detected) others(fsys fs.FS, root string) error {
	at := func(name string) string { return path.Join(root, name) }
	for _, name := range []string{"hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "config/_default"} {
		if _, err := fs.Stat(fsys, at(name)); err == nil {
			d.found("Hugo", "hugo", "Hugo, "+at(name), []string{"public"})
			return nil
		}
	}
	if zola, err := isZola(fsys, root); err != nil || zola {
		d.found("Zola", "zola build", "Zola, "+at("config.toml"), []string{"public"})
		return err
	}
	for _, name := range []string{"config.toml", "config.yaml"} {
		if isFile(fsys, at(name)) && isFolder(fsys, at("content")) {
			d.found("Hugo", "hugo", "Hugo, "+at(name)+" beside content/", []string{"public"})
			return nil
		}
	}
	if isFile(fsys, at("_config.yml")) {
		gems, err := readFile(fsys, at("Gemfile"))
		switch {
		case err == nil && (strings.Contains(string(gems), "jekyll") || strings.Contains(string(gems), "github-pages")):
			d.found("Jekyll", "bundle exec jekyll build", "Jekyll, "+at("_config.yml"), []string{"_site"})
			d.install, d.installRoot, d.manager = chosen("bundle install", at("Gemfile")), root, "bundler"
			if isFile(fsys, at("Gemfile.lock")) {
				d.lockfile = at("Gemfile.lock")
			}
			return nil
		case errors.Is(err, fs.ErrNotExist):
			d.found("Jekyll", "jekyll build", "Jekyll, "+at("_config.yml"), []string{"_site"})
			return nil
		case err != nil:
			return err
		}
	}
	for _, dir := range []string{".", "public"} {
		if isPage(fsys, path.Join(root, dir, "index.html")) {
			d.outputs, d.outputBy, d.site, d.plain = []string{dir}, "plain HTML", true, true
			return nil
		}
	}
	return nil
}

// isZola distinguishes Zola's settings from Hugo's, which may be in a file of
// the same name: Zola requires base_url, and Hugo calls it baseURL
// (getzola.org/documentation/getting-started/configuration).
func isZola(fsys fs.FS, root string) (bool, error) {
	data, err := readFile(fsys, path.Join(root, "config.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var settings map[string]any
	if err := toml.Unmarshal(data, &settings); err != nil {
		return false, nil //nolint:nilerr // Hugo reports the error
	}
	_, zola := settings["base_url"]
	return zola, nil
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
