package build

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// onlyHooks matches scripts that set git's hooks up, which no build runs.
var onlyHooks = regexp.MustCompile(`^(husky( install)?|lefthook install|simple-git-hooks)( \|\| (true|:|exit 0))?$`)

// links matches the packages of the repository in a lockfile.
var links = regexp.MustCompile(`"link"\s*:\s*true`)

// ModulesKey returns a key of what decides the content of node_modules, other
// than the version of Node.js and the platform, or "" if installing may have
// other effects than writing it: then the folder of an earlier build can't take
// its place. The key has no values of variables, because other builds may see it.
func (p Plan) ModulesKey(repo fs.FS, environment, variables map[string]string) string {
	if p.Install != "npm ci" || p.Lockfile != path.Join(p.InstallRoot, "package-lock.json") {
		return ""
	}
	for name := range variables {
		if strings.HasPrefix(strings.ToLower(name), "npm_config_") {
			return "" // npm's own settings, such as which packages to leave out
		}
	}
	in, err := fs.Sub(repo, path.Clean(p.InstallRoot))
	if err != nil || isFile(in, "binding.gyp") {
		return ""
	}
	list, err := fs.ReadFile(in, "package.json")
	if err != nil {
		return ""
	}
	lock, err := fs.ReadFile(in, "package-lock.json")
	if err != nil || links.Match(lock) {
		return "" // packages of the repository
	}
	var is struct {
		Scripts    map[string]string `json:"scripts"`
		Workspaces any               `json:"workspaces"`
	}
	if err := json.Unmarshal(list, &is); err != nil || is.Workspaces != nil {
		return ""
	}
	for _, name := range []string{"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "predependencies", "dependencies", "postdependencies"} {
		if script, ok := is.Scripts[name]; ok && !onlyHooks.MatchString(script) {
			return ""
		}
	}
	rc, err := fs.ReadFile(in, ".npmrc")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	h := sha256.New()
	for _, part := range [][]byte{list, lock, rc, []byte(p.Install)} {
		fmt.Fprintf(h, "%d\n%s", len(part), part)
	}
	for _, values := range []map[string]string{p.Environment, environment} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(h, "%q=%q\n", name, values[name])
		}
	}
	fmt.Fprintf(h, "%q", slices.Sorted(maps.Keys(variables)))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// maxModules is the maximum size of node_modules, in MiB, that is kept.
const maxModules = 1024

// KeepModules returns a script in place of the install command. It unpacks
// node_modules of an earlier build with the same key, if there is one. If not, it
// installs, and keeps the result, unless installing wrote other files too: then
// node_modules alone is not enough. The shell variable kept names the folder
// for it.
func (p Plan) KeepModules(key string) string {
	return strings.NewReplacer("KEY", key, "INSTALL", p.Install, "MAX", fmt.Sprint(maxModules)).Replace(`
if node=$(node -p 'process.version + "-" + process.platform + "-" + process.arch + "-" + process.versions.modules' 2>/dev/null); then
	kept=$kept/KEY-$node.tar
else
	kept=
fi
rm -rf node_modules
if [ -n "$kept" ] && [ -f "$kept" ]; then
	if tar -xf "$kept" --no-same-owner node_modules 2>/dev/null && rm node_modules/.troy-complete 2>/dev/null; then
		echo "node_modules is that of an earlier build with the same package-lock.json, package.json and Node.js; nothing was installed."
		exit
	fi
	rm -rf node_modules
fi
mark=$(mktemp)
INSTALL
if [ -n "$kept" ] && [ -d node_modules ] && ! [ -L node_modules ] &&
	[ "$(du -sm node_modules | cut -f 1)" -le MAX ] &&
	[ -z "$(find "$HOME" . \( -path ./node_modules -o -name .git -o -name venv \) -prune -o -type f -cnewer "$mark" -print -quit)" ]; then
	# The last file shows that the tar is complete: tar itself does not notice
	# everything.
	{ rm -rf "${kept%/*}" && mkdir "${kept%/*}" && tar -cf "$kept.part" node_modules && : >node_modules/.troy-complete &&
		tar -rf "$kept.part" node_modules/.troy-complete && sync "$kept.part" && mv "$kept.part" "$kept"; } 2>/dev/null || rm -rf "${kept%/*}"
	rm -f node_modules/.troy-complete
fi
rm -f "$mark"
`)
}
