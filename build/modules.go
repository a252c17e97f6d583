package build

import (
	"cmp"
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

// keptInstall is an install command whose node_modules the next build can use.
type keptInstall struct {
	lockfile string
	// settings are further files of the same folder that decide what it installs.
	settings []string
	// elsewhere matches what the lockfile, the settings and package.json take from
	// other files of the repository, such as packages, patches and plugins.
	elsewhere *regexp.Regexp
	// variables begins the names of variables that are its settings.
	variables string
	// state is a file beside node_modules that belongs to it.
	state string
}

// keptInstalls returns the install commands whose node_modules is kept. Those of
// pnpm and Yarn 1 are not, because unpacking is not clearly faster.
func keptInstalls() map[string]keptInstall {
	return map[string]keptInstall{
		"npm ci": {
			lockfile: "package-lock.json", settings: []string{".npmrc"}, variables: "npm_config_",
			elsewhere: regexp.MustCompile(`"link"\s*:\s*true`),
		},
		"yarn install --immutable": {
			lockfile: "yarn.lock", settings: []string{".yarnrc.yml", ".env.yarn"}, variables: "yarn_",
			elsewhere: regexp.MustCompile(`@(file|link|portal|exec):|@workspace:[^.]|@workspace:\.[^"]|patch(:|%3A)|plugins\W*:|injectEnvironmentFiles`),
			state:     ".yarn/install-state.gz",
		},
	}
}

// builtinPatches matches the patches that Yarn itself has for some packages.
var builtinPatches = regexp.MustCompile(`@patch:[^"#\n]*#(optional!|~)builtin<`)

// onlyHooks matches scripts that set git's hooks up, which no build runs.
var onlyHooks = regexp.MustCompile(`^(husky( install)?|lefthook install|simple-git-hooks)( \|\| (true|:|exit 0))?$`)

// ModulesKey returns a key of what decides the content of node_modules, other
// than the versions of the programs and the platform, or "" if installing may have
// other effects than writing it: then the folder of an earlier build can't take
// its place. The key has no values of variables, because other builds may see it.
func (p Plan) ModulesKey(repo fs.FS, environment, variables map[string]string) string {
	kept, ok := keptInstalls()[p.Install]
	if !ok || p.Lockfile != path.Join(p.InstallRoot, kept.lockfile) {
		return ""
	}
	for name := range variables {
		if strings.HasPrefix(strings.ToLower(name), kept.variables) {
			return "" // a setting, such as which packages to leave out
		}
	}
	in, err := fs.Sub(repo, path.Clean(p.InstallRoot))
	if err != nil || isFile(in, "binding.gyp") || p.settingsAbove(repo, kept.settings) {
		return ""
	}
	programs, err := fs.Glob(in, ".yarn/releases/*")
	if err != nil {
		return ""
	}
	h := sha256.New()
	for i, name := range slices.Concat([]string{"package.json", kept.lockfile}, kept.settings, programs) {
		data, err := fs.ReadFile(in, name)
		switch {
		case err != nil && (i < 2 || !errors.Is(err, fs.ErrNotExist)):
			return ""
		case i == 0 && !installsAlone(data):
			return ""
		case !slices.Contains(programs, name) && kept.elsewhere.Match(builtinPatches.ReplaceAllLiteral(data, nil)):
			return ""
		}
		fmt.Fprintf(h, "%d\n%s", len(data), data)
	}
	fmt.Fprintf(h, "%q", p.Install)
	for _, values := range []map[string]string{p.Environment, environment} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(h, "%q=%q\n", name, values[name])
		}
	}
	fmt.Fprintf(h, "%q", slices.Sorted(maps.Keys(variables)))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// settingsAbove reports whether a folder above has settings too, which Yarn
// reads.
func (p Plan) settingsAbove(repo fs.FS, settings []string) bool {
	for dir := path.Clean(p.InstallRoot); dir != "." && p.Manager != "npm"; {
		dir = path.Dir(dir)
		for _, name := range settings {
			if _, err := fs.Stat(repo, path.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				return true
			}
		}
	}
	return false
}

// installsAlone reports whether a package.json has no scripts that package
// managers run at installation, and no workspaces.
func installsAlone(list []byte) bool {
	var is struct {
		Scripts    map[string]string `json:"scripts"`
		Workspaces any               `json:"workspaces"`
	}
	if err := json.Unmarshal(list, &is); err != nil || is.Workspaces != nil {
		return false
	}
	for _, name := range []string{
		"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare",
		"predependencies", "dependencies", "postdependencies",
	} {
		if script, ok := is.Scripts[name]; ok && !onlyHooks.MatchString(script) {
			return false
		}
	}
	return true
}

// maxModules is the maximum size of node_modules, in MiB, that is kept.
const maxModules = 1024

// KeepModules returns a script in place of the install command. It unpacks
// node_modules of an earlier build with the same key, if there is one. If not, it
// installs, and keeps the result, unless node_modules alone is not enough, because
// installing wrote other files too or made links that leave it. The shell
// variable kept names the folder for it.
func (p Plan) KeepModules(key string) string {
	kept := keptInstalls()[p.Install]
	// The versions of Yarn place packages differently. Asking for its version can
	// install it.
	version, first := "", `ls "$kept"/KEY-*.tar`
	if p.Manager == "yarn" {
		version, first = ` && node=$node-$(yarn --version 2>/dev/null)`, "true"
	}
	return strings.NewReplacer(
		"FIRST", strings.ReplaceAll(first, "KEY", key), "KEY", key, "INSTALL", p.Install, "MAX", fmt.Sprint(maxModules), "VERSION", version, "LOCKFILE", kept.lockfile, "BESIDE", cmp.Or(kept.state, "node_modules"), "STATE", kept.state,
	).Replace(`
named=$(mktemp)
name() {
	node=$(node -p 'process.version + "-" + process.platform + "-" + process.arch + "-" + process.versions.modules' 2>/dev/null)VERSION && echo "$kept/KEY-$node.tar" >"$named"
}
# If nothing is kept, the name is needed only after the installation.
if FIRST >/dev/null 2>&1; then
	name || :
else
	name &
fi
rm -rf node_modules STATE
if [ -f "$(cat "$named")" ]; then
	if tar -xf "$(cat "$named")" --no-same-owner node_modules STATE 2>/dev/null && rm node_modules/.troy-complete 2>/dev/null; then
		echo "node_modules is that of an earlier build with the same LOCKFILE, package.json and Node.js; nothing was installed."
		exit
	fi
	rm -rf node_modules STATE
fi
mark=$(mktemp)
INSTALL
wait
kept=$(cat "$named")
if [ -n "$kept" ] && [ -d node_modules ] && ! [ -L node_modules ] &&
	[ "$(du -sm node_modules | cut -f 1)" -le MAX ] &&
	[ -z "$(find node_modules -type l -exec realpath {} + 2>&1 | grep -vF "$(pwd -P)/node_modules/")" ] &&
	[ -z "$(find "$HOME" . \( -path ./node_modules -o -name .git -o -name venv -o -path ./BESIDE \) -prune -o ! -type d -cnewer "$mark" -print -quit)" ]; then
	# The last file shows that the tar is complete: tar itself does not notice
	# everything.
	{ rm -rf "${kept%/*}" && mkdir "${kept%/*}" && tar -cf "$kept.part" node_modules STATE && : >node_modules/.troy-complete &&
		tar -rf "$kept.part" node_modules/.troy-complete && sync "$kept.part" && mv "$kept.part" "$kept"; } 2>/dev/null || rm -rf "${kept%/*}"
	rm -f node_modules/.troy-complete
fi
rm -f "$mark" "$named"
`)
}
