package build

import (
	"bytes"
	"encoding/json"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// jsonTexts returns the keys and the texts of a JSON value; a text with blanks, such
// as a script, in words.
func jsonTexts(value any, all []string) []string {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			all = jsonTexts(inner, append(all, key))
		}
	case []any:
		for _, inner := range v {
			all = jsonTexts(inner, all)
		}
	case string:
		all = append(append(all, v), words(v)...)
	}
	return all
}

// words splits a text at what can't be in a package's name, as in "turbo run
// build --filter=@team/web..." and "workspace:@team/ui@^1.0.0". A name that
// follows a protocol or precedes a version or task is a word of its own.
func words(text string) []string {
	var all []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'`=,;:|&(){}[]<>#^$*", r) }) {
		word = strings.Trim(word, ".!")
		all = append(all, word)
		if n := strings.LastIndexByte(word, '@'); n > 0 {
			all = append(all, word[:n])
		}
	}
	return all
}

// usedByAll returns the folders of the packages that concern all others: the
// dependencies of the workspace's own package.json, the aliases of its
// tsconfig.json, and tasks of other packages that turbo.json names. It also
// collects the patterns that turbo.json and nx.json have for all packages.
func (g *workspaceGraph) usedByAll() (map[string]bool, error) {
	used := map[string]bool{}
	for _, read := range []func(map[string]bool) error{g.readRootPackage, g.readAliases, g.readTurbo, g.readNx} {
		if err := read(used); err != nil {
			return nil, err
		}
	}
	if len(g.always) > maxGlobs {
		return nil, errNoGraph
	}
	return used, nil
}

// jsonFile reads a JSON file, with comments, into a value. It reports whether
// the file exists.
func (g *workspaceGraph) jsonFile(name string, into any) (bool, error) {
	data, err := g.file(path.Join(g.folder, name))
	if err != nil || data == nil {
		return false, err
	}
	return true, json.Unmarshal(plainJSON(data), into)
}

func (g *workspaceGraph) readRootPackage(used map[string]bool) error {
	var m map[string]any
	if _, err := g.jsonFile("package.json", &m); err != nil {
		return err
	}
	for _, key := range []string{"dependencies", "devDependencies", "peerDependencies", "optionalDependencies", "resolutions", "overrides", "pnpm"} {
		maps.Copy(used, g.named(jsonTexts(m[key], nil)))
	}
	for _, name := range []string{"package.json", "pnpm-workspace.yaml"} {
		data, err := g.file(path.Join(g.folder, name))
		if err != nil {
			return err
		}
		for _, match := range localPackage.FindAllSubmatch(data, -1) {
			if err := g.around(path.Join(g.folder, string(match[1])), used); err != nil {
				return err
			}
		}
	}
	return nil
}

// localPackage matches a dependency on a folder.
var localPackage = regexp.MustCompile(`\b(?:file|link|portal):([^\s"'*^~<>|,}]+)`)

// readAliases reads the aliases in the workspace's tsconfig files. A package
// that has one can be imported without a dependency.
func (g *workspaceGraph) readAliases(used map[string]bool) error {
	for _, name := range []string{"tsconfig.json", "tsconfig.base.json", "jsconfig.json"} {
		var config struct {
			Options struct {
				Base  string         `json:"baseUrl"`
				Paths map[string]any `json:"paths"`
			} `json:"compilerOptions"`
		}
		if _, err := g.jsonFile(name, &config); err != nil {
			return err
		}
		for _, places := range config.Options.Paths {
			list, _ := places.([]any)
			for _, place := range list {
				text, _ := place.(string)
				before, _, _ := strings.Cut(text, "*")
				if err := g.around(path.Join(g.folder, config.Options.Base, before), used); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readTurbo reads turbo.json (turborepo.com/docs/reference/configuration).
func (g *workspaceGraph) readTurbo(used map[string]bool) error {
	for _, name := range []string{"turbo.json", "turbo.jsonc"} {
		var config map[string]any
		found, err := g.jsonFile(name, &config)
		if err != nil || !found {
			if err != nil {
				return err
			}
			continue
		}
		files, _ := config["globalDependencies"].([]any)
		for _, file := range files {
			if text, ok := file.(string); ok && !strings.HasPrefix(text, "!") {
				g.addAlways(strings.TrimPrefix(text, "$TURBO_ROOT$/"))
			}
		}
		for _, key := range []string{"tasks", "pipeline"} {
			tasks, _ := config[key].(map[string]any)
			for _, task := range tasks {
				fields, _ := task.(map[string]any)
				for _, text := range jsonTexts(fields["dependsOn"], nil) {
					if other, _, ok := strings.Cut(text, "#"); ok {
						maps.Copy(used, g.named([]string{other}))
					}
				}
			}
		}
	}
	return nil
}

// workspaceInput matches a file of Nx's named inputs.
var workspaceInput = regexp.MustCompile(`"\{workspaceRoot\}/([^"]+)"`)

// readNx reads nx.json (nx.dev/reference/nx-json): the files of named inputs,
// and implicitDependencies of Nx before 16.
func (g *workspaceGraph) readNx(map[string]bool) error {
	data, err := g.file(path.Join(g.folder, "nx.json"))
	if err != nil || data == nil {
		return err
	}
	var config struct {
		Implicit map[string]any `json:"implicitDependencies"`
	}
	if err := json.Unmarshal(plainJSON(data), &config); err != nil {
		return err
	}
	for file := range config.Implicit {
		g.addAlways(file)
	}
	for _, match := range workspaceInput.FindAllSubmatch(data, -1) {
		if len(g.always) <= maxGlobs {
			g.addAlways(string(match[1]))
		}
	}
	return nil
}

// addAlways adds a pattern of files that concern every package. Classes and
// other syntax that watch paths lack become wildcards, which match more.
func (g *workspaceGraph) addAlways(pattern string) {
	pattern = path.Join(g.folder, path.Clean("/" + pattern)[1:])
	for strings.ContainsAny(pattern, "[{(") {
		open := strings.IndexAny(pattern, "[{(")
		end := strings.IndexAny(pattern[open:], "]})")
		if end < 0 {
			end = len(pattern) - open - 1
		}
		pattern = pattern[:open] + "**" + pattern[open+end+1:]
	}
	for strings.Contains(pattern, "***") {
		pattern = strings.ReplaceAll(pattern, "***", "**")
	}
	if len(pattern) <= maxPattern && !slices.Contains(g.always, pattern) {
		g.always = append(g.always, pattern)
	} else if len(pattern) > maxPattern {
		g.always = append(g.always, "**")
	}
}

// maxPattern is the maximum length of a pattern in bytes.
const maxPattern = 255

// plainJSON returns JSON without the comments and trailing commas that
// tsconfig.json, turbo.json and nx.json may have.
func plainJSON(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			end := i + 1
			for end < len(data) && data[end] != '"' {
				if data[end] == '\\' {
					end++
				}
				end++
			}
			out = append(out, data[i:min(end+1, len(data))]...)
			i = end
		case c == '/' && i+1 < len(data) && data[i+1] == '/':
			for i < len(data) && data[i] != '\n' {
				i++
			}
			out = append(out, '\n')
		case c == '/' && i+1 < len(data) && data[i+1] == '*':
			end := bytes.Index(data[i+2:], []byte("*/"))
			if end < 0 {
				return out
			}
			i += end + 3
		case c == ']' || c == '}':
			for n := len(out) - 1; n >= 0; n-- {
				if out[n] == ',' {
					out = append(out[:n], out[n+1:]...)
					break
				}
				if !strings.ContainsRune(" \t\r\n", rune(out[n])) {
					break
				}
			}
			out = append(out, c)
		default:
			out = append(out, c)
		}
	}
	return out
}
