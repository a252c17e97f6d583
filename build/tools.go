package build

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// Tool is a program that a build uses, in the version that the repository asks
// for.
type Tool struct {
	// Name is the program: "node", "npm", "pnpm", "yarn", "bun", "deno",
	// "python", "ruby", "go", "hugo" or "zola".
	Name string
	// Ask decides the version. Its By is empty if nothing names one.
	Ask
	// Others are what further files ask for.
	Others []Ask
	// Digest is the digest of the program's package in package.json's
	// packageManager, as algorithm and hex digits: "sha512.0a1b…", or empty.
	Digest string
}

// Ask is a version that a file or a variable asks for.
type Ask struct {
	Text  string // as it is there
	By    string // ".nvmrc", "engines.node in package.json", "the variable NODE_VERSION"
	Range Range  `json:"-"`
}

// toolKind says how a tool is recognised and where its version is named.
type toolKind struct {
	name, label string
	// variables may name the version, the first that is set.
	variables []string
	// commands matches a command that runs the tool.
	commands *regexp.Regexp
	// files are the tool's own files in order of precedence. Each has a version
	// in its first line.
	files []string
	// trim is what the files and other tools write before the version.
	trim []string
	// names are the tool's names in .tool-versions and mise.toml.
	names []string
}

func toolKinds() []toolKind {
	runs := func(names string) *regexp.Regexp {
		return regexp.MustCompile(`(?m)(^|[\s;&|(/"'=])(` + names + `)($|[\s;&|)"'])`)
	}
	return []toolKind{
		{"node", "Node.js", []string{"NODE_VERSION"}, runs("node|npm|npx|pnpm|pnpx|yarn|corepack"), []string{".nvmrc", ".node-version"}, []string{"node-", "node@"}, []string{"node", "nodejs"}},
		{"npm", "npm", []string{"NPM_VERSION"}, runs("npm|npx"), nil, nil, []string{"npm"}},
		{"pnpm", "pnpm", []string{"PNPM_VERSION"}, runs("pnpm|pnpx"), nil, nil, []string{"pnpm"}},
		{"yarn", "Yarn", []string{"YARN_VERSION"}, runs("yarn"), nil, nil, []string{"yarn"}},
		{"bun", "Bun", []string{"BUN_VERSION"}, runs("bun|bunx"), []string{".bun-version"}, nil, []string{"bun"}},
		{"deno", "Deno", []string{"DENO_VERSION"}, runs("deno"), []string{".deno-version", ".dvmrc"}, nil, []string{"deno"}},
		{"python", "Python", []string{"PYTHON_VERSION"}, runs("python3?|pip3?|uv|poetry|mkdocs|sphinx-build|pelican"), []string{".python-version", "runtime.txt"}, []string{"python-", "cpython-"}, []string{"python"}},
		{"ruby", "Ruby", []string{"RUBY_VERSION"}, runs("ruby|gem|bundle|jekyll|middleman|bridgetown"), []string{".ruby-version"}, []string{"ruby-"}, []string{"ruby"}},
		{"go", "Go", []string{"GO_VERSION"}, runs("go"), []string{".go-version"}, []string{"go"}, []string{"go", "golang"}},
		{"hugo", "Hugo", []string{"HUGO_VERSION"}, runs("hugo"), []string{".hugo-version", ".hugoversion"}, []string{"extended_", "hugo_extended_", "hugo_"}, []string{"hugo", "hugo-extended", "gohugo"}},
		{"zola", "Zola", []string{"ZOLA_VERSION"}, runs("zola"), []string{".zola-version"}, nil, []string{"zola"}},
	}
}

// Label returns the tool's name for users: "Node.js".
func (t Tool) Label() string { return ToolLabel(t.Name) }

// ToolLabel returns the name for users of the tool with a name, or the name
// itself if there is none.
func ToolLabel(name string) string {
	for _, kind := range toolKinds() {
		if kind.name == name {
			return kind.label
		}
	}
	return name
}

// ToolNames returns the names of all tools whose versions Decide reads.
func ToolNames() (names []string) {
	for _, kind := range toolKinds() {
		names = append(names, kind.name)
	}
	return names
}

// findTools reads which versions the repository asks for. A tool that no
// command uses is left out, whatever its files say.
func (p *Plan) findTools(fsys fs.FS) error {
	if p.Install+p.Build+p.Test == "" {
		return nil
	}
	files, err := readToolFiles(fsys, p.Root, p.InstallRoot)
	if err != nil {
		return err
	}
	commands := strings.Join(append([]string{p.Install, p.Build, p.Test}, files.scripts()...), "\n")
	for _, kind := range toolKinds() {
		used := kind.commands.MatchString(commands)
		switch kind.name {
		case "node":
			used = used || slices.Contains([]string{"npm", "pnpm", "yarn", "bun"}, p.Manager)
		case "python":
			used = used || p.Python
		case "go":
			used = used || files.hugoModules() && toolUsed("hugo", commands)
		case "npm", "pnpm", "yarn", "bun":
			used = kind.name == p.Manager || used && kind.name == "bun"
		}
		if !used {
			continue
		}
		tool := Tool{Name: kind.name}
		asks, err := files.asks(kind)
		if err != nil {
			return err
		}
		if kind.name == p.Manager && len(asks) == 0 && p.ManagerVersion != "" && p.Lockfile != "" {
			r, _ := ParseRange(kind.name, p.ManagerVersion)
			asks = []Ask{{p.ManagerVersion, "the format of " + p.Lockfile, r}}
		}
		if kind.name == p.Manager {
			tool.Digest = files.digest(kind.name)
		}
		if len(asks) > 0 {
			tool.Ask, tool.Others = asks[0], asks[1:]
		}
		p.Tools = append(p.Tools, tool)
	}
	// A wrong variable is an error of its file, also if the pipeline overrides it.
	_, err = p.ToolsWith(p.Environment, nil)
	return err
}

// ToolsWith returns the tools, whose versions variables may decide: first those
// of the pipeline and the repository, such as NODE_VERSION, then files, then
// those that the operator sets for all builds.
func (p Plan) ToolsWith(variables, operator map[string]string) ([]Tool, error) {
	tools := slices.Clone(p.Tools)
	for i := range tools {
		t := &tools[i]
		kind := toolKinds()[slices.Index(ToolNames(), t.Name)]
		for _, name := range kind.variables {
			if value := variables[name]; value != "" {
				ask, err := kind.ask(value, "the variable "+name)
				if err != nil {
					return nil, err
				}
				if t.By != "" {
					t.Others = append([]Ask{t.Ask}, t.Others...)
				}
				t.Ask = ask
				break
			}
			if value := operator[name]; value != "" && t.By == "" {
				ask, err := kind.ask(value, "the operator's variable "+name)
				if err != nil {
					return nil, err
				}
				t.Ask = ask
			}
		}
	}
	return tools, nil
}

// toolUsed reports whether a command runs a tool.
func toolUsed(name, commands string) bool {
	return toolKinds()[slices.Index(ToolNames(), name)].commands.MatchString(commands)
}

// Tool returns a tool of the plan.
func (p Plan) Tool(name string) (t Tool, found bool) {
	for _, t := range p.Tools {
		if t.Name == name {
			return t, true
		}
	}
	return t, false
}

// ask parses a version.
func (k toolKind) ask(text, by string) (Ask, error) {
	version := strings.TrimSpace(text)
	for _, prefix := range k.trim {
		if rest, found := strings.CutPrefix(version, prefix); found {
			version = rest
			break
		}
	}
	switch k.name {
	case "python":
		version = pythonRange(version)
	case "ruby":
		version = rubyRange(version)
	}
	r, ok := ParseRange(k.name, version)
	if !ok {
		example := "a version or a range like 1.2.3 or ^1.2"
		switch k.name {
		case "node":
			example = "a version or a range like 22, ^20.9.0, lts/* or lts/jod"
		case "python", "ruby":
			example = "a version like 3.2"
		}
		return Ask{}, troy.Errorf(troy.Invalid, "%s asks for %s %.80q, which is not a version; write %s there", by, k.label, text, example)
	}
	return Ask{Text: strings.TrimSpace(text), By: by, Range: r}, nil
}

// keyIn describes a file in a folder: "apps/web/.nvmrc".
func keyIn(key, dir, file string) string {
	name := path.Join(dir, file)
	if key == "" {
		return name
	}
	return fmt.Sprintf("%s in %s", key, name)
}
