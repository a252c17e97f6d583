package build_test

import (
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// TestTools reads the versions that files ask for. A tool is written as NAME,
// the version, and what decides; then what others ask for.
func TestTools(t *testing.T) {
	t.Parallel()
	const pkg = `"scripts":{"build":"vite build"}`
	for name, c := range map[string]struct {
		files     map[string]string
		root      string
		variables map[string]string
		operator  map[string]string
		want      []string
	}{
		"nothing":         {map[string]string{"package.json": "{" + pkg + "}"}, "", nil, nil, []string{"node", "npm"}},
		".nvmrc":          {map[string]string{"package.json": "{" + pkg + "}", ".nvmrc": "# ours\n\nv22 # jod\n"}, "", nil, nil, []string{"node v22 .nvmrc", "npm"}},
		".node-version":   {map[string]string{"package.json": "{" + pkg + "}", ".node-version": "22.1.0"}, "", nil, nil, []string{"node 22.1.0 .node-version", "npm"}},
		"engines":         {map[string]string{"package.json": "{" + pkg + `,"engines":{"node":">=20","npm":"please use npm"}}`}, "", nil, nil, []string{"node >=20 engines.node in package.json", "npm"}},
		"engines.npm":     {map[string]string{"package.json": "{" + pkg + `,"engines":{"npm":"^10"}}`}, "", nil, nil, []string{"node", "npm ^10 engines.npm in package.json"}},
		"volta":           {map[string]string{"package.json": "{" + pkg + `,"volta":{"node":"20.9.0","npm":"10.2.0"}}`}, "", nil, nil, []string{"node 20.9.0 volta.node in package.json", "npm 10.2.0 volta.npm in package.json"}},
		"devEngines":      {map[string]string{"package.json": "{" + pkg + `,"devEngines":{"runtime":{"name":"node","version":"^22"},"packageManager":{"name":"npm","version":"11"}}}`}, "", nil, nil, []string{"node ^22 devEngines.runtime in package.json", "npm 11 devEngines.packageManager in package.json"}},
		"a list of them":  {map[string]string{"package.json": "{" + pkg + `,"devEngines":{"runtime":[{"name":"bun","version":"1"},{"name":"node","version":"22"}]}}`}, "", nil, nil, []string{"node 22 devEngines.runtime in package.json", "npm"}},
		".tool-versions":  {map[string]string{"package.json": "{" + pkg + "}", ".tool-versions": "# ours\nnodejs 20.9.0 18.1.0\npython 3.11\n"}, "", nil, nil, []string{"node 20.9.0 nodejs in .tool-versions", "npm"}},
		"mise.toml":       {map[string]string{"package.json": "{" + pkg + "}", "mise.toml": "[tools]\nnode = [\"22\", \"20\"]\nnpm = {version = \"10\"}\n"}, "", nil, nil, []string{"node 22 tools.node in mise.toml", "npm 10 tools.npm in mise.toml"}},
		".config/mise":    {map[string]string{"package.json": "{" + pkg + "}", ".config/mise.toml": "[tools]\nnode = \"lts\"\n"}, "", nil, nil, []string{"node lts tools.node in .config/mise.toml", "npm"}},
		"packageManager":  {map[string]string{"package.json": "{" + pkg + `,"packageManager":"pnpm@9.1.0+sha512.0a1b"}`, "pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "", nil, nil, []string{"node", "pnpm 9.1.0 packageManager in package.json sha512.0a1b"}},
		"the lockfile":    {map[string]string{"package.json": "{" + pkg + "}", "pnpm-lock.yaml": "lockfileVersion: '6.0'\n"}, "", nil, nil, []string{"node", "pnpm 8 the format of pnpm-lock.yaml"}},
		"Bun":             {map[string]string{"package.json": "{" + pkg + "}", "bun.lock": "", ".bun-version": "1.2.0\n"}, "", nil, nil, []string{"node", "bun 1.2.0 .bun-version"}},
		"a variable":      {map[string]string{"package.json": "{" + pkg + "}", ".nvmrc": "22"}, "", map[string]string{"NODE_VERSION": "20"}, map[string]string{"NODE_VERSION": "18"}, []string{"node 20 the variable NODE_VERSION; 22 .nvmrc", "npm"}},
		"netlify.toml":    {map[string]string{"package.json": "{" + pkg + "}", ".nvmrc": "22", "netlify.toml": "[build.environment]\nNODE_VERSION = 20\n"}, "", nil, nil, []string{"node 20 the variable NODE_VERSION; 22 .nvmrc", "npm"}},
		"the operator's":  {map[string]string{"package.json": "{" + pkg + "}"}, "", nil, map[string]string{"NODE_VERSION": "18"}, []string{"node 18 the operator's variable NODE_VERSION", "npm"}},
		"a file first":    {map[string]string{"package.json": "{" + pkg + "}", ".nvmrc": "22"}, "", nil, map[string]string{"NODE_VERSION": "18"}, []string{"node 22 .nvmrc", "npm"}},
		"all that differ": {map[string]string{"package.json": "{" + pkg + `,"engines":{"node":"18"},"volta":{"node":"20.1.0"}}`, ".nvmrc": "22", ".node-version": "21"}, "", nil, nil, []string{"node 22 .nvmrc; 21 .node-version; 20.1.0 volta.node in package.json; 18 engines.node in package.json", "npm"}},
		"the nearest":     {map[string]string{"package.json": "{}", ".nvmrc": "18", "apps/web/package.json": "{" + pkg + `,"engines":{"node":"22"}}`}, "apps/web", nil, nil, []string{"node 22 engines.node in apps/web/package.json; 18 .nvmrc", "npm"}},
		"Hugo":            {map[string]string{"hugo.toml": "", ".tool-versions": "hugo extended_0.131.0\nnodejs 22\n"}, "", nil, nil, []string{"hugo extended_0.131.0 hugo in .tool-versions"}},
		"Hugo's variable": {map[string]string{"hugo.toml": "", "netlify.toml": "[build.environment]\nHUGO_VERSION = \"0.131.0\"\nNODE_VERSION = \"22\"\n"}, "", nil, nil, []string{"hugo 0.131.0 the variable HUGO_VERSION"}},
		"Ruby":            {map[string]string{"_config.yml": "", "Gemfile": "source 'https://rubygems.org'\nruby '~> 3.2'\ngem 'jekyll'\n"}, "", nil, nil, []string{"ruby ~> 3.2 Gemfile"}},
		".ruby-version":   {map[string]string{"_config.yml": "", "Gemfile": "gem 'jekyll'\n", ".ruby-version": "ruby-3.2.2\n"}, "", nil, nil, []string{"ruby ruby-3.2.2 .ruby-version"}},
		"Python":          {map[string]string{"requirements.txt": "mkdocs", "troy.toml": "[build]\ncommand = \"mkdocs build\"\n", ".python-version": "3.11\n"}, "", nil, nil, []string{"python 3.11 .python-version"}},
		".python-version": {map[string]string{"troy.toml": "[build]\ncommand = \"python3 make.py\"\n", ".python-version": "3.12\n", "runtime.txt": "python-3.11.4\n"}, "", nil, nil, []string{"python 3.12 .python-version; python-3.11.4 runtime.txt"}},
		"go.mod":          {map[string]string{"troy.toml": "[build]\ncommand = \"go run .\"\n", "go.mod": "module x\n\ngo 1.22.3 // ours\n"}, "", nil, nil, []string{"go >=1.22.3 go in go.mod"}},
		"its toolchain":   {map[string]string{"troy.toml": "[build]\ncommand = \"go run .\"\n", "go.mod": "module x\n\ngo 1.22\n\ntoolchain go1.23.4\n"}, "", nil, nil, []string{"go >=1.23.4 toolchain in go.mod"}},
		"the default one": {map[string]string{"troy.toml": "[build]\ncommand = \"go run .\"\n", "go.mod": "module x\r\ngo 1.22\r\ntoolchain default\r\n"}, "", nil, nil, []string{"go >=1.22 go in go.mod"}},
		"a candidate":     {map[string]string{"troy.toml": "[build]\ncommand = \"go run .\"\n", "go.mod": "module x\ngo 1.27rc1\n"}, "", nil, nil, []string{"go"}},
		"files before it": {map[string]string{"troy.toml": "[build]\ncommand = \"go run .\"\n", "go.mod": "module x\ngo 1.22\n", ".go-version": "go1.21.1\n", ".tool-versions": "golang 1.23.0\n"}, "", map[string]string{"GO_VERSION": "1.24"}, nil, []string{"go 1.24 the variable GO_VERSION; go1.21.1 .go-version; 1.23.0 golang in .tool-versions; >=1.22 go in go.mod"}},
		"Hugo's modules":  {map[string]string{"hugo.toml": "", "go.mod": "module x\n\ngo 1.20\n\nrequire github.com/a/b v1.0.0\n"}, "", nil, nil, []string{"go >=1.20 go in go.mod", "hugo"}},
		"vendored":        {map[string]string{"hugo.toml": "", "go.mod": "module x\n\ngo 1.20\n\nrequire github.com/a/b v1.0.0\n", "_vendor/modules.txt": ""}, "", nil, nil, []string{"hugo"}},
		"no modules":      {map[string]string{"hugo.toml": "", "go.mod": "module x\n\ngo 1.20\n"}, "", nil, nil, []string{"hugo"}},
		"no commands":     {map[string]string{"index.html": "", ".nvmrc": "22"}, "", nil, nil, nil},
		"a script's tool": {map[string]string{"package.json": `{"scripts":{"build":"deno task build && hugo --minify"}}`, ".hugo-version": "0.131.0"}, "", nil, nil, []string{"node", "npm", "deno", "hugo 0.131.0 .hugo-version"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := build.Decide(repository(c.files), build.Settings{Root: c.root})
			if err != nil {
				t.Fatal(err)
			}
			variables := map[string]string{}
			for _, m := range []map[string]string{p.Environment, c.variables} {
				for name, value := range m {
					variables[name] = value
				}
			}
			tools, err := p.ToolsWith(variables, c.operator)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, tool := range tools {
				text := strings.TrimSpace(strings.Join([]string{tool.Name, tool.Text, tool.By, tool.Digest}, " "))
				for _, other := range tool.Others {
					text += "; " + other.Text + " " + other.By
				}
				got = append(got, strings.Join(strings.Fields(text), " "))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the tools (-want +got):\n%s", diff)
			}
		})
	}
}

// TestToolsOfBadFiles names the file, the value and the cure.
func TestToolsOfBadFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		says  []string
	}{
		".nvmrc":         {map[string]string{".nvmrc": "twenty-two\n"}, []string{`.nvmrc asks for Node.js "twenty-two", which is not a version`, "22, ^20.9.0, lts/* or lts/jod"}},
		"no such line":   {map[string]string{".nvmrc": "lts/unknown"}, []string{`"lts/unknown"`}},
		"control":        {map[string]string{".nvmrc": "22\x1b[2J"}, []string{".nvmrc asks for"}},
		"long":           {map[string]string{".nvmrc": strings.Repeat("2", 300)}, []string{".nvmrc asks for"}},
		"a command":      {map[string]string{".nvmrc": "22; touch /tmp/x"}, []string{".nvmrc asks for"}},
		"a path":         {map[string]string{".node-version": "../../22"}, []string{".node-version asks for"}},
		"engines":        {map[string]string{"package.json": `{"scripts":{"build":"x"},"engines":{"node":"new"}}`}, []string{"engines.node in package.json", `"new"`}},
		"packageManager": {map[string]string{"package.json": `{"scripts":{"build":"x"},"packageManager":"pnpm@nine"}`}, []string{"packageManager in package.json", "pnpm", `"nine"`, "1.2.3 or ^1.2"}},
		"variable":       {map[string]string{"netlify.toml": "[build.environment]\nNODE_VERSION = \"none\"\n"}, []string{"the variable NODE_VERSION asks for"}},
		"mise.toml":      {map[string]string{"mise.toml": "[tools\n"}, []string{"mise.toml is not valid TOML"}},
		"deep TOML":      {map[string]string{"mise.toml": "[tools]\nnode = " + strings.Repeat("[", 4<<20-100)}, []string{"mise.toml is not valid TOML: line 2 nests more than 100 levels"}},
		"an option":      {map[string]string{".nvmrc": "--env"}, []string{".nvmrc asks for"}},
		"a Git ref":      {map[string]string{".tool-versions": "nodejs ref:v22\n"}, []string{"nodejs in .tool-versions"}},
		"a folder":       {map[string]string{"mise.toml": "[tools]\nnode = \"path:/etc\"\n"}, []string{"tools.node in mise.toml"}},
		"two lines":      {map[string]string{"netlify.toml": "[build.environment]\nNODE_VERSION = \"22\\n--env\"\n"}, []string{"the variable NODE_VERSION"}},
		".tool-versions": {map[string]string{".tool-versions": "nodejs system22\n"}, []string{"nodejs in .tool-versions"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"package.json": `{"scripts":{"build":"x"}}`}
			for name, text := range c.files {
				files[name] = text
			}
			_, err := build.Decide(repository(files), build.Settings{})
			if troy.KindOf(err) != troy.Invalid {
				t.Fatalf("%v, want Invalid", err)
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is missing in: %v", want, err)
				}
			}
			if strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("the error has a control character: %q", err)
			}
		})
	}
}

// TestYAMLThatNests refuses a pnpm-workspace.yaml for which the parser would take
// gigabytes.
func TestYAMLThatNests(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"brackets": "packages: " + strings.Repeat("[", 2000), "on lines": "packages: " + strings.Repeat("{a:\n", 2000), "dashes": strings.Repeat("- ", 5000),
	} {
		_, err := build.Decide(repository(map[string]string{"pnpm-workspace.yaml": text, "pnpm-lock.yaml": "", "package.json": "{}", "web/package.json": `{"scripts":{"build":"x"}}`}), build.Settings{Root: "web"})
		if troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), "pnpm-workspace.yaml has more than 1000 brackets, or a line of more than 4096 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRange holds ranges to npm's grammar. The expected versions are those of
// npm's own library.
func TestRange(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	versions := strings.Fields("0.2.3 0.2.9 0.3.0 17.9.1 18.0.0 18.18.0 19.0.0 20.0.0 20.1.0 20.9.0-rc.1 20.9.0 20.10.0 21.1.0 22.0.0 22.3.0 22.3.1 23.0.0 24.1.0 25.0.0 26.1.0 27.0.0")
	for text, want := range map[string]string{
		"^20":                "20.0.0 20.1.0 20.9.0 20.10.0",
		"~20.9":              "20.9.0",
		"~20.9.0":            "20.9.0",
		"^0.2.3":             "0.2.3 0.2.9",
		"20":                 "20.0.0 20.1.0 20.9.0 20.10.0",
		"v20":                "20.0.0 20.1.0 20.9.0 20.10.0",
		"20.x":               "20.0.0 20.1.0 20.9.0 20.10.0",
		"20.1.x":             "20.1.0",
		"20.*":               "20.0.0 20.1.0 20.9.0 20.10.0",
		"v20.1.0":            "20.1.0",
		"=20.1.0":            "20.1.0",
		"^18 || ~22.3":       "18.0.0 18.18.0 22.3.0 22.3.1",
		"18||20.1":           "18.0.0 18.18.0 20.1.0",
		"18 - 20.1":          "18.0.0 18.18.0 19.0.0 20.0.0 20.1.0",
		"20.1.0 - 20.9.0":    "20.1.0 20.9.0",
		">=18 <20":           "18.0.0 18.18.0 19.0.0",
		">= 26":              "26.1.0 27.0.0",
		">26":                "27.0.0",
		"<=18":               "0.2.3 0.2.9 0.3.0 17.9.1 18.0.0 18.18.0",
		"^20.9.0-rc.1":       "20.9.0-rc.1 20.9.0 20.10.0",
		">=22.3 <23 || >=27": "22.3.0 22.3.1 27.0.0",
		"lts/*":              "26.1.0",
		"lts":                "26.1.0",
		"lts/-1":             "24.1.0",
		"lts/jod":            "22.0.0 22.3.0 22.3.1",
		"LTS/Iron":           "20.0.0 20.1.0 20.9.0 20.10.0",
	} {
		r, ok := build.ParseRange("node", text)
		if !ok {
			t.Errorf("%q is refused", text)
			continue
		}
		var got []string
		for _, v := range versions {
			if r.Allows(semver.MustParse(v), now) {
				got = append(got, v)
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%q allows %s, want %s", text, got, want)
		}
	}
	all := make([]*semver.Version, len(versions))
	for i, v := range versions {
		all[i] = semver.MustParse(v)
	}
	for text, want := range map[string]string{
		"": "26.1.0", "*": "26.1.0", ">=18": "26.1.0", "node": "27.0.0", "latest": "27.0.0", "20": "20.10.0", "23 || 25": "25.0.0", "18 || 23": "18.18.0", "99": "",
	} {
		r, _ := build.ParseRange("node", text)
		got := ""
		if i := r.Best("node", all, now); i >= 0 {
			got = versions[i]
		}
		if got != want {
			t.Errorf("the best of %q is %s, want %s", text, got, want)
		}
	}
	before := time.Date(2025, 10, 1, 0, 0, 0, 0, time.UTC)
	if r := build.DefaultNode(); !r.Allows(semver.MustParse("22.3.0"), before) || r.Allows(semver.MustParse("24.1.0"), before) {
		t.Error("the current line does not depend on the time")
	}
	for _, text := range []string{"foo", "20..1", "20,22", "1.2.3.4", "^^20", "20 || foo", "lts/0", "lts/-0", "lts/", "!=20", "20; rm", "$(x)", "../20", ">"} {
		if _, ok := build.ParseRange("node", text); ok {
			t.Errorf("%q is accepted", text)
		}
	}
	for text, want := range map[string]uint64{"22": 22, ">=18": 24, "18.20.1": 18, "20 || 18": 20, ">=22.12 <24": 22, "lts/jod": 22, "16": 0} {
		r, _ := build.ParseRange("node", text)
		if got, _ := r.MajorOf([]uint64{24, 22, 20, 18}, now); got != want {
			t.Errorf("the major version of %q is %d, want %d", text, got, want)
		}
	}
}
