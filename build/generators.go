package build

// generator is a program that makes sites, known by a package that is
// depended on.
type generator struct {
	name   string
	module string
	// scripts of package.json that build it, the first that is there is run;
	// none means "build".
	scripts []string
	// without is what is run when package.json has no such script.
	without string
	outputs []string
}

// generators lists the common ones. One that is built on another stands before
// it: a site of Astro depends on Vite as well. The folders are each one's
// default, from its own documentation.
func generators() []generator {
	return []generator{
		{name: "Nuxt", module: "nuxt", scripts: []string{"generate", "build"}, outputs: []string{".output/public", "dist"}},
		{name: "Astro", module: "astro", without: "astro build", outputs: []string{"dist"}},
		{name: "Gatsby", module: "gatsby", without: "gatsby build", outputs: []string{"public"}},
		{name: "Docusaurus", module: "@docusaurus/core", without: "docusaurus build", outputs: []string{"build"}},
		{name: "VitePress", module: "vitepress", scripts: []string{"build", "docs:build"}, outputs: []string{".vitepress/dist", "docs/.vitepress/dist"}},
		{name: "VuePress", module: "vuepress", scripts: []string{"build", "docs:build"}, outputs: []string{"docs/.vuepress/dist", ".vuepress/dist", "src/.vuepress/dist"}},
		{name: "Next.js", module: "next", without: "next build", outputs: []string{"out"}},
		{name: "SvelteKit", module: "@sveltejs/kit", without: "vite build", outputs: []string{"build"}},
		{name: "Eleventy", module: "@11ty/eleventy", without: "eleventy", outputs: []string{"_site"}},
		{name: "Create React App", module: "react-scripts", without: "react-scripts build", outputs: []string{"build"}},
		{name: "Vue CLI", module: "@vue/cli-service", without: "vue-cli-service build", outputs: []string{"dist"}},
		{name: "Angular", module: "@angular/core", without: "ng build", outputs: []string{"dist/*/browser", "dist/browser", "dist/*", "dist"}},
		{name: "React Router", module: "@react-router/dev", without: "react-router build", outputs: []string{"build/client"}},
		{name: "Hexo", module: "hexo", without: "hexo generate", outputs: []string{"public"}},
		{name: "Gridsome", module: "gridsome", without: "gridsome build", outputs: []string{"dist"}},
		{name: "Preact CLI", module: "preact-cli", without: "preact build", outputs: []string{"build"}},
		{name: "Parcel", module: "parcel", outputs: []string{"dist"}},
		{name: "Vite", module: "vite", without: "vite build", outputs: []string{"dist"}},
	}
}

// usualOutputs are tried when nobody says where a build puts the site.
func usualOutputs() []string { return []string{"dist", "build", "public", "out", "_site", "site"} }
