package build_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy/build"
)

// The files of other platforms decide after the pipeline's settings, and name
// what has no effect.
func TestSettingsOfOtherPlatforms(t *testing.T) {
	t.Parallel()
	const vite = `{"scripts":{"build":"vite build"},"dependencies":{"vite":"7"}}`
	for name, test := range map[string]struct {
		files          map[string]string
		settings       build.Settings
		install, build string
		outputs, notes []string
		config         string // the first file with rules
	}{
		"vercel.json": {
			files: map[string]string{"package.json": vite, "vercel.json": `{
				"$schema": "https://openapi.vercel.sh/vercel.json",
				"installCommand": "npm install --force",
				"buildCommand": "make site",
				"outputDirectory": "www",
				"cleanUrls": true,
				"crons": [],
				"functions": {}
			}`},
			install: "npm install --force", build: "make site", outputs: []string{"www", "dist"}, config: "vercel.json",
			notes: []string{"vercel.json, line 7: crons has no effect.", "vercel.json, line 8: functions has no effect."},
		},
		"vercel.json without a command": {
			files:   map[string]string{"vercel.json": `{"buildCommand": "", "installCommand": null, "outputDirectory": "web"}`, "web/index.html": ""},
			outputs: []string{"web"},
		},
		"vercel.json after the settings": {
			files:    map[string]string{"package.json": vite, "vercel.json": `{"buildCommand": "make", "outputDirectory": "www"}`},
			settings: build.Settings{Build: "npm run site", Output: "out"},
			install:  "npm install", build: "npm run site", outputs: []string{"out"},
		},
		"vercel.json after troy.toml": {
			files: map[string]string{
				"package.json": vite, "vercel.json": `{"buildCommand": "make", "installCommand": "npm install", "outputDirectory": "www"}`,
				"troy.toml": "[build]\ncommand = \"npm run site\"\ninstall = \"npm install\"\noutput = \"dist\"\n",
			},
			install: "npm install", build: "npm run site", outputs: []string{"dist"},
			notes: []string{"buildCommand in vercel.json has no effect beside troy.toml.", "outputDirectory in vercel.json has no effect beside troy.toml."},
		},
		"vercel.json beside a troy.toml without commands": {
			files:   map[string]string{"package.json": vite, "vercel.json": `{"buildCommand": "make"}`, "troy.toml": "[build]\noutput = \"www\"\n"},
			install: "npm install", build: "make", outputs: []string{"www"},
		},
		"netlify.toml after troy.toml": {
			files: map[string]string{
				"package.json": vite, "troy.toml": "[build.environment]\nA = \"b\"\n",
				"netlify.toml": "# ours\n[build]\ncommand = \"make\"\n[context.production]\npublish = \"www\"\n[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n",
			},
			install: "npm install", build: "npm run build", outputs: []string{"dist"},
			notes: []string{"netlify.toml, line 2: [build] has no effect beside troy.toml.", "netlify.toml, line 4: [context] has no effect beside troy.toml."},
		},
		"netlify.toml of a folder after troy.toml": {
			files:    map[string]string{"web/package.json": vite, "troy.toml": "[build]\nroot = \"web\"\n", "web/netlify.toml": "[build]\ncommand = \"make\"\n"},
			settings: build.Settings{Root: "web"},
			install:  "npm install", build: "npm run build", outputs: []string{"dist"},
			notes: []string{"web/netlify.toml, line 1: [build] has no effect beside troy.toml."},
		},
		"a netlify.toml of rules after troy.toml": {
			files:   map[string]string{"package.json": vite, "troy.toml": "", "netlify.toml": "[[redirects]]\nfrom = \"/a\"\nto = \"/b\"\n"},
			install: "npm install", build: "npm run build", outputs: []string{"dist"},
		},
		"a folder of Next.js's server": {
			files:   map[string]string{"package.json": vite, "vercel.json": `{"outputDirectory": ".next"}`},
			install: "npm install", build: "npm run build", outputs: []string{"dist"},
			notes: []string{"vercel.json, line 1: outputDirectory has no effect: expected a folder of the site inside the repository."},
		},
		"a folder outside": {
			files:   map[string]string{"package.json": vite, "wrangler.toml": "pages_build_output_dir = \"../x\"\n"},
			install: "npm install", build: "npm run build", outputs: []string{"dist"}, config: "wrangler.toml",
			notes: []string{"wrangler.toml, line 1: pages_build_output_dir has no effect: expected a folder of the site inside the repository."},
		},
		"not valid": {
			files:   map[string]string{"package.json": vite, "wrangler.json": "{"},
			install: "npm install", build: "npm run build", outputs: []string{"dist"}, config: "wrangler.json",
			notes: []string{"wrangler.json has no effect, because it can't be read: unexpected end of JSON input"},
		},
		"wrangler.toml": {
			files:   map[string]string{"package.json": vite, "wrangler.toml": "name = \"x\"\npages_build_output_dir = \"./www\"\n\n[vars]\nA = \"b\"\n"},
			install: "npm install", build: "npm run build", outputs: []string{"www", "dist"}, config: "wrangler.toml",
			notes: []string{"wrangler.toml, line 4: vars has no effect."},
		},
		"wrangler.jsonc": {
			files:   map[string]string{"package.json": vite, "wrangler.jsonc": "{\n  // ours\n  \"assets\": { \"directory\": \"./dist\" },\n  /* \"x\": 1, */ \"main\": \"src/worker.ts\"\n}\n"},
			install: "npm install", build: "npm run build", outputs: []string{"dist"}, config: "wrangler.jsonc",
			notes: []string{"wrangler.jsonc, line 4: main has no effect."},
		},
		"firebase.json": {
			files: map[string]string{"package.json": vite, "firebase.json": `{
				"hosting": {
					"public": "www",
					"ignore": ["firebase.json", "**/.*", "drafts/**"],
					"predeploy": "make",
					"rewrites": [{"source": "**", "destination": "/index.html"}]
				},
				"firestore": {}
			}`},
			install: "npm install", build: "npm run build", outputs: []string{"www", "dist"}, config: "firebase.json",
			notes: []string{
				"firebase.json, line 4: hosting.ignore has no effect; remove the files in the build command.",
				"firebase.json, line 5: hosting.predeploy has no effect.", "firebase.json, line 8: firestore has no effect.",
			},
		},
		"firebase.json of the repository itself": {
			files:   map[string]string{"index.html": "hello", "firebase.json": `{"hosting": {"public": ".", "ignore": ["drafts/**"]}}`},
			outputs: []string{"."}, config: "firebase.json",
			notes: []string{"firebase.json, line 1: hosting.ignore has no effect; leave out files with .troyignore."},
		},
		"commas at the end": {
			files: map[string]string{"wrangler.jsonc": "{\n  \"assets\": { \"directory\": \"./www\", }, // ours\n  \"build\": { \"command\": \"make [,]\" },\n}\n"},
			build: "make [,]", outputs: []string{"www"}, config: "wrangler.jsonc",
		},
		"vercel.ts": {
			files:   map[string]string{"package.json": vite, "vercel.ts": "export const config = {}\n"},
			install: "npm install", build: "npm run build", outputs: []string{"dist"},
			notes: []string{"vercel.ts has no effect; write its settings to vercel.json or troy.toml."},
		},
		"firebase.json with sites": {
			files:   map[string]string{"package.json": vite, "firebase.json": `{"hosting": [{"public": "a"}, {"public": "b"}]}`},
			install: "npm install", build: "npm run build", outputs: []string{"dist"}, config: "firebase.json",
			notes: []string{"firebase.json, line 1: hosting has 2 sites, so it has no effect."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := build.Decide(repository(test.files), test.settings)
			if err != nil {
				t.Fatal(err)
			}
			if p.Install != test.install || p.Build != test.build || !slices.Equal(p.Outputs, test.outputs) {
				t.Errorf("%s", p.Why)
			}
			if diff := cmp.Diff(test.notes, p.Notes); diff != "" {
				t.Errorf("the notes (-want +got):\n%s", diff)
			}
			config := ""
			if len(p.Config) > 0 {
				config = p.Config[0].Name
			}
			if config != test.config && !strings.Contains(name, "troy.toml") {
				t.Errorf("the rules are from %q, want %q", config, test.config)
			}
		})
	}
}

// A build's contexts of netlify.toml override [build], the strongest last.
func TestContextsOfNetlify(t *testing.T) {
	t.Parallel()
	files := map[string]string{"index.html": "", "netlify.toml": `
		[build]
		command = "make"
		publish = "out"
		[context.production]
		command = "make production"
		[context.deploy-preview]
		command = "make preview"
		[context.deploy-preview.environment]
		MODE = "preview"
		[context."feature/a"]
		publish = "feature"
	`}
	for name, test := range map[string]struct {
		contexts             []string
		command, output, env string
	}{
		"the default":    {nil, "make production", "out", ""},
		"a preview":      {[]string{"deploy-preview", "main"}, "make preview", "out", "preview"},
		"a branch":       {[]string{"branch-deploy", "main"}, "make", "out", ""},
		"a named branch": {[]string{"deploy-preview", "feature/a"}, "make preview", "feature", "preview"},
	} {
		p, err := build.Decide(repository(files), build.Settings{Contexts: test.contexts})
		if err != nil || p.Build != test.command || p.Outputs[0] != test.output || p.Environment["MODE"] != test.env {
			t.Errorf("%s: %v, %s", name, err, p.Why)
		}
	}
}
