package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// mostMembers is the maximum number of folders of a workspace that are looked
// into.
const mostMembers = 2_000

// member is a package of a workspace that makes a site.
type member struct {
	dir, generator string
}

// siteIn returns the only package that makes a site of the workspace in the
// root folder, or "". It returns an Invalid error that lists them if there are
// several. A root folder that builds a site of its own is that site.
func siteIn(fsys fs.FS, root string, own detected) (string, error) {
	if own.plain || own.script != "" && !runsAll(own.script) {
		return "", nil
	}
	m, isPackage, err := readManifest(fsys, root)
	if err != nil || !isPackage {
		return "", err
	}
	patterns, err := workspacePatterns(fsys, root, m)
	if err != nil || len(patterns) == 0 {
		return "", err
	}
	folders, err := memberFolders(fsys, root, patterns)
	if err != nil {
		return "", err
	}
	var sites []member
	for _, dir := range folders {
		d, err := detect(fsys, dir)
		if err != nil {
			return "", err
		}
		if d.generator != "" && !d.catalogue {
			sites = append(sites, member{dir, d.generator})
		}
	}
	switch len(sites) {
	case 0:
		return "", nil
	case 1:
		return sites[0].dir, nil
	}
	names := make([]string, len(sites))
	for i, s := range sites {
		names[i] = fmt.Sprintf("%q (%s)", s.dir, s.generator)
	}
	const shown = 10
	more := ""
	if len(names) > shown {
		more = fmt.Sprintf(" and %d more", len(names)-shown)
		names = names[:shown]
	}
	return "", troy.Errorf(troy.Invalid, "the workspace has %d sites: %s%s; choose one with root = %q under [build] in troy.toml, or as the root folder in the pipeline's settings",
		len(sites), strings.Join(names, ", "), more, sites[0].dir)
}

// runsAll reports whether a script builds all packages of a workspace.
func runsAll(script string) bool {
	for _, tool := range []string{"turbo ", "nx ", "lerna ", "--workspaces", " -ws", "pnpm -r ", "pnpm --recursive ", "pnpm recursive ", "pnpm run -r ", "yarn workspaces ", "wsrun ", "lage ", "rush "} {
		if strings.Contains(script+" ", tool) {
			return true
		}
	}
	return false
}

// workspacePatterns returns the patterns of the workspace's folders.
func workspacePatterns(fsys fs.FS, dir string, m manifest) ([]string, error) {
	patterns, _, err := pnpmPatterns(fsys, dir)
	if err != nil {
		return nil, err
	}
	patterns = append(patterns, globs(m.Workspaces)...)
	lerna, err := lernaPatterns(fsys, dir)
	return append(patterns, lerna...), err
}

// memberFolders returns the folders of a workspace that have a package.json,
// sorted. It skips node_modules and hidden folders.
func memberFolders(fsys fs.FS, root string, patterns []string) ([]string, error) {
	var found []string
	seen := 0
	errTooMany := errors.New("too many folders")
	err := fs.WalkDir(fsys, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return nil //nolint:nilerr // a folder that can't be read has no site
		}
		if seen++; seen > mostMembers {
			return errTooMany
		}
		relative := strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		switch base := entry.Name(); {
		case name == root:
			return nil
		case base == "node_modules" || strings.HasPrefix(base, ".") || strings.Count(relative, "/") > 4:
			return fs.SkipDir
		}
		if root == "." {
			relative = name
		}
		if matches(patterns, relative) && isFile(fsys, path.Join(name, "package.json")) {
			found = append(found, name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errTooMany) {
		return nil, fmt.Errorf("read the workspace: %w", err)
	}
	slices.Sort(found)
	return found, nil
}

// withDependencies returns the command that runs the package's script after the
// packages of the workspace that it needs are built, or "" if it needs none.
func withDependencies(fsys fs.FS, root, script string, d *detected, m manifest) (string, error) {
	if d.workspace == "" || script == "" || !m.needsWorkspace() {
		return "", nil
	}
	data, err := readFile(fsys, path.Join(d.workspace, "turbo.json"))
	if err != nil && !notFound(err) {
		return "", err
	}
	var turbo struct {
		Tasks    map[string]any `json:"tasks"`
		Pipeline map[string]any `json:"pipeline"` // until Turborepo 2
	}
	if err == nil && json.Unmarshal(data, &turbo) == nil && (turbo.Tasks[script] != nil || turbo.Pipeline[script] != nil) {
		below := root
		if d.workspace != "." {
			below = strings.TrimPrefix(root, d.workspace+"/")
		}
		up := path.Clean(strings.Repeat("../", strings.Count(below, "/")+1))
		// By default Turborepo hides variables that turbo.json does not list.
		return fmt.Sprintf("cd %s && %sturbo run %s --filter=%s --env-mode=loose", up, runner(d.manager), script, Quote("./"+below)), nil
	}
	if d.manager == "pnpm" {
		return "pnpm --filter '{.}...' run " + script, nil
	}
	return "", nil
}

// needsWorkspace reports whether the package depends on others of its
// workspace.
func (m manifest) needsWorkspace() bool {
	for _, dependencies := range []map[string]string{m.Dependencies, m.DevDependencies} {
		for _, version := range dependencies {
			if version == "*" || strings.HasPrefix(version, "workspace:") {
				return true
			}
		}
	}
	return false
}

// nxProject is the part of an Nx project.json that says what it builds.
type nxProject struct {
	Name    string `json:"name"`
	Type    string `json:"projectType"`
	Targets map[string]struct {
		Options struct {
			OutputPath any `json:"outputPath"`
		} `json:"options"`
	} `json:"targets"`
}

// nx applies the only application of an Nx workspace whose packages share one
// package.json. With several, the error lists them.
func (d *detected) nx(fsys fs.FS, root string) error {
	if !isFile(fsys, path.Join(root, "nx.json")) || isFile(fsys, path.Join(root, "project.json")) {
		return nil
	}
	var projects []nxProject
	var outputs [][]string
	folders, err := nxFolders(fsys, root)
	if err != nil {
		return err
	}
	for _, dir := range folders {
		data, err := readFile(fsys, path.Join(dir, "project.json"))
		if err != nil {
			return err
		}
		var p nxProject
		if json.Unmarshal(data, &p) != nil || p.Type == "library" || strings.HasSuffix(dir, "-e2e") {
			continue // Nx reports an error
		}
		if p.Name == "" {
			p.Name = path.Base(dir)
		}
		relative := strings.TrimPrefix(strings.TrimPrefix(dir, root), "/")
		if root == "." {
			relative = dir
		}
		folder, _ := p.Targets["build"].Options.OutputPath.(string)
		if _, ok := place(root, "", folder, ""); !ok {
			folder = path.Join("dist", relative)
		}
		projects = append(projects, p)
		outputs = append(outputs, []string{path.Join(folder, "browser"), folder, path.Join(relative, "dist"), path.Join(relative, "out")})
	}
	switch len(projects) {
	case 0:
		return nil
	case 1:
		d.build = chosen(runner(d.manager)+"nx build "+Quote(projects[0].Name), "Nx, project.json")
		d.generator, d.outputs, d.outputBy, d.site, d.server = "Nx", outputs[0], "Nx's folder", true, ""
		return nil
	}
	names := make([]string, len(projects))
	for i, p := range projects {
		names[i] = p.Name
	}
	return troy.Errorf(troy.Invalid, "the Nx workspace has %d applications (%s); choose one with command = \"npx nx build %s\" and output = %q under [build] in troy.toml",
		len(projects), listed(names), projects[0].Name, outputs[0][1])
}

// nxFolders returns the folders below apps/ and packages/ with a project.json
// and no package.json.
func nxFolders(fsys fs.FS, root string) ([]string, error) {
	var found []string
	below, err := fs.Sub(fsys, root)
	if err != nil {
		return nil, fmt.Errorf("read the workspace: %w", err)
	}
	for _, pattern := range []string{"apps/*", "apps/*/*", "packages/*"} {
		names, err := fs.Glob(below, pattern+"/project.json")
		if err != nil {
			return nil, fmt.Errorf("read the workspace: %w", err)
		}
		for _, name := range names[:min(len(names), mostMembers)] {
			dir := path.Join(root, path.Dir(name))
			if isFile(fsys, path.Join(dir, "project.json")) && !isFile(fsys, path.Join(dir, "package.json")) {
				found = append(found, dir)
			}
		}
	}
	return found, nil
}
