package build

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/troy-iaas/troy"
)

type lock struct{ file, manager string }

// lockfiles returns the managers' lockfiles. npm's come last, because they are
// often left over from before a change of the manager.
func lockfiles() []lock {
	return []lock{
		{"pnpm-lock.yaml", "pnpm"}, {"yarn.lock", "yarn"}, {"bun.lock", "bun"}, {"bun.lockb", "bun"},
		{"package-lock.json", "npm"}, {"npm-shrinkwrap.json", "npm"},
	}
}

// packages finds the package manager. Its lockfile may be above the root
// folder, if the package in the root folder belongs to that workspace.
func (d *detected) packages(fsys fs.FS, root string, m manifest) error {
	if found, err := d.packagesIn(fsys, root, m); found || err != nil {
		return err
	}
	for dir := root; dir != "."; {
		dir = path.Dir(dir)
		above, _, err := readManifest(fsys, dir)
		if err != nil {
			return err
		}
		member, err := isMember(fsys, dir, root, above)
		if err != nil {
			return err
		}
		if !member {
			continue
		}
		if found, err := d.packagesIn(fsys, dir, above); found || err != nil {
			d.workspace = dir
			return err
		}
	}
	d.manager = "npm"
	if len(m.Dependencies)+len(m.DevDependencies) > 0 {
		d.install = chosen("npm install", path.Join(root, "package.json")+" without a lockfile")
	}
	return nil
}

// packagesIn searches one folder for a pin and a lockfile.
func (d *detected) packagesIn(fsys fs.FS, dir string, m manifest) (found bool, err error) {
	pinned, version := m.pin()
	for _, l := range lockfiles() {
		name := path.Join(dir, l.file)
		if pinned != "" && l.manager != pinned || !isFile(fsys, name) {
			continue
		}
		if version == "" {
			if version, err = versionOfLockfile(fsys, dir, l); err != nil {
				return false, err
			}
		}
		d.manager, d.managerVersion, d.lockfile, d.installRoot = l.manager, version, name, dir
		d.install = chosen(frozenInstall(fsys, dir, l.manager, version), name)
		return true, nil
	}
	if pinned == "" {
		return false, nil
	}
	d.manager, d.managerVersion, d.installRoot = pinned, version, dir
	command := pinned + " install"
	if pinned == "yarn" && modernYarn(fsys, dir, version) {
		command += " --no-immutable" // in CI it refuses to create a lockfile
	}
	d.install = chosen(command, "packageManager in "+path.Join(dir, "package.json"))
	for _, l := range lockfiles() {
		if name := path.Join(dir, l.file); isFile(fsys, name) {
			d.notes = append(d.notes, fmt.Sprintf("%s has no effect, because %s asks for %s; commit the lockfile of %s.", name, path.Join(dir, "package.json"), pinned, pinned))
		}
	}
	return true, nil
}

// pin returns the package manager that package.json requests: packageManager,
// such as "pnpm@9.1.0+sha256.…" (nodejs.org/api/packages.html#packagemanager),
// or devEngines (docs.npmjs.com/cli/configuring-npm/package-json#devengines).
// An unknown manager is ignored.
func (m manifest) pin() (name, version string) {
	name, version, _ = strings.Cut(m.PackageManager, "@")
	if name == "" {
		if engine, ok := m.DevEngines.PackageManager.(map[string]any); ok {
			name, _ = engine["name"].(string)
			version, _ = engine["version"].(string)
		}
	}
	switch name {
	case "npm", "pnpm", "yarn", "bun":
	default:
		return "", ""
	}
	version, _, _ = strings.Cut(version, "+")
	if !plainVersion.MatchString(version) {
		return name, ""
	}
	return name, version
}

// plainVersion matches a version or a range that is safe in a shell command.
var plainVersion = regexp.MustCompile(`^[~^]?[0-9][0-9A-Za-z.-]*$`)

// versionOfLockfile returns the major version of the manager that uses this
// lockfile format, or "" if any version does.
func versionOfLockfile(fsys fs.FS, dir string, l lock) (string, error) {
	if l.file != "pnpm-lock.yaml" && l.file != "yarn.lock" {
		return "", nil
	}
	head, err := readHead(fsys, path.Join(dir, l.file))
	if err != nil {
		return "", err
	}
	if l.manager == "yarn" {
		return yarnOf(head), nil
	}
	format := pnpmFormat.FindSubmatch(head)
	if format == nil {
		return "", nil
	}
	switch version := string(format[1]); {
	case version == "5.3":
		return "6", nil
	case strings.HasPrefix(version, "5"):
		return "7", nil
	case strings.HasPrefix(version, "6"):
		return "8", nil
	case version == "9.0":
		// 10 writes the same format as 9, but only 10 accepts a workspace file
		// with settings and without packages.
		patterns, found, err := pnpmPatterns(fsys, dir)
		if err == nil && found && len(patterns) == 0 {
			return "10", nil
		}
		return "9", err
	}
	return "", nil
}

var (
	pnpmFormat = regexp.MustCompile(`(?m)^lockfileVersion:\s*['"]?([0-9.]+)['"]?\s*$`)
	yarnFormat = regexp.MustCompile(`(?m)^__metadata:\r?\n(?:[ \t].*\n)*?[ \t]+version:\s*([0-9]+)`)
)

// yarnOf parses the head of a yarn.lock.
func yarnOf(head []byte) string {
	if bytes.Contains(head, []byte("# yarn lockfile v1")) {
		return "1"
	}
	format := yarnFormat.FindSubmatch(head)
	if format == nil {
		return ""
	}
	n, err := strconv.Atoi(string(format[1]))
	switch {
	case err != nil:
		return ""
	case n <= 4:
		return "2"
	case n <= 6:
		return "3"
	}
	return "4"
}

// readHead reads the beginning of a lockfile, which may exceed readCap.
func readHead(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head, err := bufio.NewReaderSize(f, 4<<10).Peek(4 << 10)
	if err != nil && len(head) == 0 {
		return nil, nil //nolint:nilerr // its manager refuses an empty file
	}
	return head, nil
}

func frozenInstall(fsys fs.FS, dir, manager, version string) string {
	switch manager {
	case "npm":
		return "npm ci"
	case "yarn":
		if modernYarn(fsys, dir, version) {
			return "yarn install --immutable" // the option's new name (yarnpkg.com/cli/install)
		}
	}
	return manager + " install --frozen-lockfile"
}

// modernYarn reports whether Yarn is version 2 or later, by the pin or by its
// settings file.
func modernYarn(fsys fs.FS, dir, version string) bool {
	if version != "" {
		return version != "1" && !strings.HasPrefix(version, "1.")
	}
	return isFile(fsys, path.Join(dir, ".yarnrc.yml"))
}

// isMember reports whether the folder root belongs to the workspace in dir, a
// folder above it.
func isMember(fsys fs.FS, dir, root string, m manifest) (bool, error) {
	name := root
	if dir != "." {
		name = strings.TrimPrefix(root, dir+"/")
	}
	pnpm, found, err := pnpmPatterns(fsys, dir)
	if err != nil {
		return false, err
	}
	if found && matches(pnpm, name) || matches(globs(m.Workspaces), name) {
		return true, nil
	}
	lerna, err := lernaPatterns(fsys, dir)
	return matches(lerna, name), err
}

// lernaPatterns returns the packages of lerna.json.
func lernaPatterns(fsys fs.FS, dir string) ([]string, error) {
	data, err := readFile(fsys, path.Join(dir, "lerna.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var lerna struct {
		Packages any `json:"packages"`
	}
	if err := json.Unmarshal(data, &lerna); err != nil {
		return nil, nil //nolint:nilerr // Lerna reports the error
	}
	return globs(lerna.Packages), nil
}

// globs returns the patterns of a list, or of the list in the key packages.
func globs(value any) []string {
	if object, ok := value.(map[string]any); ok {
		value = object["packages"]
	}
	list, _ := value.([]any)
	var patterns []string
	for _, item := range list {
		if text, ok := item.(string); ok {
			patterns = append(patterns, text)
		}
	}
	return patterns
}

// pnpmPatterns returns the packages of pnpm-workspace.yaml.
func pnpmPatterns(fsys fs.FS, dir string) (patterns []string, found bool, err error) {
	data, err := readFile(fsys, path.Join(dir, "pnpm-workspace.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var file struct {
		Packages []string `yaml:"packages"`
	}
	if nestsInYAML(data) {
		return nil, true, troy.Errorf(troy.Invalid, "%s has more than %d brackets, or a line of more than %d bytes", path.Join(dir, "pnpm-workspace.yaml"), maxYAMLBrackets, maxYAMLLine)
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, true, nil //nolint:nilerr // pnpm reports the error
	}
	return file.Packages, true, nil
}

// The limits of YAML. The parser takes memory in proportion to the square of the
// depth: kilobytes of brackets or dashes would take gigabytes.
const (
	maxYAMLBrackets = 1000
	maxYAMLLine     = 4 << 10
)

// nestsInYAML reports whether YAML may nest too deeply: it has many brackets, or
// a line that is long enough for many dashes.
func nestsInYAML(data []byte) bool {
	if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxYAMLBrackets {
		return true
	}
	for line := range bytes.Lines(data) {
		if len(line) > maxYAMLLine {
			return true
		}
	}
	return false
}

// matches reports whether a folder belongs to a workspace: * matches a name, **
// matches any folders, and a pattern that begins with ! excludes.
func matches(patterns []string, name string) bool {
	found := false
	for _, pattern := range patterns {
		pattern, not := strings.CutPrefix(strings.TrimSpace(pattern), "!")
		pattern = path.Clean(strings.TrimPrefix(pattern, "/"))
		if fitsParts(strings.Split(pattern, "/"), strings.Split(name, "/")) {
			found = !not
		}
	}
	return found
}

// braces returns the alternatives of a part such as {apps,packages}.
func braces(part string) []string {
	before, rest, open := strings.Cut(part, "{")
	inside, after, closed := strings.Cut(rest, "}")
	if !open || !closed {
		return []string{part}
	}
	var all []string
	for one := range strings.SplitSeq(inside, ",") {
		all = append(all, before+one+after)
	}
	return all
}
