package build_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

// built is a repository after a build. The build wrote the names that begin
// with "+"; the others existed before.
type built map[string]string

func (b built) files() map[string]string {
	files := map[string]string{}
	for name, content := range b {
		files[strings.TrimPrefix(name, "+")] = content
	}
	return files
}

// written returns the result of both ways to record written files.
func (b built) written(t *testing.T) build.Written {
	t.Helper()
	var list strings.Builder
	for name := range b {
		if rest, ok := strings.CutPrefix(name, "+"); ok {
			kind := "f"
			if filepath.Base(rest) == "index.html" {
				kind = "i"
			}
			list.WriteString(kind + "./" + filepath.Dir(rest) + "\x00")
		}
	}
	w, err := build.ReadWritten(strings.NewReader(list.String()))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

const advice = "set the output folder in troy.toml or in the pipeline's settings"

func TestFindOutput(t *testing.T) {
	t.Parallel()
	usual := build.Plan{Root: "web", Build: "make", Outputs: []string{"dist", "build", "public"}}
	angular := build.Plan{Root: ".", Build: "ng build", Generator: "Angular", Outputs: []string{"dist/*/browser", "dist/*", "dist"}}
	vite := build.Plan{Root: ".", Build: "vite build", Generator: "Vite", Outputs: []string{"dist"}}
	plain := build.Plan{Root: ".", Outputs: []string{"public"}}
	inPlace := build.Plan{Root: ".", Build: "make", Outputs: []string{"dist", "."}}
	for name, test := range map[string]struct {
		plan        build.Plan
		files       built
		want, words string
	}{
		"a template and an unknown site": {
			plan: usual, files: built{"web/public/index.html": "", "+web/www/index.html": "", "+web/www/a/index.html": ""},
			words: `the build wrote a site to "web/www", which is not a known output folder; ` + advice,
		},
		"a committed dist and a build just made": {
			plan: usual, files: built{"web/dist/index.html": "", "+web/build/index.html": ""}, want: "web/build",
		},
		"a committed dist that was not rebuilt": {
			plan: usual, files: built{"web/dist/index.html": "", "+web/lib/a.js": ""},
			words: `the build did not write to "web/dist", which comes from the repository; it wrote to "web/lib"; ` + advice,
		},
		"a template beside a fresh file": {
			plan: usual, files: built{"web/public/index.html": "", "+web/public/style.css": ""}, want: "web/public",
		},
		"such a template, and a site elsewhere": {
			plan: usual, files: built{"web/public/index.html": "", "+web/public/style.css": "", "+www/index.html": ""},
			words: `the build wrote a site to "www"`,
		},
		"a report beside the site": {
			plan: usual, files: built{"+web/dist/index.html": "", "+web/coverage/index.html": ""}, want: "web/dist",
		},
		"two usual folders": {
			plan: usual, files: built{"+web/dist/index.html": "", "+web/build/index.html": ""},
			words: `the build made 2 sites ("web/dist", "web/build"); ` + advice,
		},
		"a site below a usual place": {
			plan: usual, files: built{"+web/dist/server.txt": "", "+web/dist/public/index.html": ""}, words: `the build wrote a site to "web/dist/public"`,
		},
		"a folder without index.html": {
			plan: usual, files: built{"+web/dist/lib.js": ""},
			words: `the folder "web/dist" is not a site: it has no index.html; to publish it anyway, ` + advice,
		},
		"nothing written":        {plan: usual, files: built{"web/a": ""}, words: `none of web/dist, web/build, web/public exists after the build; it did not write to any folder`},
		"in place":               {plan: inPlace, files: built{"+index.html": ""}, want: "."},
		"beside a page in place": {plan: inPlace, files: built{"index.html": "", "+css/a.css": ""}, want: "."},
		"plain":                  {plan: plain, files: built{"public/index.html": ""}, want: "public"},
		"a generator's folder":   {plan: vite, files: built{"+dist/index.html": "", "public/index.html": ""}, want: "dist"},
		"a generator's folder is missing": {
			plan: vite, files: built{"public/index.html": ""}, words: `the output folder "dist" is missing after the build; it did not write to any folder; ` + advice,
		},
		"wildcard":       {plan: angular, files: built{"+dist/app/browser/index.html": "", "+dist/app/3rdparty.txt": ""}, want: "dist/app/browser"},
		"older wildcard": {plan: angular, files: built{"+dist/app/index.html": ""}, want: "dist/app"},
		"two sites":      {plan: angular, files: built{"+dist/a/index.html": "", "+dist/b/index.html": ""}, words: `the build made 2 sites ("dist/a", "dist/b")`},
		"an old app of two": {
			plan: angular, files: built{"dist/old/index.html": "", "+dist/new/index.html": ""}, want: "dist/new",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := test.plan.FindOutput(t.Context(), repository(test.files.files()), test.files.written(t))
			check(t, out, err, test.want, test.words)
			if len(out.Warnings) > 0 {
				t.Errorf("the warnings are %q", out.Warnings)
			}
		})
	}
}

func TestFindNamedOutput(t *testing.T) {
	t.Parallel()
	dist := build.Plan{Root: "web", Build: "make", Outputs: []string{"dist"}, OutputSaid: true}
	const noIndex = `The output folder "web/dist" has no index.html, so the site has no home page.`
	for name, test := range map[string]struct {
		files       built
		want, words string
		warnings    []string
	}{
		"a site":     {files: built{"+web/dist/index.html": ""}, want: "web/dist"},
		"not built":  {files: built{"web/dist/index.html": ""}, want: "web/dist"},
		"no index":   {files: built{"+web/dist/feed.xml": ""}, want: "web/dist", warnings: []string{noIndex}},
		"a server":   {files: built{"+web/dist/server/index.js": "", "+web/dist/index.html": ""}, want: "web/dist", warnings: []string{`The output folder "web/dist" contains server code (server/index.js). Troy does not run it, and it is public.`}},
		"is missing": {files: built{"+web/public/index.html": ""}, words: `the output folder "web/dist" is missing after the build; it wrote to "web/public"; correct the command or the name of the folder`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := dist.FindOutput(t.Context(), repository(test.files.files()), test.files.written(t))
			check(t, out, err, test.want, test.words)
			if !slices.Equal(out.Warnings, test.warnings) {
				t.Errorf("the warnings are %q, want %q", out.Warnings, test.warnings)
			}
		})
	}
	t.Run("behind a link", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "web/real"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("real", filepath.Join(dir, "web/dist")); err != nil {
			t.Fatal(err)
		}
		out, err := dist.FindOutput(t.Context(), rootFS(t, dir), build.Written{})
		check(t, out, err, "", `behind the symbolic link "web/dist"`)
	})
}

// TestServerCodeIsNotASite checks the files that frameworks write for a server,
// and the adapters that the advice names.
func TestServerCodeIsNotASite(t *testing.T) {
	t.Parallel()
	const express = "import express from 'express';\nconst app = express();\napp.listen(3000);\n"
	for name, test := range map[string]struct {
		module   string
		files    []string // that the build writes
		evidence string
		advice   string
	}{
		"SvelteKit, adapter-node":            {"@sveltejs/kit", []string{"build/handler.js", "build/index.js", "build/env.js", "build/server/index.js", "build/client/_app/a.js"}, "handler.js beside server/", "@sveltejs/adapter-static"},
		"SvelteKit, with a page prerendered": {"@sveltejs/kit", []string{"build/handler.js", "build/server/manifest.js", "build/prerendered/index.html"}, "handler.js beside server/", "@sveltejs/adapter-static"},
		"SvelteKit, adapter-auto":            {"@sveltejs/kit", []string{".svelte-kit/output/server/index.js", ".svelte-kit/output/client/a.js"}, "", "@sveltejs/adapter-static"},
		"SvelteKit, server output with page": {"@sveltejs/kit", []string{"build/index.html", "build/index.js", "build/manifest.js"}, "manifest.js", "@sveltejs/adapter-static"},
		"Astro, node":                        {"astro", []string{"dist/server/entry.mjs", "dist/client/a.css"}, "server/entry.mjs", `output: "static"`},
		"Astro, hybrid":                      {"astro", []string{"dist/server/entry.mjs", "dist/client/index.html"}, "server/entry.mjs", `output: "static"`},
		"Astro, Cloudflare with a page":      {"astro", []string{"dist/_worker.js/index.js", "dist/index.html"}, "_worker.js", `output: "static"`},
		"Nuxt, nuxt build":                   {"nuxt", []string{".output/server/index.mjs", ".output/nitro.json", ".output/public/a.js"}, "", "nuxt generate"},
		"Next.js":                            {"next", []string{".next/BUILD_ID", ".next/server/pages/index.js"}, "", `output: "export"`},
		"React Router":                       {"@react-router/dev", []string{"build/server/index.js", "build/client/assets/a.js"}, "", "ssr: false"},
		"Remix":                              {"@remix-run/dev", []string{"build/server/index.js", "build/client/assets/a.js"}, "", "ssr: false"},
		"TanStack Start":                     {"@tanstack/react-start", []string{"dist/server/server.js", "dist/client/assets/a.js"}, "", "prerender"},
		"TanStack Start, Nitro":              {"@tanstack/react-start", []string{".output/server/index.mjs", ".output/public/a.js"}, "", "prerender"},
		"SolidStart":                         {"@solidjs/start", []string{".output/server/index.mjs", ".output/public/a.js"}, "", "preset"},
		"Vike":                               {"vike", []string{"dist/server/entry.mjs", "dist/client/assets/a.js", "dist/assets.json"}, "", "prerender: true"},
		"Waku":                               {"waku", []string{"dist/server/index.js", "dist/serve-node.js", "dist/public/a.js"}, "", `render: "static"`},
		"Angular":                            {"@angular/core", []string{"dist/app/server/server.mjs", "dist/app/browser/index.csr.html"}, "server/server.mjs", `outputMode: "static"`},
		"Qwik City":                          {"@builder.io/qwik-city", []string{"server/entry.express.js", "dist/build/a.js"}, "", "qwik add static"},
		"SvelteKit, without its generator":   {"plain", []string{"dist/index.html", "dist/index.js", "dist/manifest.js"}, "manifest.js", advice},
		"a server beside a page":             {"express", []string{"dist/index.html", "dist/server.js"}, "server.js starts a server", advice},
		"a server folder beside a page":      {"express", []string{"dist/index.html", "dist/server/main.cjs"}, "server/main.cjs", advice},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, err := build.Decide(repository(map[string]string{
				"package.json": `{"scripts":{"build":"x"},"dependencies":{"` + test.module + `":"1","vite":"7"}}`,
			}), build.Settings{})
			if test.module == "express" || test.module == "plain" {
				plan.Generator, plan.Outputs = "", []string{"dist"}
			}
			if err != nil {
				t.Fatal(err)
			}
			files := built{}
			for _, f := range test.files {
				files["+"+f] = express
				if test.module == "plain" {
					files["+"+f] = "export const manifest = (() => {\nreturn {\n\tappDir: \"_app\",\n\tassets: new Set([])"
				}
			}
			out, err := plan.FindOutput(t.Context(), repository(files.files()), files.written(t))
			check(t, out, err, "", test.evidence)
			if !strings.Contains(err.Error(), test.advice) {
				t.Fatalf("FindOutput: %v, want the advice %q", err, test.advice)
			}
		})
	}
}

func TestStartsServer(t *testing.T) {
	t.Parallel()
	for _, content := range []string{
		`import { createServer } from "node:http"; createServer(f)`,
		`const http = require('http'); http.createServer(f).listen(80)`,
		`const{createServer:c}=require("node:tls");x.createServer (f)`,
		"import Fastify from 'fastify'\nFastify().listen({ port: 3000 })",
		"import {serve} from 'node:http2'\nBun.serve({})",
	} {
		files := built{"+dist/index.html": "", "+dist/main.mjs": content}
		plan := build.Plan{Root: ".", Build: "make", Outputs: []string{"dist"}}
		_, err := plan.FindOutput(t.Context(), repository(files.files()), files.written(t))
		if troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), "main.mjs starts a server") {
			t.Errorf("%s: %v, want that it starts a server", content, err)
		}
	}
}

// looked is a file system that records which files are opened.
type looked struct {
	fstest.MapFS
	open func(name string)
}

func (l looked) Open(name string) (fs.File, error) {
	l.open(name)
	return l.MapFS.Open(name)
}

// A build may leave any number of folders without a site.
func TestSearchForServerCodeIsBounded(t *testing.T) {
	t.Parallel()
	const folders = 200
	files := built{}
	for i := range folders {
		files[fmt.Sprintf("+dist/%d/index.js", i)] = "import fs from 'fs'"
		files[fmt.Sprintf("+dist/%d/app.js", i)] = "import fs from 'fs'"
	}
	plan := build.Plan{Root: ".", Build: "make", Outputs: []string{"dist/*"}}
	scripts := map[string]bool{}
	_, err := plan.FindOutput(t.Context(), looked{repository(files.files()), func(name string) {
		if filepath.Ext(name) == ".js" {
			scripts[name] = true
		}
	}}, files.written(t))
	if troy.KindOf(err) != troy.Invalid || len(scripts) == 0 || len(scripts) >= folders {
		t.Fatalf("FindOutput read %d scripts of %d folders: %v", len(scripts), folders, err)
	}

	cancelled := errors.New("cancelled")
	for name, outputs := range map[string][]string{"no page": {"dist/*"}, "named": {"dist/7"}} {
		plan := plan
		plan.Outputs, plan.OutputSaid = outputs, name == "named"
		ctx, cancel := context.WithCancelCause(t.Context())
		var read []string
		_, err = plan.FindOutput(ctx, looked{repository(files.files()), func(name string) {
			if filepath.Ext(name) == ".js" {
				read = append(read, name)
				cancel(cancelled)
			}
		}}, files.written(t))
		if !errors.Is(err, cancelled) || len(read) != 1 {
			t.Errorf("%s: cancelled at its first script, FindOutput read %q: %v", name, read, err)
		}
	}
}

// A link in one place must not hide a site in another.
func TestFindOutputBesideLinks(t *testing.T) {
	t.Parallel()
	usual := build.Plan{Root: ".", Build: "make", Outputs: []string{"dist", "build", "public"}}
	angular := build.Plan{Root: ".", Build: "ng build", Generator: "Angular", Outputs: []string{"dist/*/browser", "dist/*"}}
	for name, test := range map[string]struct {
		plan        build.Plan
		files       built
		link, to    string
		want, words string
	}{
		"a less likely place":     {plan: usual, files: built{"+dist/index.html": ""}, link: "public", to: "dist", want: "dist"},
		"a likelier place":        {plan: usual, files: built{"+build/index.html": ""}, link: "dist", to: "build", want: "build"},
		"among a wildcard's":      {plan: angular, files: built{"+dist/app/index.html": ""}, link: "dist/latest", to: "app", want: "dist/app"},
		"nothing else":            {plan: usual, files: built{"+www/index.html": ""}, link: "dist", to: "www", words: `behind the symbolic link "dist"; make it a real folder`},
		"beside a folder":         {plan: usual, files: built{"+dist/a.js": ""}, link: "public", to: "dist", words: `"dist" is not a site: it has no index.html`},
		"out of the repository":   {plan: usual, files: built{"+dist/index.html": ""}, link: "public", to: "/etc", want: "dist"},
		"the root folder's above": {plan: build.Plan{Root: "web", Build: "make", Outputs: []string{"dist"}}, files: built{"+app/dist/index.html": ""}, link: "web", to: "app", words: `behind the symbolic link "web"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for file, content := range test.files.files() {
				file = filepath.Join(dir, file)
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(test.to, filepath.Join(dir, test.link)); err != nil {
				t.Fatal(err)
			}
			out, err := test.plan.FindOutput(t.Context(), rootFS(t, dir), test.files.written(t))
			check(t, out, err, test.want, test.words)
		})
	}
}

// Sites that resemble server code.
func TestSitesAreNoServerCode(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"pages about servers":   {"server/index.html": "", "server/index.js": "", "server/main.js": ""},
		"a web app's manifest":  {"index.js": "fetch('/x')", "manifest.json": "{}", "manifest.webmanifest": ""},
		"a service worker":      {"sw.js": "self.addEventListener('fetch', f)", "worker.js": ""},
		"scripts that listen":   {"index.js": "router.listen(change)", "main.js": "import 'three'; x.listen(1)"},
		"a handler for events":  {"handler.js": "export const f = 1"},
		"a folder of downloads": {"server/client.zip": "", "server/readme.txt": ""},
		"the word in a bundle":  {"app.js": "const o={fs:1};createServer(o)"},
		"webpack's runtime":     {"index.js": "self.webpackChunk.push([])", "manifest.js": "(()=>{var e={},r={};function o(t){}o.m=e})();"},
		"Emscripten's output":   {"index.js": `if(ENVIRONMENT_IS_NODE){var fs=require("fs");require('path');require("node:fs")}SOCKFS.sock_ops.listen(sock,backlog)`},
		"a program that reads":  {"main.mjs": "#!/usr/bin/env node\nimport fs from 'fs'\n"},
		"a listener, then http": {"index.js": `bus.listen(f);x='require("http")'`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := built{"+dist/index.html": ""}
			for f, content := range files {
				b["+dist/"+f] = content
			}
			plan := build.Plan{Root: ".", Build: "make", Outputs: []string{"dist"}}
			out, err := plan.FindOutput(t.Context(), repository(b.files()), b.written(t))
			check(t, out, err, "dist", "")
		})
	}
}

func check(t *testing.T, out build.Output, err error, want, words string) {
	t.Helper()
	if want != "" && (err != nil || out.Folder != want) {
		t.Fatalf("FindOutput: %+v, %v; want %q", out, err, want)
	}
	if want == "" && (troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), words)) {
		t.Fatalf("FindOutput: %+v, %v; want %q", out, err, words)
	}
}

// LookWritten and ReadWritten must agree.
func TestLookWritten(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, content := range map[string]string{
		"www/index.html": "", "old/index.html": "old", "src/a.js": "", "node_modules/x/index.html": "", ".git/index.html": "",
	} {
		if err := errors.Join(root.MkdirAll(filepath.Dir(name), 0o755), root.WriteFile(name, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	fresh := func(info fs.FileInfo) bool { return !info.IsDir() && info.Size() == 0 }
	w, err := build.LookWritten(t.Context(), root, fresh)
	if err != nil {
		t.Fatal(err)
	}
	plan := build.Plan{Root: ".", Build: "make", Outputs: []string{"old"}}
	out, err := plan.FindOutput(t.Context(), root.FS(), w)
	check(t, out, err, "", `the build wrote a site to "www", which`)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := build.LookWritten(ctx, root, fresh); err == nil {
		t.Fatal("a walk with a done context continued")
	}
	for _, list := range []string{"x./a\x00", "f../a\x00", "\x00", "f/etc\x00", "f" + strings.Repeat("a/", 8<<10) + "\x00"} {
		if _, err := build.ReadWritten(strings.NewReader(list)); troy.KindOf(err) != troy.Invalid {
			t.Errorf("ReadWritten(%q): %v, want Invalid", list, err)
		}
	}
}
