package buildertest

import "strings"

// Scaffold is a new project of a framework.
type Scaffold struct {
	Name, Framework string
	// Create is a script for bash that writes the project into an empty folder.
	// It may need npm's registry.
	Create string
	SPA    bool // its settings make it a single-page application
}

// project returns a script that writes files: a name after "-- ", and the lines
// of the file below.
func project(files string) string {
	var script strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(files, "\n"), "-- ") {
		name, content, _ := strings.Cut(part, "\n")
		if name == "" {
			continue
		}
		script.WriteString("mkdir -p \"$(dirname '" + name + "')\"\ncat >'" + name + "' <<'END OF FILE'\n" + content + "END OF FILE\n")
	}
	return script.String()
}

const create = "npx --yes "

// Scaffolds returns new projects of a dozen frameworks.
func Scaffolds() []Scaffold {
	vite := func(template string) string {
		return create + "create-vite@7 app --template " + template + " --no-interactive </dev/null && mv app/* app/.[a-z]* . 2>/dev/null; test -f package.json"
	}
	return []Scaffold{
		{Name: "vite-react", Framework: "Vite", Create: vite("react-ts"), SPA: true},
		{Name: "vite-vue", Framework: "Vite", Create: vite("vue-ts"), SPA: true},
		{Name: "vite-svelte", Framework: "Vite", Create: vite("svelte-ts"), SPA: true},
		{Name: "parcel", Framework: "Parcel", Create: project(`
-- package.json
{"name": "site", "private": true, "source": "src/index.html", "scripts": {"build": "parcel build"}, "devDependencies": {"parcel": "^2.15.0"}}
-- src/index.html
<!doctype html><title>Parcel</title><link rel="stylesheet" href="style.css"><script type="module" src="main.js"></script><a href="/">home</a>
-- src/style.css
body { color: navy; }
-- src/main.js
document.body.append("hello");
`)},
		{Name: "eleventy", Framework: "Eleventy", Create: project(`
-- package.json
{"name": "site", "private": true, "type": "module", "devDependencies": {"@11ty/eleventy": "^3.1.0"}}
-- eleventy.config.js
export default function (config) { return { dir: { input: "src", output: "www" } }; }
-- src/index.md
# Home

[Docs](/docs/) and [a post](/posts/one/)
-- src/docs.md
[Home](/)
-- src/posts/one.md
[Home](../../)
`)},
		{Name: "vitepress", Framework: "VitePress", Create: project(`
-- package.json
{"name": "site", "private": true, "type": "module", "scripts": {"docs:build": "vitepress build docs"}, "devDependencies": {"vitepress": "^1.6.0"}}
-- docs/index.md
# Home

[Guide](/guide/start) and [about](./about.md)
-- docs/about.md
[Home](/)
-- docs/guide/start.md
[Home](../index.md)
`)},
		{Name: "astro", Framework: "Astro", Create: project(`
-- package.json
{"name": "site", "private": true, "type": "module", "scripts": {"build": "astro build"}, "dependencies": {"astro": "^5.14.0"}}
-- astro.config.mjs
import { defineConfig } from "astro/config";
export default defineConfig({ outDir: "./www" });
-- src/pages/index.astro
<html><head><title>Home</title></head><body><a href="/about/">About</a><style>body { color: navy; font-family: "Some long name of a font that makes the sheet too large to be inlined"; }</style><script>import "../main.js";</script></body></html>
-- src/main.js
for (const a of document.querySelectorAll("a")) a.title = a.href; import("./later.js");
-- src/later.js
console.log("later");
-- src/pages/about.astro
<html><head><title>About</title></head><body><a href="/">Home</a></body></html>
`)},
		{Name: "next", Framework: "Next.js", Create: project(`
-- package.json
{"name": "site", "private": true, "scripts": {"build": "next build"}, "dependencies": {"next": "^15.5.0", "react": "^19.0.0", "react-dom": "^19.0.0"}}
-- next.config.mjs
/** @type {import('next').NextConfig} */
const nextConfig = { output: "export" };
export default nextConfig;
-- app/layout.js
export default function Layout({ children }) { return <html lang="en"><body>{children}</body></html>; }
-- app/page.js
import Link from "next/link";
export default function Page() { return <Link href="/about">About</Link>; }
-- app/about/page.js
import Link from "next/link";
export default function Page() { return <Link href="/">Home</Link>; }
`)},
		{Name: "nuxt", Framework: "Nuxt", Create: project(`
-- package.json
{"name": "site", "private": true, "type": "module", "scripts": {"build": "nuxt build", "generate": "nuxt generate"}, "dependencies": {"nuxt": "^3.19.0", "vue": "^3.5.0", "vue-router": "^4.5.0"}}
-- pages/index.vue
<template><NuxtLink to="/about">About</NuxtLink></template>
-- pages/about.vue
<template><NuxtLink to="/">Home</NuxtLink></template>
`)},
		{Name: "sveltekit", Framework: "SvelteKit", Create: create + "sv@0.9 create app --template minimal --types ts --no-add-ons --no-install </dev/null && mv app/* app/.[a-z]* .\n" +
			"sed -i 's/adapter-auto\": \"[^\"]*/adapter-static\": \"^3.0.0/' package.json\nsed -i 's/adapter-auto/adapter-static/' svelte.config.js\n" + project(`
-- src/routes/+layout.ts
export const prerender = true;
-- src/routes/+page.svelte
<a href="/about">About</a>
-- src/routes/about/+page.svelte
<a href="/">Home</a>
`)},
		{Name: "docusaurus", Framework: "Docusaurus", Create: create + "create-docusaurus@3 app classic --javascript --skip-install </dev/null && mv app/* app/.[a-z]* ."},
		{Name: "angular", Framework: "Angular", Create: create + "@angular/cli@20.3.40 new app --defaults --skip-install --skip-git </dev/null && mv app/* app/.[a-z]* .", SPA: true},
		{Name: "pnpm-workspace", Framework: "Vite", SPA: true, Create: project(`
-- package.json
{"name": "all", "private": true, "packageManager": "pnpm@9.15.9", "scripts": {"build": "pnpm -r build"}}
-- pnpm-workspace.yaml
packages: [apps/*, packages/*]
-- packages/ui/package.json
{"name": "ui", "version": "1.0.0", "type": "module", "exports": "./dist/index.js", "scripts": {"build": "mkdir -p dist && cp src/index.js dist/"}}
-- packages/ui/src/index.js
export const hello = () => document.body.append("hello");
-- apps/web/package.json
{"name": "web", "private": true, "type": "module", "scripts": {"build": "vite build"}, "dependencies": {"ui": "workspace:*"}, "devDependencies": {"vite": "^7.0.0"}}
-- apps/web/index.html
<!doctype html><title>Workspace</title><script type="module" src="/main.js"></script><a href="/">home</a>
-- apps/web/main.js
import { hello } from "ui";
hello();
`)},
	}
}
