package build

import (
	"fmt"
	"slices"
	"strings"
)

// Framework is a program that makes sites: how a repository that uses it is
// recognized, built and published.
type Framework struct {
	Name string
	// Modules are npm packages. A package that depends on one of them uses the
	// framework.
	Modules []string
	// Files recognize a framework that is not an npm package: one of them is in
	// the root folder. "name~word" is a file that contains the word, in any
	// case, and "name+folder" a file beside a folder, and "name=key" a TOML file
	// with a key.
	Files []string
	// Scripts are the scripts of package.json that build the site; the first
	// one that exists is run. The default is "build".
	Scripts []string
	// Install installs a framework that is not an npm package, if the
	// repository does not say how.
	Install string
	// Command builds the site without such a script. For an npm package it
	// names the packages' programs. See words for what stands in braces.
	Command string
	// Outputs are the framework's default output folders, the likeliest first.
	// Wildcards are as in Plan.Outputs.
	Outputs []string
	// Config are the files that may name another output folder. One without an
	// extension is JavaScript or TypeScript. Keys are the keys that name it, as
	// paths: "build.outDir".
	Config, Keys []string
	// Inside is the folder to publish inside the one that a key names.
	Inside string
	// Relative is the key with the folder that the output folder is relative
	// to.
	Relative string
	// Adapter is the npm package with which the framework makes files. Others
	// whose names begin like it make servers.
	Adapter string
	// Server are values of keys with which the framework builds a server.
	Server map[string]string
	// Asset is a file of its output whose name has a hash of the content, or
	// empty if the framework writes none by default.
	Asset string
	// Caches are folders that make the next build faster if they are kept (see
	// Plan.Caches).
	Caches []string
	// SPA reports that its sites are single-page applications by default: one
	// page answers all addresses. Pages are values of keys with which they have
	// a page for each address.
	SPA   bool
	Pages map[string]string
	// Static is the setting with which a framework that can also make a server
	// makes files, for a sentence after "to make X produce static files,".
	Static string
}

// svelteKit is the framework whose server files have generic names.
const svelteKit = "SvelteKit"

const (
	assetOfVite    = "assets/index-DiwrgTda.js"
	assetOfWebpack = "static/js/main.3f0a9c1b.js"
	cacheOfVite    = "node_modules/.vite"
	cacheOfModules = "node_modules/.cache"
)

// Frameworks returns the table of frameworks. One that builds on another comes
// before it: a site of Astro depends on Vite as well. The facts are those of
// each framework's documentation, and of the lists in Netlify's build-info,
// Vercel's frameworks and Cloudflare's presets.
func Frameworks() []Framework {
	return slices.Concat(applications(), generators(), bundlers(), catalogues(), otherLanguages())
}

// applications returns the frameworks that can also make a server.
func applications() []Framework {
	const tanStackStatic = "set prerender: { enabled: true } in the tanstackStart plugin of vite.config"
	const solidStatic = `set server: { preset: "static" } in app.config`
	return []Framework{
		{Name: "Nuxt", Modules: []string{"nuxt", "nuxt3", "nuxt-edge", "nuxt-nightly"}, Scripts: []string{"generate", "build"}, Command: "nuxt generate", Outputs: []string{".output/public", "dist"},
			Config: []string{"nuxt.config"}, Keys: []string{"nitro.output.publicDir", "generate.dir"}, Asset: "_nuxt/entry.BxQ2p9.js", Caches: []string{cacheOfModules, ".nuxt"}, Static: `build with "nuxt generate"`},
		{Name: "Analog", Modules: []string{"@analogjs/platform"}, Command: "vite build", Outputs: []string{"dist/analog/public"}, Asset: assetOfVite, Caches: []string{cacheOfVite, ".angular/cache"},
			Static: "set ssr: true, static: true and prerender.routes in the analog plugin"},
		{Name: "Starlight", Modules: []string{"@astrojs/starlight"}, Command: "astro build", Outputs: []string{"dist"}, Config: []string{"astro.config"}, Keys: []string{"outDir"}, Server: map[string]string{"output": "server"},
			Asset: "_astro/index.BXm1yQ3k.css", Caches: []string{"node_modules/.astro", ".astro"}, Static: `set output: "static" in astro.config and remove the server adapter`},
		{Name: "Astro", Modules: []string{"astro"}, Command: "astro build", Outputs: []string{"dist"}, Config: []string{"astro.config"}, Keys: []string{"outDir"}, Server: map[string]string{"output": "server"},
			Asset: "_astro/index.BXm1yQ3k.css", Caches: []string{"node_modules/.astro", ".astro"}, Static: `set output: "static" in astro.config and remove the server adapter`},
		{Name: "Blitz.js", Modules: []string{"blitz"}, Command: "blitz build", Outputs: []string{"out"}, Config: []string{"next.config", "blitz.config"}, Keys: []string{"distDir"}, Server: map[string]string{"output": "standalone"},
			Asset: "_next/static/chunks/main-3f0a9c1b2d4e5f60.js", Caches: []string{".next/cache"}, Static: `set output: "export" in next.config`},
		{Name: "RedwoodJS", Modules: []string{"@redwoodjs/core"}, Command: "rw build web", Outputs: []string{"web/dist"}, Asset: assetOfVite, Caches: []string{cacheOfVite}, SPA: true, Static: `build with "rw build web"`},
		{Name: "Hydrogen", Modules: []string{"@shopify/hydrogen"}, Command: "shopify hydrogen build", Outputs: []string{"dist/client"}, Asset: assetOfVite, Caches: []string{cacheOfVite},
			Static: "use React Router with ssr: false in react-router.config, because Hydrogen renders every page on a server"},
		{Name: "Next.js", Modules: []string{"next"}, Command: "next build", Outputs: []string{"out"}, Config: []string{"next.config"}, Keys: []string{"distDir"}, Server: map[string]string{"output": "standalone"},
			Asset: "_next/static/chunks/main-3f0a9c1b2d4e5f60.js", Caches: []string{".next/cache"}, Static: `set output: "export" in next.config`},
		{Name: svelteKit, Modules: []string{"@sveltejs/kit"}, Command: "vite build", Outputs: []string{"build"}, Config: []string{"svelte.config", "vite.config"}, Keys: []string{"kit.adapter.pages", "plugins.sveltekit().adapter.pages"}, Adapter: "@sveltejs/adapter-static",
			Asset: "_app/immutable/entry/start.DiwrgTda.js", Caches: []string{cacheOfVite}, Static: "use @sveltejs/adapter-static and set prerender = true in the root layout"},
		{Name: "Sapper", Modules: []string{"sapper"}, Scripts: []string{"export"}, Command: "sapper export", Outputs: []string{"__sapper__/export"}, Asset: "client/client.3f0a9c1b.js", Caches: []string{cacheOfModules}, Static: `build with "sapper export"`},
		{Name: "TanStack Start", Modules: []string{"@tanstack/react-start", "@tanstack/solid-start", "@tanstack/start"}, Command: "vite build", Outputs: []string{"dist/client", ".output/public"},
			Asset: assetOfVite, Caches: []string{cacheOfVite}, Static: tanStackStatic},
		{Name: "SolidStart", Modules: []string{"@solidjs/start"}, Command: "vinxi build", Outputs: []string{".output/public", "dist/client"}, Config: []string{"app.config"}, Keys: []string{"server.output.publicDir"},
			Asset: "_build/assets/client-DiwrgTda.js", Caches: []string{cacheOfVite}, Static: solidStatic},
		{Name: "SolidStart 0", Modules: []string{"solid-start"}, Adapter: "solid-start-static", Command: "solid-start build", Outputs: []string{"dist/public"}, Asset: assetOfVite, Caches: []string{cacheOfVite}, Static: "use solid-start-static as the adapter in vite.config"},
		{Name: "Vike", Modules: []string{"vike", "vite-plugin-ssr"}, Command: "vike build", Outputs: []string{"dist/client"}, Config: []string{"vite.config"}, Keys: []string{"build.outDir"}, Inside: "client",
			Asset: assetOfVite, Caches: []string{cacheOfVite}, Static: "set prerender: true in +config"},
		{Name: "Waku", Modules: []string{"waku"}, Command: "waku build", Outputs: []string{"dist/public"}, Config: []string{"waku.config"}, Keys: []string{"distDir"}, Inside: "public",
			Asset: assetOfVite, Caches: []string{cacheOfVite}, Static: `set render: "static" in the getConfig of every page and layout`},
		{Name: "Qwik City", Modules: []string{"@builder.io/qwik-city", "@qwik.dev/router"}, Command: "qwik build", Outputs: []string{"dist"}, Asset: "build/q-DiwrgTda.js", Caches: []string{cacheOfVite}, Static: `add the static adapter with "qwik add static"`},
		{Name: "Qwik", Modules: []string{"@builder.io/qwik", "@qwik.dev/core"}, Command: "qwik build", Outputs: []string{"dist"}, Asset: "build/q-DiwrgTda.js", Caches: []string{cacheOfVite}, Static: "add Qwik City and its static adapter"},
		{Name: "React Router", Modules: []string{"@react-router/dev"}, Command: "react-router build", Outputs: []string{"build/client"}, Config: []string{"react-router.config"}, Keys: []string{"buildDirectory"}, Inside: "client",
			Asset: "assets/entry.client-DiwrgTda.js", Caches: []string{cacheOfVite}, Static: "set ssr: false (SPA mode), and prerender for the pages, in react-router.config"},
		{Name: "Remix", Modules: []string{"@remix-run/dev", "@remix-run/react"}, Command: "remix vite:build", Outputs: []string{"build/client"}, Config: []string{"vite.config"}, Keys: []string{"plugins.remix().buildDirectory"}, Inside: "client",
			Asset: "assets/entry.client-DiwrgTda.js", Caches: []string{cacheOfVite}, Static: "set ssr: false (SPA mode) in the Remix plugin of vite.config"},
		{Name: "Expo", Modules: []string{"expo"}, Command: "expo export -p web", Outputs: []string{"dist"}, Asset: "_expo/static/js/web/index-3f0a9c1b2d4e5f603f0a9c1b2d4e5f60.js", Caches: []string{cacheOfModules}, SPA: true,
			Static: `set web.output to "static" or "single" in app.json`, Config: []string{"app.json"}, Server: map[string]string{"expo.web.output": "server"}, Pages: map[string]string{"expo.web.output": "static"}},
		{Name: "Nitro", Modules: []string{"nitropack", "nitro"}, Command: "nitro build", Outputs: []string{".output/public"}, Config: []string{"nitro.config"}, Keys: []string{"output.publicDir"}, Static: `set preset: "static" in nitro.config`},
	}
}

// generators returns the npm packages that generate pages.
func generators() []Framework {
	return []Framework{
		{Name: "Gatsby", Modules: []string{"gatsby"}, Command: "gatsby build", Outputs: []string{"public"}, Asset: "app-3f0a9c1b2d4e5f603f0a.js", Caches: []string{".cache"}},
		{Name: "Docusaurus", Modules: []string{"@docusaurus/core"}, Command: "docusaurus build", Outputs: []string{"build"}, Asset: "assets/js/main.3f0a9c1b.js", Caches: []string{".docusaurus", cacheOfModules}},
		{Name: "Docusaurus 1", Modules: []string{"docusaurus"}, Command: "docusaurus-build", Outputs: []string{"build/*"}},
		{Name: "VitePress", Modules: []string{"vitepress"}, Scripts: []string{"docs:build", "build"}, Command: "vitepress build {docs}", Outputs: []string{".vitepress/dist", "docs/.vitepress/dist", "*/.vitepress/dist"},
			Config: []string{"{docs}/.vitepress/config"}, Keys: []string{"outDir"}, Relative: "{docs}", Asset: "assets/app.DiwrgTda.js", Caches: []string{".vitepress/cache", "docs/.vitepress/cache"}},
		{Name: "VuePress", Modules: []string{"vuepress", "@vuepress/cli", "vuepress-vite", "vuepress-webpack"}, Scripts: []string{"docs:build", "build"}, Command: "vuepress build {docs}",
			Outputs: []string{"docs/.vuepress/dist", ".vuepress/dist", "src/.vuepress/dist", "*/.vuepress/dist"}, Config: []string{"{docs}/.vuepress/config"}, Keys: []string{"dest"}, Asset: "assets/js/app.3f0a9c1b.js", Caches: []string{".vuepress/.cache", "docs/.vuepress/.cache", "src/.vuepress/.cache"}},
		{Name: "Rspress", Modules: []string{"rspress", "@rspress/core"}, Command: "rspress build", Outputs: []string{"doc_build"}, Config: []string{"rspress.config"}, Keys: []string{"outDir"}, Asset: "static/js/index.3f0a9c1b.js", Caches: []string{cacheOfModules}},
		{Name: "dumi", Modules: []string{"dumi"}, Scripts: []string{"docs:build", "build"}, Command: "dumi build", Outputs: []string{"docs-dist", "dist"}, Config: []string{".dumirc"}, Keys: []string{"outputPath"}, Asset: "umi.3f0a9c1b.js", Caches: []string{cacheOfModules}},
		{Name: "Observable Framework", Modules: []string{"@observablehq/framework"}, Command: "observable build", Outputs: []string{"dist"}, Config: []string{"observablehq.config"}, Keys: []string{"output"}, Asset: "_observablehq/client.3f0a9c1b.js", Caches: []string{"src/.observablehq/cache"}},
		{Name: "Slidev", Modules: []string{"@slidev/cli"}, Command: "slidev build", Outputs: []string{"dist"}, Asset: assetOfVite, Caches: []string{cacheOfVite}, SPA: true},
		{Name: "Elder.js", Modules: []string{"@elderjs/elderjs"}, Command: "elderjs build", Outputs: []string{"public"}, Config: []string{"elder.config"}, Keys: []string{"distDir"}},
		{Name: "Eleventy", Modules: []string{"@11ty/eleventy"}, Command: "eleventy", Outputs: []string{"_site"}, Config: []string{".eleventy", "eleventy.config"}, Keys: []string{"setOutputDirectory()", "dir.output"}, Caches: []string{".cache"}},
		{Name: "Hexo", Modules: []string{"hexo"}, Command: "hexo generate", Outputs: []string{"public"}, Config: []string{"_config.yml"}, Keys: []string{"public_dir"}},
		{Name: "Metalsmith", Modules: []string{"metalsmith"}, Command: "metalsmith", Outputs: []string{"build"}, Config: []string{"metalsmith.json"}, Keys: []string{"destination"}},
		{Name: "Antora", Modules: []string{"antora", "@antora/cli"}, Command: "antora antora-playbook.yml", Outputs: []string{"build/site"}, Config: []string{"antora-playbook.yml"}, Keys: []string{"output.dir"}, Caches: []string{".cache/antora"}},
		{Name: "Wintersmith", Modules: []string{"wintersmith"}, Command: "wintersmith build", Outputs: []string{"build"}, Config: []string{"config.json"}, Keys: []string{"output"}},
		{Name: "DocPad", Modules: []string{"docpad"}, Command: "docpad generate --env static", Outputs: []string{"out"}, Config: []string{"docpad"}, Keys: []string{"outPath"}},
		{Name: "Harp", Modules: []string{"harp"}, Command: "harp compile", Outputs: []string{"www"}},
		{Name: "Assemble", Modules: []string{"assemble"}, Command: "grunt build", Outputs: []string{"dist"}},
		{Name: "Roots", Modules: []string{"roots"}, Command: "roots compile", Outputs: []string{"public"}},
		{Name: "Spike", Modules: []string{"spike"}, Command: "spike compile", Outputs: []string{"public"}},
		{Name: "Phenomic", Modules: []string{"@phenomic/core"}, Command: "phenomic build", Outputs: []string{"public", "dist"}, Caches: []string{cacheOfModules}},
		{Name: "Brunch", Modules: []string{"brunch"}, Command: "brunch build --production", Outputs: []string{"public"}, Config: []string{"brunch-config"}, Keys: []string{"paths.public"}},
		{Name: "Saber", Modules: []string{"saber"}, Command: "saber build", Outputs: []string{"public"}, Caches: []string{".saber"}},
		{Name: "Gridsome", Modules: []string{"gridsome"}, Command: "gridsome build", Outputs: []string{"dist"}, Config: []string{"gridsome.config"}, Keys: []string{"outputDir"}, Asset: "assets/js/app.3f0a9c1b.js", Caches: []string{".cache", cacheOfModules}},
		{Name: "React Static", Modules: []string{"react-static"}, Command: "react-static build", Outputs: []string{"dist"}, Config: []string{"static.config"}, Keys: []string{"paths.dist"}, Asset: "main.3f0a9c1b.js"},
		{Name: "HonKit", Modules: []string{"honkit"}, Command: "honkit build", Outputs: []string{"_book"}},
		{Name: "GitBook", Modules: []string{"gitbook-cli", "gitbook"}, Command: "gitbook build", Outputs: []string{"_book"}},
		{Name: "Greenwood", Modules: []string{"@greenwood/cli"}, Command: "greenwood build", Outputs: []string{"public"}},
		{Name: "Docz", Modules: []string{"docz"}, Scripts: []string{"docz:build", "build"}, Command: "docz build", Outputs: []string{".docz/dist", ".docz/public"}, Config: []string{"doczrc"}, Keys: []string{"dest"}},
	}
}

// framework returns the framework with this name.
func framework(name string) (Framework, bool) {
	all := Frameworks()
	if i := slices.IndexFunc(all, func(f Framework) bool { return f.Name == name }); i >= 0 {
		return all[i], true
	}
	return Framework{}, false
}

// Caches are the folders, relative to Root, in which the generator and its
// bundler keep what makes the next build faster. Packages of npm work inside
// each other, and a project may have several; the folders of other generators
// have common names, so they count for that generator alone.
func (p Plan) Caches() []string {
	var all []string
	for _, f := range slices.Concat(applications(), generators(), bundlers(), catalogues()) {
		all = append(all, f.Caches...)
	}
	for _, f := range otherLanguages() {
		if f.Name == p.Generator {
			all = append(all, f.Caches...)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(slices.Clone(all), func(folder string) bool {
		return slices.ContainsFunc(all, func(above string) bool { return strings.HasPrefix(folder, above+"/") })
	})
}

// advice says how to make the framework produce files.
func (f Framework) advice() string {
	return fmt.Sprintf("to make %s produce static files, %s", f.Name, f.Static)
}

// usualOutputs returns the folders to try if the output folder is unknown.
func usualOutputs() []string { return []string{"dist", "build", "public", "out", "_site", "site"} }
