package build

// generator is a site generator, recognised by a dependency of the package.
type generator struct {
	name   string
	module string
	// scripts are the build scripts in package.json; the first one that exists
	// is run. The default is "build".
	scripts []string
	// without is the command to run if package.json has no such script.
	without string
	outputs []string
	// static says how to make a generator that can also produce a server
	// produce files.
	static string
}

// svelteKit is the generator whose server files have generic names.
const svelteKit = "SvelteKit"

// generators returns the common generators. One that builds on another comes
// before it: a site of Astro depends on Vite as well. The folders are the
// defaults from each generator's documentation.
func generators() []generator {
	return []generator{
		{
			name: "Nuxt", module: "nuxt", scripts: []string{"generate", "build"}, outputs: []string{".output/public", "dist"},
			static: `build with "nuxt generate"`,
		},
		{
			name: "Astro", module: "astro", without: "astro build", outputs: []string{"dist"},
			static: `set output: "static" in astro.config and remove the server adapter`,
		},
		{name: "Gatsby", module: "gatsby", without: "gatsby build", outputs: []string{"public"}},
		{name: "Docusaurus", module: "@docusaurus/core", without: "docusaurus build", outputs: []string{"build"}},
		{name: "VitePress", module: "vitepress", scripts: []string{"build", "docs:build"}, outputs: []string{".vitepress/dist", "docs/.vitepress/dist"}},
		{name: "VuePress", module: "vuepress", scripts: []string{"build", "docs:build"}, outputs: []string{"docs/.vuepress/dist", ".vuepress/dist", "src/.vuepress/dist"}},
		{
			name: "Next.js", module: "next", without: "next build", outputs: []string{"out"},
			static: `set output: "export" in next.config`,
		},
		{
			name: svelteKit, module: "@sveltejs/kit", without: "vite build", outputs: []string{"build"},
			static: "use @sveltejs/adapter-static and set prerender = true in the root layout",
		},
		{
			name: "TanStack Start", module: "@tanstack/react-start", without: "vite build", outputs: tanStackOutputs(),
			static: tanStackStatic,
		},
		{
			name: "TanStack Start", module: "@tanstack/solid-start", without: "vite build", outputs: tanStackOutputs(),
			static: tanStackStatic,
		},
		{
			name: "SolidStart", module: "@solidjs/start", without: "vinxi build", outputs: []string{".output/public"},
			static: `set server: { preset: "static" } in app.config`,
		},
		{
			name: "Vike", module: "vike", without: "vike build", outputs: []string{"dist/client"},
			static: "set prerender: true in +config",
		},
		{
			name: "Waku", module: "waku", without: "waku build", outputs: []string{"dist/public"},
			static: `set render: "static" in the getConfig of every page and layout`,
		},
		{
			name: "Qwik City", module: "@builder.io/qwik-city", outputs: []string{"dist"},
			static: `add the static adapter with "qwik add static"`,
		},
		{
			name: "Analog", module: "@analogjs/platform", without: "vite build", outputs: []string{"dist/analog/public"},
			static: "set ssr: true, static: true and prerender.routes in the analog plugin",
		},
		{name: "Eleventy", module: "@11ty/eleventy", without: "eleventy", outputs: []string{"_site"}},
		{name: "Create React App", module: "react-scripts", without: "react-scripts build", outputs: []string{"build"}},
		{name: "Vue CLI", module: "@vue/cli-service", without: "vue-cli-service build", outputs: []string{"dist"}},
		{
			name: "Angular", module: "@angular/core", without: "ng build", outputs: []string{"dist/*/browser", "dist/browser", "dist/*", "dist"},
			static: `set outputMode: "static" in angular.json`,
		},
		{
			name: "React Router", module: "@react-router/dev", without: "react-router build", outputs: []string{"build/client"},
			static: "set ssr: false (SPA mode), and prerender for the pages, in react-router.config",
		},
		{
			name: "Remix", module: "@remix-run/dev", without: "remix vite:build", outputs: []string{"build/client"},
			static: "set ssr: false (SPA mode) in the Remix plugin of vite.config",
		},
		{name: "Hexo", module: "hexo", without: "hexo generate", outputs: []string{"public"}},
		{name: "Gridsome", module: "gridsome", without: "gridsome build", outputs: []string{"dist"}},
		{name: "Preact CLI", module: "preact-cli", without: "preact build", outputs: []string{"build"}},
		{name: "Parcel", module: "parcel", outputs: []string{"dist"}},
		{name: "Vite", module: "vite", without: "vite build", outputs: []string{"dist"}},
	}
}

const tanStackStatic = "set prerender: { enabled: true } in the tanstackStart plugin of vite.config"

func tanStackOutputs() []string { return []string{"dist/client", ".output/public"} }

// usualOutputs returns the folders to try if the output folder is unknown.
func usualOutputs() []string { return []string{"dist", "build", "public", "out", "_site", "site"} }
