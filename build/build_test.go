package build_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site/rules"
)

// repository returns a file system of names and contents.
func repository(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content), Mode: 0o644}
	}
	return fsys
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const vite = `{"scripts":{"build":"vite build"},"devDependencies":{"vite":"^7"}}`
	for name, test := range map[string]struct {
		files    map[string]string
		settings build.Settings
		want     build.Plan
	}{
		"vite with npm": {
			files: map[string]string{"package.json": vite, "package-lock.json": "{}", ".nvmrc": "# ours\nv22\n"},
			want: build.Plan{Root: ".", InstallRoot: ".", Install: "npm ci", Build: "npm run build", Outputs: []string{"dist"}, Manager: "npm", Lockfile: "package-lock.json",
				Generator: "Vite", Why: `Build plan: install with "npm ci" (package-lock.json), build with "npm run build" (Vite, scripts.build in package.json), publish "dist" (Vite's folder).`},
		},
		"astro in a pnpm workspace": {
			files: map[string]string{
				"pnpm-lock.yaml": "", "pnpm-workspace.yaml": "packages: [apps/*]\n", "package.json": `{"packageManager":"pnpm@9.1.0+sha256.ab"}`,
				"apps/web/package.json": `{"scripts":{"build":"astro build"},"dependencies":{"astro":"5","vite":"7"}}`,
			},
			settings: build.Settings{Root: "apps/web/"},
			want: build.Plan{Root: "apps/web", InstallRoot: ".", Install: "pnpm install --frozen-lockfile", Build: "pnpm run build", Outputs: []string{"dist"},
				Manager: "pnpm", ManagerVersion: "9.1.0", Lockfile: "pnpm-lock.yaml",
				Workspace: ".", Generator: "Astro", Why: `Build plan: in "apps/web" install with "pnpm install --frozen-lockfile" (pnpm-lock.yaml), build with "pnpm run build" (Astro, scripts.build in package.json), publish "dist" (Astro's folder).`},
		},
		"yarn from 2 on": {
			files: map[string]string{"package.json": `{"packageManager":"yarn@4.5.0","scripts":{"build":"next build"},"dependencies":{"next":"15"}}`, "next.config.js": "module.exports = {output: 'export'}", "yarn.lock": "", "package-lock.json": ""},
			want: build.Plan{Root: ".", InstallRoot: ".", Install: "yarn install --immutable", Build: "yarn run build", Outputs: []string{"out"}, Manager: "yarn", ManagerVersion: "4.5.0", Lockfile: "yarn.lock",
				Generator: "Next.js", Why: `Build plan: install with "yarn install --immutable" (yarn.lock), build with "yarn run build" (Next.js, scripts.build in package.json), publish "out" (Next.js's folder).`},
		},
		"troy.toml before everything": {
			files: map[string]string{
				"package.json": vite, "package-lock.json": "{}", "netlify.toml": "[build]\ncommand = \"no\"\n",
				"troy.toml": "[build]\ncommand = \"make site\"\noutput = \"web/out\"\ninstall = \"\"\ntest = \"make check\"\n[build.environment]\nNODE_VERSION = 20\nDRAFTS = true\n",
			},
			settings: build.Settings{Build: "neither", Install: "no", Output: "no"},
			want: build.Plan{Root: ".", InstallRoot: ".", Build: "make site", Test: "make check", Outputs: []string{"web/out"}, OutputSaid: true,
				Environment: map[string]string{"NODE_VERSION": "20", "DRAFTS": "true"}, Manager: "npm", Lockfile: "package-lock.json",
				Files:     map[string]string{"install": "troy.toml", "build": "troy.toml", "test": "troy.toml", "output": "troy.toml"},
				Notes:     []string{"netlify.toml, line 1: [build] has no effect beside troy.toml."},
				Generator: "Vite", Why: `Build plan: build with "make site" (troy.toml), test with "make check" (troy.toml), publish "web/out" (troy.toml).`},
		},
		"netlify.toml, then settings, then detection": {
			files: map[string]string{
				"site/package.json": vite, "site/yarn.lock": "",
				"netlify.toml": "[build]\nbase = \"/site\"\npublish = \"/out\"\n[[redirects]]\nfrom = \"/a\"\n[[redirects]]\nfrom = \"/b\"\n",
			},
			settings: build.Settings{Build: "vite build --outDir out"},
			want: build.Plan{Root: "site", InstallRoot: "site", Install: "yarn install --frozen-lockfile", Build: "vite build --outDir out", Outputs: []string{"out"}, OutputSaid: true,
				Environment: map[string]string{}, Manager: "yarn", Lockfile: "site/yarn.lock", Config: []rules.ConfigFile{{Name: "netlify.toml", Text: "\n\n\n[[redirects]]\nfrom = \"/a\"\n[[redirects]]\nfrom = \"/b\"\n"}},
				Files:     map[string]string{"output": "netlify.toml"},
				Generator: "Vite", Why: `Build plan: in "site" install with "yarn install --frozen-lockfile" (site/yarn.lock), build with "vite build --outDir out" (the pipeline's settings), publish "out" (netlify.toml).`},
		},
		"netlify.toml beside a troy.toml with rules": {
			files: map[string]string{
				"index.html": "", "troy.toml": "rules = \"cloudflare\"\n[site]\nspa = true\n", "wrangler.toml": "secret = 1",
				"netlify.toml": "[build]\ncommand = \"make site\"\npublish = \"out\"\n[build.environment]\nA = \"b\"\n[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n",
			},
			want: build.Plan{Root: ".", InstallRoot: ".", Build: "make site", Outputs: []string{"out"}, OutputSaid: true, Environment: map[string]string{"A": "b"},
				Why: `Build plan: build with "make site" (netlify.toml), publish "out" (netlify.toml).`, Config: []rules.ConfigFile{
					{Name: "troy.toml", Text: "rules = \"cloudflare\"\n[site]\nspa = true\n"},
					{Name: "netlify.toml", Text: "\n\n\n\n\n[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n"},
					{Name: "wrangler.toml"},
				}, Notes: []string{"wrangler.toml, line 1: secret has no effect."}},
		},
		"netlify.toml beside a troy.toml that only allows secrets": {
			files: map[string]string{
				"index.html": "", "troy.toml": "[build]\nallow_secrets = [\"key.pem\"]\n",
				"netlify.toml": "[build]\ncommand = \"make\"\npublish = \"out\"\n",
			},
			want: build.Plan{Root: ".", InstallRoot: ".", Build: "make", Outputs: []string{"out"}, OutputSaid: true, Environment: map[string]string{},
				AllowSecrets: []string{"key.pem"}, Why: `Build plan: build with "make" (netlify.toml), publish "out" (netlify.toml).`},
		},
		"netlify.toml's production context": {
			files: map[string]string{"netlify.toml": `
				[build]
				command = "make drafts"
				publish = "drafts"
				environment = { A = "1", B = "2" }
				ignore = "git diff"
				functions = "api"
				[build.processing.html]
				pretty_urls = true
				[context.production]
				command = "make site"
				publish = "/out"
				environment = { B = 3, NODE_VERSION = "22" }
				[[context.production.plugins]]
				package = "p"
				[context.deploy-preview]
				command = "make drafts"
				[context."feature/*".environment]
				A = "x"
				[[headers]]
				for = "/*"
				[[plugins]]
				package = "p"
				[[edge_functions]]
				path = "/"
				[functions]
				node_bundler = "esbuild"
				[dev]
				port = 1
			`},
			want: build.Plan{Root: ".", InstallRoot: ".", Build: "make site", Outputs: []string{"out"}, OutputSaid: true,
				Environment: map[string]string{"A": "1", "B": "3", "NODE_VERSION": "22"},
				Config:      []rules.ConfigFile{{Name: "netlify.toml", Text: strings.Repeat("\n", 19) + "\t\t\t\t[[headers]]\n\t\t\t\tfor = \"/*\"\n"}},
				Notes: []string{
					"netlify.toml, line 6: build.ignore has no effect.",
					"netlify.toml, line 7: build.functions has no effect.",
					"netlify.toml, line 8: [build.processing] has no effect.",
					"netlify.toml, line 14: [[context.production.plugins]] has no effect.",
					"netlify.toml, line 22: [[plugins]] has no effect.",
					"netlify.toml, line 24: [[edge_functions]] has no effect.",
					"netlify.toml, line 26: [functions] has no effect.",
					"netlify.toml, line 28: [dev] has no effect.",
				},
				Contexts: []string{"[context.deploy-preview]", "[context.\"feature/*\"]"},
				Why:      `Build plan: build with "make site" (netlify.toml, [context.production]), publish "out" (netlify.toml, [context.production]).`},
		},
		"packages of Python": {
			files:    map[string]string{"docs/requirements.txt": "mkdocs\n", "mkdocs.yml": ""},
			settings: build.Settings{Root: "docs", Build: "make html", Output: "out"},
			want: build.Plan{Root: "docs", InstallRoot: "docs", Build: "make html", Outputs: []string{"out"}, OutputSaid: true, Python: true, Manager: "pip", Lockfile: "docs/requirements.txt",
				Why: `Build plan: in "docs" build with "make html" (the pipeline's settings), publish "out" (the pipeline's settings).`},
		},
		"pip in a command": {
			files:    map[string]string{"a.md": ""},
			settings: build.Settings{Build: "python3 -m pip install mkdocs && mkdocs build", Output: "site"},
			want: build.Plan{Root: ".", InstallRoot: ".", Build: "python3 -m pip install mkdocs && mkdocs build", Outputs: []string{"site"}, OutputSaid: true, Python: true,
				Why: `Build plan: build with "python3 -m pip install mkdocs && mkdocs build" (the pipeline's settings), publish "site" (the pipeline's settings).`},
		},
		"byte order marks": {
			files: map[string]string{"package.json": "\ufeff" + vite, "package-lock.json": "{}", "troy.toml": "\ufeff[build]\noutput = \"www\"\n"},
			want: build.Plan{Root: ".", InstallRoot: ".", Install: "npm ci", Build: "npm run build", Outputs: []string{"www"}, OutputSaid: true, Manager: "npm", Lockfile: "package-lock.json",
				Environment: map[string]string{}, Generator: "Vite",
				Why: `Build plan: install with "npm ci" (package-lock.json), build with "npm run build" (Vite, scripts.build in package.json), publish "www" (troy.toml).`},
		},
		"line ends of Windows": {
			files:    map[string]string{"troy.toml": "[build]\r\ncommand = \"\"\"\r\nmkdir dist\r\necho >dist/a\r\n\"\"\"\r\noutput = \"dist\"\r\n"},
			settings: build.Settings{Test: "a\r\nb\r\n"},
			want: build.Plan{Root: ".", InstallRoot: ".", Build: "mkdir dist\necho >dist/a", Test: "a\nb", Outputs: []string{"dist"}, OutputSaid: true, Environment: map[string]string{},
				Why: `Build plan: build with "mkdir dist\necho >dist/a" (troy.toml), test with "a\nb" (the pipeline's settings), publish "dist" (troy.toml).`},
		},
		"a lockfile of another manager": {
			files: map[string]string{"package.json": `{"packageManager":"pnpm@9.1.0","scripts":{"build":"vite build"},"dependencies":{"vite":"7"}}`, "package-lock.json": "{}"},
			want: build.Plan{Root: ".", InstallRoot: ".", Install: "pnpm install", Build: "pnpm run build", Outputs: []string{"dist"}, Manager: "pnpm", ManagerVersion: "9.1.0",
				Notes:     []string{"package-lock.json has no effect, because package.json asks for pnpm; commit the lockfile of pnpm."},
				Generator: "Vite", Why: `Build plan: install with "pnpm install" (packageManager in package.json), build with "pnpm run build" (Vite, scripts.build in package.json), publish "dist" (Vite's folder).`},
		},
		"plain HTML": {
			files: map[string]string{"index.html": "<h1>", "package.json": `{"devDependencies":{"prettier":"3"}}`},
			want:  build.Plan{Root: ".", InstallRoot: ".", Outputs: []string{"."}, Manager: "npm", Why: `Build plan: publish "." (plain HTML).`},
		},
		"an existing folder": {
			files:    map[string]string{"docs/a.html": "<h1>"},
			settings: build.Settings{Output: "docs"},
			want:     build.Plan{Root: ".", InstallRoot: ".", Outputs: []string{"docs"}, OutputSaid: true, Why: `Build plan: publish "docs" (the pipeline's settings).`},
		},
		"hugo": {
			files: map[string]string{"hugo.toml": "", "content/a.md": ""},
			want:  build.Plan{Root: ".", InstallRoot: ".", Build: "hugo", Outputs: []string{"public"}, Generator: "Hugo", Why: `Build plan: build with "hugo" (Hugo, hugo.toml), publish "public" (Hugo's folder).`},
		},
		"jekyll": {
			files: map[string]string{"_config.yml": "", "Gemfile": `gem "jekyll"`},
			want: build.Plan{Root: ".", InstallRoot: ".", Install: "bundle install", Build: "bundle exec jekyll build", Outputs: []string{"_site"},
				Manager: "bundler", Generator: "Jekyll", Why: `Build plan: install with "bundle install" (Gemfile), build with "bundle exec jekyll build" (Jekyll, _config.yml), publish "_site" (Jekyll's folder).`},
		},
		"eleventy without a script": {
			files: map[string]string{"package.json": `{"devDependencies":{"@11ty/eleventy":"3"},"engines":{"node":">=20"}}`},
			want: build.Plan{Root: ".", InstallRoot: ".", Install: "npm install", Build: "npx --no-install eleventy", Outputs: []string{"_site"}, Manager: "npm",
				Generator: "Eleventy", Why: `Build plan: install with "npm install" (package.json without a lockfile), build with "npx --no-install eleventy" (Eleventy), publish "_site" (Eleventy's folder).`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := build.Decide(repository(test.files), test.settings)
			if err != nil {
				t.Fatal(err)
			}
			if test.want.Files == nil { // few cases are about them
				got.Files = nil
			}
			got.Tools = nil // TestTools is about them
			test.want.SettingsRoot = test.settings.Root
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Fatalf("the plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGenerators(t *testing.T) {
	t.Parallel()
	for module, want := range map[string]string{
		"vite": "dist", "astro": "dist", "next": "out", "react-scripts": "build", "gatsby": "public", "@11ty/eleventy": "_site",
		"vuepress": "docs/.vuepress/dist", "@docusaurus/core": "build", "@sveltejs/kit": "build", "nuxt": ".output/public", "@angular/core": "dist/*/browser",
	} {
		p, err := build.Decide(repository(map[string]string{
			"package.json": `{"scripts":{"build":"x"},"dependencies":{"` + module + `":"1","vite":"1"}}`,
		}), build.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Outputs[0] != want || p.Build != "npm run build" {
			t.Errorf("%s: %q into %q, want %q", module, p.Build, p.Outputs, want)
		}
	}
}

func TestDecideRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files    map[string]string
		settings build.Settings
		field    string
		words    string
	}{
		"nothing to build": {files: map[string]string{"README.md": ""}, words: "found nothing to build in \".\": expected a package.json with a build script, a known generator, or an index.html; set the build command and the output folder"},
		"a site below": {
			files: map[string]string{"README.md": "", "node_modules/x/index.html": "", "website/package.json": `{"dependencies":{"@docusaurus/core":"3"}}`},
			words: `; there is a site in "website" (Docusaurus): set root = "website" under [build] in troy.toml`,
		},
		"sites below": {
			files: map[string]string{"api/main.py": "", "clients/web/package.json": `{"scripts":{"build":"webpack"}}`, "old/index.html": "hello", "site/hugo.toml": ""},
			words: `; there are sites in "old" (plain HTML), "site" (Hugo), "clients/web" (scripts.build in package.json): choose one with root = "old"`,
		},
		"a file that can't be read": {
			files: map[string]string{"wrangler.jsonc": "{"}, words: "or an index.html; wrangler.jsonc has no effect, because it can't be read: unexpected end of JSON input; set",
		},
		"unknown key":              {files: map[string]string{"troy.toml": "[build]\ncomand = \"x\"\n"}, field: "build.comand", words: "unknown key"},
		"unknown table":            {files: map[string]string{"troy.toml": "[biuld]\ncommand = \"x\"\n"}, field: "biuld", words: "unknown key"},
		"contradiction":            {files: map[string]string{"troy.toml": "[build]\noutput = \"a\"\npublish = \"b\"\n"}, field: "build.output", words: `build.publish is "b"`},
		"contradicting roots":      {files: map[string]string{"troy.toml": "[build]\nroot = \"a\"\nbase = \"b\"\n"}, field: "build.root", words: `build.base is "b"`},
		"root against settings":    {files: map[string]string{"web/troy.toml": "[build]\nroot = \"a\"\n"}, settings: build.Settings{Root: "web"}, field: "build.root", words: "the pipeline's root folder"},
		"wrong type":               {files: map[string]string{"troy.toml": "[build]\ncommand = 3\n"}, field: "build.command", words: "text in quotes"},
		"no TOML":                  {files: map[string]string{"troy.toml": "[build\n"}, words: "line 1"},
		"output outside":           {files: map[string]string{"troy.toml": "[build]\noutput = \"../x\"\n"}, field: "build.output", words: "inside the repository"},
		"absolute output":          {files: map[string]string{"troy.toml": "[build]\noutput = \"/etc\"\n"}, field: "build.output", words: "inside the repository"},
		"netlify outside":          {files: map[string]string{"netlify.toml": "[build]\npublish = \"a/../../x\"\n"}, field: "build.publish", words: "inside the repository"},
		"production outside":       {files: map[string]string{"netlify.toml": "[context.production]\npublish = \"../x\"\n"}, field: "context.production.publish", words: "inside the repository"},
		"production's variable":    {files: map[string]string{"netlify.toml": "[context.production.environment]\nA = [1]\n"}, field: "context.production.environment.A", words: "expected text"},
		"variable name":            {files: map[string]string{"troy.toml": "[build.environment]\n\"A B\" = \"x\"\n"}, field: "build.environment", words: "variable name"},
		"secrets' type":            {files: map[string]string{"troy.toml": "[build]\nallow_secrets = \"a\"\n"}, field: "build.allow_secrets", words: "an array of paths"},
		"secret's type":            {files: map[string]string{"troy.toml": "[build]\nallow_secrets = [\"a\", 1]\n"}, field: "build.allow_secrets[1]", words: "expected text"},
		"variable's type":          {files: map[string]string{"troy.toml": "[build.environment]\nA = [1]\n"}, field: "build.environment.A", words: "expected text"},
		"root outside":             {settings: build.Settings{Root: "../x"}, field: "root", words: "inside the repository"},
		"root missing":             {files: map[string]string{"index.html": ""}, settings: build.Settings{Root: "web"}, words: `"web" (the pipeline's settings) does not exist in the repository`},
		"root of troy.toml":        {files: map[string]string{"troy.toml": "[build]\nroot = \"web\"\n"}, words: `"web" (troy.toml) does not exist in the repository`},
		"package.json is not JSON": {files: map[string]string{"package.json": "{"}, words: "package.json can't be read"},
		"huge package.json":        {files: map[string]string{"package.json": strings.Repeat(" ", 5<<20)}, words: "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := build.Decide(repository(test.files), test.settings)
			if kind := troy.KindOf(err); err == nil || kind != troy.Invalid && kind != troy.TooLarge {
				t.Fatalf("Decide: %v (%s), want a refusal", err, kind)
			}
			e, _ := errors.AsType[*troy.Error](err)
			if !strings.Contains(err.Error(), test.words) || e.Field != test.field {
				t.Fatalf("Decide: %q at %q, want %q at %q", err, e.Field, test.words, test.field)
			}
		})
	}
}

func rootFS(t *testing.T, dir string) fs.FS {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root.FS()
}

func FuzzDecide(f *testing.F) {
	f.Add("[build]\ncommand = \"x\"\noutput = \"a\"\n", "[build]\nbase=\"/\"", `{"scripts":{"build":"x"}}`, "web")
	f.Add("", "", `{"packageManager":"yarn@4","scripts":[],"engines":{"node":3}}`, "..")
	f.Fuzz(func(t *testing.T, troyToml, netlifyToml, packageJSON, root string) {
		files := map[string]string{"package.json": packageJSON, "netlify.toml": netlifyToml}
		if troyToml != "" {
			files["troy.toml"] = troyToml
		}
		p, err := build.Decide(repository(files), build.Settings{Root: root})
		if err != nil {
			if troy.KindOf(err) == troy.Internal {
				t.Fatalf("Decide: unexpected error %v", err)
			}
			return
		}
		if !fs.ValidPath(p.Root) || !fs.ValidPath(p.InstallRoot) || len(p.Outputs) == 0 {
			t.Fatalf("the plan is %+v", p)
		}
		for _, o := range p.Outputs {
			if !fs.ValidPath(o) {
				t.Fatalf("the output is %q", o)
			}
		}
	})
}
