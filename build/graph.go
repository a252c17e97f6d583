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
	"unicode"
	"unicode/utf8"
)

// The bounds of a workspace's graph. A workspace beyond them is watched as a
// whole.
const (
	maxMembers       = 2000
	maxWorkspaceDirs = 20_000
	maxMemberDepth   = 8 // below the workspace
	maxGlobs         = 100
	maxMemberFile    = 256 << 10 // bytes of each file that is read
	maxMemberFiles   = 200       // of a package's top folder
	maxReferences    = 20_000    // different paths to other packages
	maxGraphBytes    = 64 << 20  // of all files that are read
	maxUnwatched     = 1000      // entries
	maxUnwatchedSize = 64 << 10  // bytes of all entries
)

// errNoGraph means that the graph of a workspace is not known, so that any file
// of it may concern the site.
var errNoGraph = errors.New("the graph of the workspace is not known")

// graphMember is a package of a workspace.
type graphMember struct {
	folder string   // relative to the repository's root
	names  []string // in package.json and, for Nx, in project.json
}

// workspaceGraph has the packages of a workspace.
type workspaceGraph struct {
	fsys    fs.FS
	folder  string
	members map[string]*graphMember // by folder
	byName  map[string][]*graphMember
	always  []string // patterns of files that concern every package
	// looked has the packages at each path that was looked up, bytes what was
	// read.
	looked map[string][]string
	bytes  int64
}

// unwatched returns what of a plan's workspace does not concern its site:
// folders of packages that the site's package does not use, directly or through
// others, and folders for tools of the forge and the editor. An entry that
// begins with "!" is a pattern, as of a watch path, of files in these folders
// that concern the site nevertheless. Entries are relative to the repository's
// root. unwatched returns nil if anything is in doubt: an unreadable file, or a
// workspace that is too large.
//
// The graph is made of what package.json, project.json, turbo.json, nx.json and
// tsconfig.json say, and of the relative paths in the top folders of packages,
// such as in vite.config.js. Imports in code are not read.
func unwatched(fsys fs.FS, p Plan) []string {
	if p.Workspace == "" {
		return nil
	}
	g := workspaceGraph{fsys: fsys, folder: p.Workspace, members: map[string]*graphMember{}, byName: map[string][]*graphMember{}, looked: map[string][]string{}}
	related, err := g.related(p)
	if err != nil {
		return nil
	}
	var all []string
	size := 0
	add := func(entry string) {
		if utf8.ValidString(entry) && !strings.ContainsFunc(entry, unicode.IsControl) {
			all = append(all, entry)
			size += len(entry)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(g.members)) {
		if !related[folder] && !g.holdsRelated(folder, related) && !strings.HasPrefix(folder, "!") {
			add(folder)
		}
	}
	for _, name := range []string{".changeset", ".circleci", ".devcontainer", ".github", ".gitlab", ".husky", ".idea", ".vscode"} {
		if folder := path.Join(p.Workspace, name); isFolder(fsys, folder) {
			add(folder)
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(g.always)
	for _, pattern := range slices.Compact(g.always) {
		add("!" + pattern)
	}
	if len(all) > maxUnwatched || size > maxUnwatchedSize {
		return nil
	}
	return all
}

// holdsRelated reports whether a package that the site uses is below a folder.
func (g *workspaceGraph) holdsRelated(folder string, related map[string]bool) bool {
	for other := range related {
		if strings.HasPrefix(other, folder+"/") {
			return true
		}
	}
	return false
}

// related returns the folders of the packages that the site uses, with its own.
func (g *workspaceGraph) related(p Plan) (map[string]bool, error) {
	if err := g.findMembers(); err != nil {
		return nil, err
	}
	related := map[string]bool{p.Root: true}
	queue := []string{p.Root}
	visit := func(folder string) {
		if !related[folder] {
			related[folder] = true
			queue = append(queue, folder)
		}
	}
	roots, err := g.usedByAll()
	if err != nil {
		return nil, err
	}
	commands := strings.Join([]string{p.Install, p.Build, p.Test}, "\n")
	maps.Copy(roots, g.named(words(commands)))
	if err := g.pathsIn([]byte(commands), p.Root, roots); err != nil {
		return nil, err
	}
	for folder := range roots {
		visit(folder)
	}
	for len(queue) > 0 {
		folder := queue[0]
		queue = queue[1:]
		uses, err := g.usedBy(folder)
		if err != nil {
			return nil, err
		}
		for used := range uses {
			visit(used)
		}
	}
	return related, nil
}

// findMembers finds the packages that the workspace's files name.
func (g *workspaceGraph) findMembers() error {
	lists, err := g.patterns()
	if err != nil {
		return err
	}
	type place struct {
		folder string
		depth  int
	}
	queue := []place{{g.folder, 0}}
	for seen := 0; len(queue) > 0; {
		at := queue[0]
		queue = queue[1:]
		if seen++; seen > maxWorkspaceDirs {
			return errNoGraph
		}
		entries, err := fs.ReadDir(g.fsys, at.folder)
		if err != nil {
			return err
		}
		if len(entries) > maxNames {
			return errNoGraph
		}
		for _, entry := range entries {
			name := entry.Name()
			switch {
			case entry.IsDir() && name != "node_modules" && name != ".git" && name != "bower_components":
				if at.depth == maxMemberDepth {
					continue // a deeper package is not a member, so it is watched
				}
				queue = append(queue, place{path.Join(at.folder, name), at.depth + 1})
			case name == "package.json" && at.depth > 0 && inWorkspace(lists, below(g.folder, at.folder)):
				if len(g.members) == maxMembers {
					return errNoGraph
				}
				g.members[at.folder] = &graphMember{folder: at.folder}
			}
		}
	}
	for _, m := range g.members {
		if err := g.readNames(m); err != nil {
			return err
		}
	}
	return nil
}

// maxNames is the maximum number of entries of a folder in a workspace.
const maxNames = 5000

// patterns returns the lists of patterns that choose members, split at slashes.
func (g *workspaceGraph) patterns() (lists [][][]string, err error) {
	m, _, err := readManifest(g.fsys, g.folder)
	if err != nil {
		return nil, err
	}
	pnpm, _, err := pnpmPatterns(g.fsys, g.folder)
	if err != nil {
		return nil, err
	}
	var lerna struct {
		Packages any `json:"packages"`
	}
	if data, err := g.file(path.Join(g.folder, "lerna.json")); err != nil {
		return nil, err
	} else if data != nil {
		if err := json.Unmarshal(data, &lerna); err != nil {
			return nil, err
		}
	}
	for _, patterns := range [][]string{pnpm, globs(m.Workspaces), globs(lerna.Packages)} {
		var list [][]string
		for _, pattern := range patterns {
			pattern, not := strings.CutPrefix(strings.TrimSpace(pattern), "!")
			parts := strings.Split(path.Clean(strings.TrimPrefix(pattern, "/")), "/")
			if not {
				parts = append([]string{"!"}, parts...)
			}
			list = append(list, parts)
		}
		if len(list) > maxGlobs {
			return nil, errNoGraph
		}
		if len(list) > 0 {
			lists = append(lists, list)
		}
	}
	return lists, nil
}

// inWorkspace reports whether one of the lists chooses a folder.
func inWorkspace(lists [][][]string, folder string) bool {
	name := strings.Split(folder, "/")
	for _, list := range lists {
		found := false
		for _, parts := range list {
			not := parts[0] == "!"
			if not {
				parts = parts[1:]
			}
			if found == not && fitsParts(parts, name) {
				found = !not
			}
		}
		if found {
			return true
		}
	}
	return false
}

// fitsParts reports whether a pattern matches a folder: a part ** matches any
// parts. It takes time in proportion to the product of the lengths.
func fitsParts(pattern, name []string) bool {
	// fits[i] reports whether the pattern so far matches the first i names.
	fits := make([]bool, len(name)+1)
	fits[0] = true
	for _, part := range pattern {
		next := make([]bool, len(name)+1)
		for i := range fits {
			if part == "**" {
				next[i] = fits[i] || i > 0 && next[i-1]
				continue
			}
			if i == 0 || !fits[i-1] {
				continue
			}
			for _, one := range braces(part) {
				if ok, err := path.Match(one, name[i-1]); err == nil && ok {
					next[i] = true
				}
			}
		}
		fits = next
	}
	return fits[len(name)]
}

// below returns a path relative to a folder above it.
func below(folder, name string) string {
	if folder == "." {
		return name
	}
	return strings.TrimPrefix(name, folder+"/")
}

// file reads a file, or nothing if there is none.
func (g *workspaceGraph) file(name string) ([]byte, error) {
	info, err := fs.Stat(g.fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxMemberFile:
		return nil, errNoGraph
	}
	if g.bytes += info.Size(); g.bytes > maxGraphBytes {
		return nil, errNoGraph
	}
	return readFile(g.fsys, name)
}

// readNames reads the names of a package.
func (g *workspaceGraph) readNames(m *graphMember) error {
	for _, file := range []string{"package.json", "project.json"} {
		data, err := g.file(path.Join(m.folder, file))
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		var named struct {
			Name any `json:"name"`
		}
		if err := json.Unmarshal(plainJSON(data), &named); err != nil {
			return err
		}
		if name, ok := named.Name.(string); ok && name != "" && !slices.Contains(m.names, name) {
			m.names = append(m.names, name)
			g.byName[name] = append(g.byName[name], m)
		}
	}
	return nil
}

// named returns the folders of the packages with these names.
func (g *workspaceGraph) named(names []string) map[string]bool {
	found := map[string]bool{}
	for _, name := range names {
		for _, m := range g.byName[name] {
			found[m.folder] = true
		}
	}
	return found
}

// usedBy returns the folders of the packages that the one in a folder uses.
func (g *workspaceGraph) usedBy(folder string) (map[string]bool, error) {
	uses := map[string]bool{}
	for _, file := range []string{"package.json", "project.json"} {
		data, err := g.file(path.Join(folder, file))
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		var value any
		if err := json.Unmarshal(plainJSON(data), &value); err != nil {
			return nil, err
		}
		maps.Copy(uses, g.named(jsonTexts(value, nil)))
	}
	entries, err := fs.ReadDir(g.fsys, folder)
	if err != nil {
		return nil, err
	}
	looked := 0
	for _, entry := range entries {
		if !entry.Type().IsRegular() || !mayRefer(entry.Name()) {
			continue
		}
		if looked++; looked > maxMemberFiles {
			return nil, errNoGraph
		}
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		if info.Size() > maxMemberFile {
			continue // a page or data, and no settings
		}
		data, err := g.file(path.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		if err := g.pathsIn(data, folder, uses); err != nil {
			return nil, err
		}
	}
	return uses, nil
}

// mayRefer reports whether a file may be settings that refer to other packages.
func mayRefer(name string) bool {
	switch name {
	case "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "CHANGELOG.json":
		return false
	case "Makefile", "makefile", "justfile":
		return true
	}
	switch path.Ext(name) {
	case ".json", ".jsonc", ".json5", ".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".toml", ".yaml", ".yml", ".sh", ".css", ".html":
		return true
	}
	return false
}

// reference matches a path to a place outside its package: relative, from the
// root of the workspace, as Turborepo and Nx write it.
var reference = regexp.MustCompile(`(?:\$TURBO_ROOT\$|\{workspaceRoot\}|\.\.)/[^\s"'` + "`" + `,;:()\[\]{}*?$]*`)

// pathsIn adds the folders of the packages that paths in a text lead to.
func (g *workspaceGraph) pathsIn(text []byte, folder string, found map[string]bool) error {
	for _, match := range reference.FindAllIndex(text, -1) {
		at := string(text[match[0]:match[1]])
		open := match[1] < len(text) && strings.IndexByte("*?{[($", text[match[1]]) >= 0
		if open {
			at = at[:strings.LastIndexByte(at, '/')+1] // the rest of the name may be anything
		}
		if rest, ok := strings.CutPrefix(at, "$TURBO_ROOT$/"); ok {
			at = path.Join(g.folder, rest)
		} else if rest, ok := strings.CutPrefix(at, "{workspaceRoot}/"); ok {
			at = path.Join(g.folder, rest)
		} else {
			at = path.Join(folder, at)
		}
		if open && at == g.folder {
			return errNoGraph
		}
		if err := g.around(at, found); err != nil {
			return err
		}
	}
	return nil
}

// around adds the folders of the packages that contain a path or are below it.
// The workspace itself is not a reference to all of them.
func (g *workspaceGraph) around(at string, found map[string]bool) error {
	if at == g.folder || at == "." || at == ".." || strings.HasPrefix(at, "../") {
		return nil
	}
	folders, known := g.looked[at]
	if !known {
		if len(g.looked) == maxReferences {
			return errNoGraph
		}
		for up := at; up != "." && up != g.folder; up = path.Dir(up) {
			if g.members[up] != nil {
				folders = append(folders, up)
			}
		}
		for folder := range g.members {
			if strings.HasPrefix(folder, at+"/") {
				folders = append(folders, folder)
			}
		}
		g.looked[at] = folders
	}
	for _, folder := range folders {
		found[folder] = true
	}
	return nil
}
