package build_test

// fixtures returns a repository for each framework, by its name; a word after a
// colon distinguishes those of one framework.
func fixtures() map[string]fixture {
	all := map[string]fixture{}
	for _, part := range []map[string]fixture{applicationFixtures(), generatorFixtures(), bundlerFixtures(), otherFixtures(), configuredFixtures()} {
		for name, f := range part {
			all[name] = f
		}
	}
	return all
}

var buildVite = []string{"build: vite build"}

func applicationFixtures() map[string]fixture {
	return map[string]fixture{
		"Nuxt":                   {modules: "nuxt vue vite", scripts: []string{"build: nuxt build", "generate: nuxt generate"}, wrote: []string{".output/public", ".output/nitro.json"}, command: "npm run generate", output: ".output/public"},
		"Nuxt:no script":         {modules: "nuxt", wrote: []string{".output/public"}, command: "npx --no-install nuxt generate", output: ".output/public"},
		"Nuxt:2":                 {modules: "nuxt-edge", scripts: []string{"generate: nuxt generate"}, wrote: []string{"dist"}, output: "dist"},
		"Nuxt:server":            {modules: "nuxt", scripts: []string{"build: nuxt build"}, wrote: []string{".output/server/index.mjs", ".output/nitro.json", ".output/public/_nuxt/a.js"}, refusal: `build with "nuxt generate"`},
		"Analog":                 {modules: "@analogjs/platform @angular/core vite", scripts: buildVite, wrote: []string{"dist/analog/public", "dist/analog/server/index.mjs"}, output: "dist/analog/public"},
		"Starlight":              {modules: "@astrojs/starlight astro", wrote: []string{"dist"}, command: "npx --no-install astro build", output: "dist"},
		"Astro":                  {modules: "astro vite", scripts: []string{"build: astro build"}, wrote: []string{"dist"}, output: "dist"},
		"Astro:server":           {modules: "astro @astrojs/node", scripts: []string{"build: astro build"}, files: map[string]string{"astro.config.mjs": "export default defineConfig({ output: 'server', adapter: node() })"}, refusal: `set output: "static" in astro.config`},
		"Blitz.js":               {modules: "blitz next", scripts: []string{"build: blitz build"}, wrote: []string{"out"}, output: "out"},
		"RedwoodJS":              {modules: "@redwoodjs/core", wrote: []string{"web/dist", "api/dist/a.js"}, command: "npx --no-install rw build web", output: "web/dist"},
		"Hydrogen":               {modules: "@shopify/hydrogen @react-router/dev vite", scripts: []string{"build: shopify hydrogen build"}, wrote: []string{"dist/client/assets/a.js", "dist/server/index.js"}, refusal: "Hydrogen renders every page on a server"},
		"Next.js":                {modules: "next react", scripts: []string{"build: next build"}, files: map[string]string{"next.config.ts": "const c: NextConfig = { output: 'export' };\nexport default c;"}, wrote: []string{"out", ".next/build-manifest.json"}, output: "out"},
		"Next.js:server":         {modules: "next react", scripts: []string{"build: next build && make"}, wrote: []string{".next/build-manifest.json", ".next/server/a.js"}, refusal: `set output: "export" in next.config`},
		"Next.js:no export":      {modules: "next react", scripts: []string{"build: NODE_ENV=production next build --turbopack"}, files: map[string]string{"next.config.mjs": "export default { images: {} };"}, refusal: `Next.js would build a server (no output: "export" in next.config.mjs)`},
		"Next.js:no config":      {modules: "next react", refusal: `(no output: "export" in next.config)`},
		"Next.js:elsewhere":      {modules: "next react", scripts: []string{"build: next build"}, files: map[string]string{"next.config.js": "module.exports = require('./config/next')"}, wrote: []string{"out"}, output: "out"},
		"Next.js:postbuild":      {modules: "next react", scripts: []string{"build: next build", "postbuild: next export"}, wrote: []string{"out"}, output: "out"},
		"Next.js:standalone":     {modules: "next react", scripts: []string{"build: next build"}, files: map[string]string{"next.config.js": "module.exports = { output: 'standalone' }"}, refusal: `next.config.js), which Troy does not run; to make Next.js produce static files, set output: "export"`},
		"SvelteKit":              {modules: "@sveltejs/kit @sveltejs/adapter-static svelte vite", scripts: buildVite, wrote: []string{"build"}, output: "build"},
		"SvelteKit:adapter-auto": {modules: "@sveltejs/kit @sveltejs/adapter-auto vite", scripts: buildVite, refusal: "SvelteKit would build a server (@sveltejs/adapter-auto in package.json), which Troy does not run; to make SvelteKit produce static files, use @sveltejs/adapter-static"},
		"Sapper":                 {modules: "sapper svelte rollup", scripts: []string{"build: sapper build", "export: sapper export"}, wrote: []string{"__sapper__/export"}, command: "npm run export", output: "__sapper__/export"},
		"TanStack Start":         {modules: "@tanstack/react-start vite", scripts: buildVite, wrote: []string{"dist/client", "dist/server/server.js"}, output: "dist/client"},
		"TanStack Start:server":  {modules: "@tanstack/solid-start vite", scripts: buildVite, wrote: []string{"dist/client/assets/a.js", "dist/server/server.js"}, refusal: "prerender: { enabled: true }"},
		"SolidStart":             {modules: "@solidjs/start solid-js vinxi", scripts: []string{"build: vinxi build"}, wrote: []string{".output/public"}, output: ".output/public"},
		"SolidStart 0":           {modules: "solid-start solid-start-static vite", scripts: []string{"build: solid-start build"}, wrote: []string{"dist/public"}, output: "dist/public"},
		"SolidStart 0:node":      {modules: "solid-start solid-start-node vite", scripts: []string{"build: solid-start build"}, refusal: "use solid-start-static"},
		"Vike":                   {modules: "vike vite", scripts: []string{"build: vike build"}, wrote: []string{"dist/client", "dist/server/entry.mjs"}, output: "dist/client"},
		"Waku":                   {modules: "waku react", scripts: []string{"build: waku build"}, wrote: []string{"dist/public", "dist/server/index.js"}, output: "dist/public"},
		"Qwik City":              {modules: "@builder.io/qwik-city @builder.io/qwik vite", scripts: []string{"build: qwik build"}, wrote: []string{"dist"}, output: "dist"},
		"Qwik":                   {modules: "@builder.io/qwik vite", scripts: []string{"build: qwik build"}, wrote: []string{"dist"}, output: "dist"},
		"React Router":           {modules: "@react-router/dev vite", scripts: []string{"build: react-router build"}, files: map[string]string{"react-router.config.ts": "export default { ssr: false } satisfies Config;"}, wrote: []string{"build/client"}, output: "build/client"},
		"React Router:prerender": {modules: "@react-router/dev vite", scripts: []string{"build: react-router build"}, files: map[string]string{"react-router.config.ts": "export default { ssr: true, async prerender() { return ['/']; } };"}, wrote: []string{"build/client"}, output: "build/client"},
		"React Router:ssr":       {modules: "@react-router/dev vite", scripts: []string{"build: react-router build"}, files: map[string]string{"react-router.config.ts": "export default { ssr: true } satisfies Config;"}, refusal: `React Router would build a server (neither ssr: false nor prerender in react-router.config.ts)`},
		"React Router:server":    {modules: "@react-router/dev vite", scripts: []string{"build: react-router build"}, wrote: []string{"build/server/index.js", "build/client/assets/a.js"}, refusal: "set ssr: false (SPA mode)"},
		"Remix":                  {modules: "@remix-run/dev @remix-run/react vite", scripts: []string{"build: remix vite:build"}, wrote: []string{"build/client"}, output: "build/client"},
		"Expo":                   {modules: "expo react-native-web", wrote: []string{"dist"}, command: "npx --no-install expo export -p web", output: "dist"},
		"Expo:server":            {modules: "expo", files: map[string]string{"app.json": `{"expo":{"web":{"output":"server"}}}`}, refusal: "set web.output"},
		"Nitro":                  {modules: "nitropack", wrote: []string{".output/public", ".output/nitro.json"}, command: "npx --no-install nitro build", output: ".output/public"},
	}
}

func generatorFixtures() map[string]fixture {
	return map[string]fixture{
		"Gatsby":                {modules: "gatsby react", wrote: []string{"public"}, command: "npx --no-install gatsby build", output: "public"},
		"Docusaurus":            {modules: "@docusaurus/core", scripts: []string{"build: docusaurus build"}, wrote: []string{"build"}, output: "build"},
		"Docusaurus 1":          {modules: "docusaurus", scripts: []string{"build: docusaurus-build"}, wrote: []string{"build/my-project"}, output: "build/my-project"},
		"VitePress":             {modules: "vitepress vue", scripts: []string{"docs:build: vitepress build docs"}, wrote: []string{"docs/.vitepress/dist"}, command: "npm run docs:build", output: "docs/.vitepress/dist"},
		"VitePress:library":     {modules: "vitepress tsup", scripts: []string{"build: tsup", "docs:build: vitepress build docs"}, wrote: []string{"dist/index.js", "docs/.vitepress/dist"}, command: "npm run docs:build", output: "docs/.vitepress/dist"},
		"VitePress:at the root": {modules: "vitepress", files: map[string]string{".vitepress/config.mts": ""}, wrote: []string{".vitepress/dist"}, command: "npx --no-install vitepress build .", output: ".vitepress/dist"},
		"VitePress:elsewhere":   {modules: "vitepress", scripts: []string{"build: vitepress build pages"}, wrote: []string{"pages/.vitepress/dist"}, output: "pages/.vitepress/dist"},
		"VuePress":              {modules: "vuepress", files: map[string]string{"docs/.vuepress/config.js": ""}, wrote: []string{"docs/.vuepress/dist"}, command: "npx --no-install vuepress build docs", output: "docs/.vuepress/dist"},
		"VuePress:src":          {modules: "vuepress", scripts: []string{"build: vuepress build src"}, wrote: []string{"src/.vuepress/dist"}, output: "src/.vuepress/dist"},
		"Rspress":               {modules: "rspress", scripts: []string{"build: rspress build"}, wrote: []string{"doc_build"}, output: "doc_build"},
		"dumi":                  {modules: "dumi", scripts: []string{"build: father build", "docs:build: dumi build"}, wrote: []string{"docs-dist"}, command: "npm run docs:build", output: "docs-dist"},
		"Observable Framework":  {modules: "@observablehq/framework", scripts: []string{"build: observable build"}, wrote: []string{"dist"}, output: "dist"},
		"Slidev":                {modules: "@slidev/cli", wrote: []string{"dist"}, command: "npx --no-install slidev build", output: "dist"},
		"Elder.js":              {modules: "@elderjs/elderjs svelte", scripts: []string{"build: node ./src/cleanPublic.js && elderjs build"}, wrote: []string{"public"}, output: "public"},
		"Eleventy":              {modules: "@11ty/eleventy", wrote: []string{"_site"}, command: "npx --no-install eleventy", output: "_site"},
		"Hexo":                  {modules: "hexo", scripts: []string{"build: hexo generate"}, files: map[string]string{"_config.yml": "title: x\n"}, wrote: []string{"public"}, output: "public"},
		"Metalsmith":            {modules: "metalsmith", scripts: []string{"build: node metalsmith.js"}, wrote: []string{"build"}, output: "build"},
		"Antora":                {modules: "antora", wrote: []string{"build/site"}, command: "npx --no-install antora antora-playbook.yml", output: "build/site"},
		"Wintersmith":           {modules: "wintersmith", wrote: []string{"build"}, output: "build"},
		"DocPad":                {modules: "docpad", wrote: []string{"out"}, output: "out"},
		"Harp":                  {modules: "harp", files: map[string]string{"public/index.html": ""}, wrote: []string{"www"}, command: "npx --no-install harp compile", output: "www"},
		"Assemble":              {modules: "assemble grunt", wrote: []string{"dist"}, command: "npx --no-install grunt build", output: "dist"},
		"Roots":                 {modules: "roots", wrote: []string{"public"}, output: "public"},
		"Spike":                 {modules: "spike", wrote: []string{"public"}, output: "public"},
		"Phenomic":              {modules: "@phenomic/core", wrote: []string{"dist"}, output: "dist"},
		"Brunch":                {modules: "brunch", wrote: []string{"public"}, command: "npx --no-install brunch build --production", output: "public"},
		"Saber":                 {modules: "saber", wrote: []string{"public"}, output: "public"},
		"Gridsome":              {modules: "gridsome", scripts: []string{"build: gridsome build"}, wrote: []string{"dist"}, output: "dist"},
		"React Static":          {modules: "react-static react", wrote: []string{"dist"}, output: "dist"},
		"HonKit":                {modules: "honkit", wrote: []string{"_book"}, output: "_book"},
		"GitBook":               {modules: "gitbook-cli", wrote: []string{"_book"}, output: "_book"},
		"Greenwood":             {modules: "@greenwood/cli", wrote: []string{"public"}, output: "public"},
		"Docz":                  {modules: "docz react", scripts: []string{"docz:build: docz build"}, wrote: []string{".docz/dist"}, output: ".docz/dist"},
	}
}

func bundlerFixtures() map[string]fixture {
	return map[string]fixture{
		"Umi":                   {modules: "umi", wrote: []string{"dist"}, output: "dist"},
		"ice.js":                {modules: "@ice/app", wrote: []string{"build"}, output: "build"},
		"Scully":                {modules: "@scullyio/init @angular/core", scripts: []string{"build: ng build", "scully: scully"}, wrote: []string{"dist/app", "dist/static"}, command: "npx --no-install ng build && npx --no-install scully", output: "dist/static"},
		"Ionic Angular":         {modules: "@ionic/angular @angular/core", scripts: []string{"build: ng build"}, wrote: []string{"www"}, output: "www"},
		"Ionic React":           {modules: "@ionic/react vite", scripts: buildVite, wrote: []string{"dist"}, output: "dist"},
		"Ionic React:older":     {modules: "@ionic/react react-scripts", scripts: []string{"build: react-scripts build"}, wrote: []string{"build"}, output: "build"},
		"Ionic Vue":             {modules: "@ionic/vue vite", scripts: buildVite, wrote: []string{"dist"}, output: "dist"},
		"Angular":               {modules: "@angular/core", scripts: []string{"build: ng build"}, wrote: []string{"dist/shop/browser"}, output: "dist/shop/browser"},
		"Angular:older":         {modules: "@angular/core", wrote: []string{"dist/shop"}, command: "npx --no-install ng build", output: "dist/shop"},
		"Stencil":               {modules: "@stencil/core", scripts: []string{"build: stencil build"}, wrote: []string{"www", "dist/a.js"}, output: "www"},
		"Quasar":                {modules: "quasar @quasar/app-vite", scripts: []string{"build: quasar build"}, wrote: []string{"dist/spa"}, output: "dist/spa"},
		"Quasar:ssr":            {modules: "@quasar/app-vite quasar", scripts: []string{"build: quasar build -m ssr"}, refusal: `Quasar would build a server (the mode ssr in the script), which Troy does not run; to make Quasar produce static files, build in its mode "spa" or "pwa"`},
		"Ember":                 {modules: "ember-cli ember-source", scripts: []string{"build: ember build --environment=production"}, wrote: []string{"dist"}, output: "dist"},
		"Polymer":               {modules: "polymer-cli", wrote: []string{"build/es6-bundled"}, output: "build/es6-bundled"},
		"Dojo":                  {modules: "@dojo/framework", wrote: []string{"output/dist"}, output: "output/dist"},
		"Create React App":      {modules: "react-scripts react", scripts: []string{"build: react-scripts build"}, files: map[string]string{"public/index.html": "%PUBLIC_URL%"}, wrote: []string{"build"}, output: "build"},
		"Vue CLI":               {modules: "@vue/cli-service", scripts: []string{"build: vue-cli-service build"}, wrote: []string{"dist"}, output: "dist"},
		"Preact CLI":            {modules: "preact-cli", wrote: []string{"build"}, output: "build"},
		"Poi":                   {modules: "poi", wrote: []string{"dist"}, output: "dist"},
		"Sanity":                {modules: "sanity", scripts: []string{"build: sanity build"}, wrote: []string{"dist"}, output: "dist"},
		"WMR":                   {modules: "wmr preact", wrote: []string{"dist"}, output: "dist"},
		"Snowpack":              {modules: "snowpack", wrote: []string{"build"}, output: "build"},
		"Svelte":                {modules: "svelte rollup sirv-cli", scripts: []string{"build: rollup -c"}, files: map[string]string{"public/index.html": ""}, wrote: []string{"public/build/bundle.js"}, output: "public"},
		"Parcel":                {modules: "parcel", files: map[string]string{"src/index.html": ""}, wrote: []string{"dist"}, command: "npx --no-install parcel build src/index.html", output: "dist"},
		"Rsbuild":               {modules: "@rsbuild/core", scripts: []string{"build: rsbuild build"}, wrote: []string{"dist"}, output: "dist"},
		"Farm":                  {modules: "@farmfe/core", wrote: []string{"dist"}, output: "dist"},
		"Neutrino":              {modules: "neutrino webpack", wrote: []string{"build"}, output: "build"},
		"Vite":                  {modules: "vite", scripts: buildVite, wrote: []string{"dist"}, output: "dist"},
		"Vite:TanStack Router":  {modules: "vite @tanstack/react-router", scripts: buildVite, wrote: []string{"dist"}, output: "dist"},
		"Vite:SolidJS":          {modules: "vite-plus solid-js", wrote: []string{"dist"}, command: "npx --no-install vite build", output: "dist"},
		"Vite:beside Storybook": {modules: "vite storybook", scripts: []string{"build: vite build", "build-storybook: storybook build"}, wrote: []string{"dist"}, command: "npm run build", output: "dist"},
		"Storybook":             {modules: "storybook react", scripts: []string{"build-storybook: storybook build"}, wrote: []string{"storybook-static"}, command: "npm run build-storybook", output: "storybook-static"},
		"Storybook:Vite":        {modules: "storybook @storybook/react-vite vite", scripts: []string{"build-storybook: storybook build"}, wrote: []string{"storybook-static"}, command: "npm run build-storybook", output: "storybook-static"},
		"Storybook:build":       {modules: "storybook react", scripts: []string{"build: storybook build"}, wrote: []string{"storybook-static"}, command: "npm run build", output: "storybook-static"},
		"Histoire":              {modules: "histoire", wrote: []string{".histoire/dist"}, output: ".histoire/dist"},
		"Ladle":                 {modules: "@ladle/react", wrote: []string{"build"}, output: "build"},
		"React Styleguidist":    {modules: "react-styleguidist", wrote: []string{"styleguide"}, output: "styleguide"},
		"gulp":                  {modules: "gulp", files: map[string]string{"gulpfile.js": "exports.build = x"}, wrote: []string{"dist"}, command: "npx --no-install gulp build", output: "dist"},
		"Grunt":                 {modules: "grunt", files: map[string]string{"Gruntfile.js": "grunt.registerTask('build', [])"}, wrote: []string{"dist"}, command: "npx --no-install grunt build", output: "dist"},
	}
}

func otherFixtures() map[string]fixture {
	return map[string]fixture{
		"Jupyter Book":      {files: map[string]string{"_config.yml": "", "_toc.yml": ""}, wrote: []string{"_build/html"}, command: "jupyter-book build .", output: "_build/html"},
		"Bridgetown":        {files: map[string]string{"bridgetown.config.yml": "", "Gemfile": `gem "bridgetown"`}, wrote: []string{"output"}, command: "bundle exec bridgetown build", output: "output"},
		"Middleman":         {files: map[string]string{"config.rb": "", "Gemfile": `gem "middleman"`}, wrote: []string{"build"}, command: "bundle exec middleman build", output: "build"},
		"Middleman:Slate":   {files: map[string]string{"config.rb": "", "Gemfile": "gem 'middleman', '~> 4.4'", "source/index.html.md": ""}, wrote: []string{"build"}, output: "build"},
		"Nanoc":             {files: map[string]string{"nanoc.yaml": "", "Gemfile": `gem "nanoc"`}, wrote: []string{"output"}, command: "bundle exec nanoc compile", output: "output"},
		"MkDocs":            {files: map[string]string{"mkdocs.yml": "site_name: x\n", "docs/index.md": ""}, wrote: []string{"site"}, command: "mkdocs build", output: "site"},
		"Zensical":          {files: map[string]string{"zensical.toml": ""}, wrote: []string{"site"}, command: "zensical build", output: "site"},
		"Pelican":           {files: map[string]string{"pelicanconf.py": "", "publishconf.py": ""}, wrote: []string{"output"}, command: "pelican content -s publishconf.py", output: "output"},
		"Nikola":            {files: map[string]string{"conf.py": "# Nikola's settings\nEXTENSIONS = []"}, wrote: []string{"output"}, command: "nikola build", output: "output"},
		"Sphinx":            {files: map[string]string{"docs/conf.py": "extensions = []\n", "docs/index.rst": ""}, wrote: []string{"_build/html"}, command: "sphinx-build -b html docs _build/html", output: "_build/html"},
		"Lektor":            {files: map[string]string{"site.lektorproject": ""}, wrote: []string{"build"}, output: "build"},
		"mdBook":            {files: map[string]string{"book.toml": "[book]\n", "src/SUMMARY.md": ""}, wrote: []string{"book"}, command: "mdbook build", output: "book"},
		"Quarto":            {files: map[string]string{"_quarto.yml": "project:\n  type: website\n"}, wrote: []string{"_site"}, command: "quarto render", output: "_site"},
		"Lume":              {files: map[string]string{"deno.json": `{"imports":{"lume/":"https://deno.land/x/lume/"}}`}, wrote: []string{"_site"}, command: "deno task build", output: "_site"},
		"Cecil":             {files: map[string]string{"cecil.yml": "title: x\n"}, wrote: []string{"_site"}, command: "cecil build", output: "_site"},
		"Cobalt":            {files: map[string]string{"_cobalt.yml": ""}, wrote: []string{"_site"}, command: "cobalt build", output: "_site"},
		"Jigsaw":            {files: map[string]string{"composer.json": `{"require":{"tightenco/jigsaw":"^1"}}`}, wrote: []string{"build_production"}, command: "vendor/bin/jigsaw build production", output: "build_production"},
		"Sculpin":           {files: map[string]string{"composer.json": `{"require":{"sculpin/sculpin":"^3"}}`}, wrote: []string{"output_prod"}, output: "output_prod"},
		"Soupault":          {files: map[string]string{"soupault.toml": ""}, wrote: []string{"build"}, command: "soupault", output: "build"},
		"Trunk":             {files: map[string]string{"Cargo.toml": "", "index.html": "<link data-trunk rel=rust>"}, wrote: []string{"dist"}, command: "trunk build --release", output: "dist"},
		"Flutter":           {files: map[string]string{"pubspec.yaml": "dependencies:\n  flutter:\n    sdk: flutter\n"}, wrote: []string{"build/web"}, command: "flutter build web --release", output: "build/web"},
		"Zola":              {files: map[string]string{"config.toml": "base_url = \"https://a.example\"\n", "content/_index.md": ""}, wrote: []string{"public"}, command: "zola build", output: "public"},
		"Hugo":              {files: map[string]string{"hugo.toml": ""}, wrote: []string{"public"}, command: "hugo", output: "public"},
		"Hugo:config.yml":   {files: map[string]string{"config.yml": "baseURL: https://a.example\n"}, wrote: []string{"public"}, output: "public"},
		"Hugo:content":      {files: map[string]string{"config.toml": "title = \"x\"\n", "content/a.md": ""}, wrote: []string{"public"}, output: "public"},
		"Jekyll":            {files: map[string]string{"_config.yaml": "", "Gemfile": `gem "github-pages"`}, wrote: []string{"_site"}, command: "bundle exec jekyll build", output: "_site"},
		"Jekyll:no Gemfile": {files: map[string]string{"_config.yml": ""}, wrote: []string{"_site"}, command: "jekyll build", output: "_site"},
	}
}

// configuredFixtures name another output folder in the framework's own
// configuration.
func configuredFixtures() map[string]fixture {
	return map[string]fixture{
		"Astro:outDir":                {modules: "astro", files: map[string]string{"astro.config.mjs": "import { defineConfig } from 'astro/config';\nexport default defineConfig({ outDir: './www' });"}, wrote: []string{"www"}, output: "www"},
		"Vite:outDir":                 {modules: "vite", scripts: buildVite, files: map[string]string{"vite.config.ts": "export default defineConfig(({ mode }) => ({ root: 'src', build: { outDir: '../web' } }))"}, wrote: []string{"web"}, output: "web"},
		"Vite:option":                 {modules: "vite", scripts: []string{"build: tsc -b && vite build --outDir www"}, wrote: []string{"www"}, output: "www"},
		"Vite:expression":             {modules: "vite", scripts: buildVite, files: map[string]string{"vite.config.js": "export default { build: { outDir: process.env.OUT } }"}, wrote: []string{"dist"}, output: "dist"},
		"Vite:outside":                {modules: "vite", scripts: buildVite, files: map[string]string{"vite.config.js": "export default { build: { outDir: '../../dist' } }"}, wrote: []string{"dist"}, output: "dist"},
		"Next.js:distDir":             {modules: "next", scripts: []string{"build: next build"}, files: map[string]string{"next.config.js": "/** @type {import('next').NextConfig} */\nmodule.exports = { output: 'export', distDir: 'web' }"}, wrote: []string{"web"}, output: "web"},
		"SvelteKit:pages":             {modules: "@sveltejs/kit @sveltejs/adapter-static", scripts: buildVite, files: map[string]string{"svelte.config.js": "export default { kit: { adapter: adapter({ pages: 'www', assets: 'www' }) } };"}, wrote: []string{"www"}, output: "www"},
		"Nuxt:publicDir":              {modules: "nuxt", files: map[string]string{"nuxt.config.ts": "export default defineNuxtConfig({ nitro: { output: { publicDir: 'www' } } })"}, wrote: []string{"www"}, output: "www"},
		"React Router:buildDirectory": {modules: "@react-router/dev", files: map[string]string{"react-router.config.ts": "export default { ssr: false, buildDirectory: 'web' } satisfies Config;"}, wrote: []string{"web/client"}, output: "web/client"},
		"VitePress:outDir":            {modules: "vitepress", files: map[string]string{"docs/.vitepress/config.mts": "export default defineConfig({ outDir: '../www' })"}, wrote: []string{"www"}, output: "www"},
		"VuePress:dest":               {modules: "vuepress", scripts: []string{"docs:build: vuepress build docs"}, files: map[string]string{"docs/.vuepress/config.js": "module.exports = { dest: 'www' }"}, wrote: []string{"www"}, output: "www"},
		"Eleventy:dir":                {modules: "@11ty/eleventy", files: map[string]string{".eleventy.js": "module.exports = function (c) {\n  c.addFilter('a', () => ({ dir: { output: 'no' } }));\n  return { dir: { input: 'src', output: 'www' } };\n};"}, wrote: []string{"www"}, output: "www"},
		"Eleventy:method":             {modules: "@11ty/eleventy", files: map[string]string{"eleventy.config.js": "export default function (c) { c.setOutputDirectory('www'); }"}, wrote: []string{"www"}, output: "www"},
		"Eleventy:option":             {modules: "@11ty/eleventy", scripts: []string{"build: eleventy --output=www"}, wrote: []string{"www"}, output: "www"},
		"Docusaurus:option":           {modules: "@docusaurus/core", scripts: []string{"build: docusaurus build --out-dir www"}, wrote: []string{"www"}, output: "www"},
		"Vue CLI:outputDir":           {modules: "@vue/cli-service", files: map[string]string{"vue.config.js": "const { defineConfig } = require('@vue/cli-service')\nmodule.exports = defineConfig({ outputDir: 'www' })"}, wrote: []string{"www"}, output: "www"},
		"Angular:outputPath":          {modules: "@angular/core", files: map[string]string{"angular.json": `{"projects":{"shop":{"projectType":"application","architect":{"build":{"builder":"@angular/build:application","options":{"outputPath":"web"}}}}}}`}, wrote: []string{"web/browser"}, output: "web/browser"},
		"Angular:base":                {modules: "@angular/core", files: map[string]string{"angular.json": `{"projects":{"shop":{"architect":{"build":{"builder":"@angular-devkit/build-angular:application","options":{"outputPath":{"base":"web","browser":""}}}}}}}`}, wrote: []string{"web"}, output: "web"},
		"Angular:server":              {modules: "@angular/core", files: map[string]string{"angular.json": `{"projects":{"shop":{"architect":{"build":{"builder":"@angular/build:application","options":{"outputMode":"server"}}}}}}`}, refusal: `set outputMode: "static" in angular.json`},
		"Parcel:option":               {modules: "parcel", scripts: []string{"build: parcel build index.html --dist-dir www"}, wrote: []string{"www"}, output: "www"},
		"Hexo:public_dir":             {modules: "hexo", files: map[string]string{"_config.yml": "public_dir: www\n"}, wrote: []string{"www"}, output: "www"},
		"Hugo:publishDir":             {files: map[string]string{"hugo.toml": "publishDir = 'www'\n"}, wrote: []string{"www"}, output: "www"},
		"Hugo:YAML":                   {files: map[string]string{"config.yml": "baseURL: /\npublishDir: www\n"}, wrote: []string{"www"}, output: "www"},
		"Hugo:JSON":                   {files: map[string]string{"hugo.json": `{"publishDir":"www"}`}, wrote: []string{"www"}, output: "www"},
		"Jekyll:destination":          {files: map[string]string{"_config.yml": "title: x\ndestination: ./www # ours\n"}, wrote: []string{"www"}, output: "www"},
		"MkDocs:site_dir":             {files: map[string]string{"mkdocs.yml": "site_name: x\nsite_dir: www\nmarkdown_extensions:\n  - pymdownx.emoji:\n      emoji_index: !!python/name:material.extensions.emoji.twemoji\n"}, wrote: []string{"www"}, output: "www"},
		"mdBook:build-dir":            {files: map[string]string{"book.toml": "[build]\nbuild-dir = \"www\"\n"}, wrote: []string{"www"}, output: "www"},
		"Quarto:output-dir":           {files: map[string]string{"_quarto.yml": "project:\n  type: book\n  output-dir: www\n"}, wrote: []string{"www"}, output: "www"},
		"Zola:output_dir":             {files: map[string]string{"config.toml": "base_url = \"/\"\noutput_dir = \"www\"\n"}, wrote: []string{"www"}, output: "www"},
		"Storybook:option":            {modules: "storybook", scripts: []string{"build-storybook: storybook build --output-dir www"}, wrote: []string{"www"}, output: "www"},
	}
}
