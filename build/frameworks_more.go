package build

// bundlers returns the command lines of applications that run in the browser,
// the bundlers, and last the catalogues of components.
func bundlers() []Framework {
	return []Framework{
		{Name: "Umi", Modules: []string{"umi", "@umijs/max"}, Command: "umi build", Outputs: []string{"dist"}, Config: []string{".umirc", "config/config"}, Keys: []string{"outputPath"}, Asset: "umi.3f0a9c1b.js", Caches: []string{cacheOfModules}, SPA: true},
		{Name: "ice.js", Modules: []string{"@ice/app"}, Command: "ice build", Outputs: []string{"build"}, Config: []string{"ice.config"}, Keys: []string{"outputDir"}, SPA: true},
		{Name: "Scully", Modules: []string{"@scullyio/init", "@scullyio/scully"}, Scripts: []string{"scully:build"}, Command: "ng build && scully", Outputs: []string{"dist/static"}, Config: []string{"scully.config"}, Keys: []string{"outDir"},
			Asset: "main.3f0a9c1b2d4e5f60.js", Caches: []string{".angular/cache"}},
		{Name: "Ionic Angular", Modules: []string{"@ionic/angular"}, Command: "ng build", Outputs: []string{"www/browser", "www"}, Asset: "main.3f0a9c1b2d4e5f60.js", Caches: []string{".angular/cache"}, SPA: true},
		{Name: "Ionic React", Modules: []string{"@ionic/react"}, Command: "vite build", Outputs: []string{"dist", "build"}, Config: []string{"vite.config"}, Keys: []string{"build.outDir"}, Relative: "root", Asset: assetOfVite, Caches: []string{cacheOfVite}, SPA: true},
		{Name: "Ionic Vue", Modules: []string{"@ionic/vue"}, Command: "vite build", Outputs: []string{"dist"}, Config: []string{"vite.config", "vue.config"}, Keys: []string{"build.outDir", "outputDir"}, Relative: "root", Asset: assetOfVite, Caches: []string{cacheOfVite}, SPA: true},
		{Name: "Angular", Modules: []string{"@angular/core", "@angular/cli"}, Command: "ng build", Outputs: []string{"dist/*/browser", "dist/browser", "dist/*", "dist"},
			Asset: "main-5JTWJ3PC.js", Caches: []string{".angular/cache"}, SPA: true, Static: `set outputMode: "static" in angular.json`},
		{Name: "Stencil", Modules: []string{"@stencil/core"}, Command: "stencil build", Outputs: []string{"www"}, Caches: []string{".stencil"}, SPA: true},
		{Name: "Quasar", Modules: []string{"@quasar/app", "@quasar/app-vite", "@quasar/app-webpack", "quasar-cli"}, Command: "quasar build", Outputs: []string{"dist/spa", "dist/pwa", "dist/spa-mat"}, Config: []string{"quasar.config", "quasar.conf"}, Keys: []string{"build.distDir"},
			Asset: "assets/index.3f0a9c1b.js", Caches: []string{"node_modules/.q-cache"}, SPA: true, Static: `build in its mode "spa" or "pwa"`},
		{Name: "Ember", Modules: []string{"ember-cli", "ember-source"}, Command: "ember build --environment=production", Outputs: []string{"dist"}, Config: []string{".ember-cli"}, Keys: []string{"output-path"}, Asset: "assets/app-3f0a9c1b2d4e5f603f0a9c1b2d4e5f60.js", SPA: true},
		{Name: "Polymer", Modules: []string{"polymer-cli"}, Command: "polymer build", Outputs: []string{"build/default", "build/*"}, SPA: true},
		{Name: "Dojo", Modules: []string{"@dojo/framework", "@dojo/cli"}, Command: "dojo build", Outputs: []string{"output/dist"}, SPA: true},
		{Name: "Create React App", Modules: []string{"react-scripts", "react-app-rewired", "@craco/craco"}, Command: "react-scripts build", Outputs: []string{"build"}, Asset: assetOfWebpack, Caches: []string{cacheOfModules}, SPA: true},
		{Name: "Vue CLI", Modules: []string{"@vue/cli-service"}, Command: "vue-cli-service build", Outputs: []string{"dist"}, Config: []string{"vue.config"}, Keys: []string{"outputDir"}, Asset: "js/app.3f0a9c1b.js", Caches: []string{cacheOfModules}, SPA: true},
		{Name: "Preact CLI", Modules: []string{"preact-cli"}, Command: "preact build", Outputs: []string{"build"}, SPA: true},
		{Name: "Poi", Modules: []string{"poi"}, Command: "poi --prod", Outputs: []string{"dist"}, Config: []string{"poi.config"}, Keys: []string{"output.dir"}, SPA: true},
		{Name: "Sanity", Modules: []string{"sanity", "@sanity/cli"}, Command: "sanity build", Outputs: []string{"dist"}, Asset: "static/sanity-DiwrgTda.js", SPA: true},
		{Name: "WMR", Modules: []string{"wmr"}, Command: "wmr build", Outputs: []string{"dist"}, Asset: "assets/index.3f0a9c1b.js"},
		{Name: "Snowpack", Modules: []string{"snowpack"}, Command: "snowpack build", Outputs: []string{"build"}, Config: []string{"snowpack.config"}, Keys: []string{"buildOptions.out"}, Caches: []string{"node_modules/.cache/snowpack"}},
		{Name: "Svelte", Modules: []string{"sirv-cli"}, Command: "rollup -c", Outputs: []string{"public", "dist"}, SPA: true},
		{Name: "Parcel", Modules: []string{"parcel", "parcel-bundler"}, Command: "parcel build {page}", Outputs: []string{"dist"}, Asset: "index.3f0a9c1b.js", Caches: []string{".parcel-cache"}},
		{Name: "Rsbuild", Modules: []string{"@rsbuild/core"}, Command: "rsbuild build", Outputs: []string{"dist"}, Config: []string{"rsbuild.config"}, Keys: []string{"output.distPath.root", "output.distPath"}, Asset: "static/js/index.3f0a9c1b.js", Caches: []string{cacheOfModules}},
		{Name: "Farm", Modules: []string{"@farmfe/core"}, Command: "farm build", Outputs: []string{"dist"}, Config: []string{"farm.config"}, Keys: []string{"compilation.output.path"}, Caches: []string{"node_modules/.farm"}},
		{Name: "Neutrino", Modules: []string{"neutrino"}, Command: "webpack --mode production", Outputs: []string{"build"}},
		{Name: "Vite", Modules: []string{"vite", "vite-plus", "rolldown-vite"}, Command: "vite build", Outputs: []string{"dist"}, Config: []string{"vite.config"}, Keys: []string{"build.outDir"}, Relative: "root", Asset: assetOfVite, Caches: []string{cacheOfVite}},
	}
}

// catalogues returns the programs that make a site beside a package's own. They
// count only if a package makes no other site.
func catalogues() []Framework {
	return []Framework{
		{Name: "Storybook", Modules: []string{"storybook", "@storybook/cli"}, Scripts: []string{"build-storybook"}, Command: "storybook build", Outputs: []string{"storybook-static"}, Asset: assetOfVite, Caches: []string{"node_modules/.cache/storybook"}},
		{Name: "Histoire", Modules: []string{"histoire"}, Scripts: []string{"story:build"}, Command: "histoire build", Outputs: []string{".histoire/dist"}, Config: []string{"histoire.config"}, Keys: []string{"outDir"}, Asset: assetOfVite},
		{Name: "Ladle", Modules: []string{"@ladle/react"}, Scripts: []string{"build-ladle"}, Command: "ladle build", Outputs: []string{"build"}, Asset: assetOfVite},
		{Name: "React Styleguidist", Modules: []string{"react-styleguidist"}, Scripts: []string{"styleguide:build"}, Command: "styleguidist build", Outputs: []string{"styleguide"}, Config: []string{"styleguide.config"}, Keys: []string{"styleguideDir"}},
		{Name: "gulp", Modules: []string{"gulp"}, Files: []string{"gulpfile.js~build", "gulpfile.mjs~build", "gulpfile.ts~build", "gulpfile.babel.js~build"}, Scripts: []string{}, Command: "gulp build", Outputs: usualOutputs()},
		{Name: "Grunt", Modules: []string{"grunt"}, Files: []string{"Gruntfile.js~build", "gruntfile.js~build"}, Scripts: []string{}, Command: "grunt build", Outputs: usualOutputs()},
	}
}

const bundle = "bundle exec "

// otherLanguages returns the generators that are not npm packages. Hugo comes
// after those that share its files.
func otherLanguages() []Framework {
	return []Framework{
		{Name: "Jupyter Book", Files: []string{"_toc.yml"}, Install: "pip install jupyter-book", Command: "jupyter-book build .", Outputs: []string{"_build/html"}, Caches: []string{"_build/.jupyter_cache"}},
		{Name: "Bridgetown", Files: []string{"bridgetown.config.yml", "config/initializers.rb~Bridgetown"}, Install: "bundle install", Command: bundle + "bridgetown build", Outputs: []string{"output"}, Config: []string{"bridgetown.config.yml"}, Keys: []string{"destination"}},
		{Name: "Middleman", Files: []string{"Gemfile~middleman"}, Install: "bundle install", Command: bundle + "middleman build", Outputs: []string{"build"}},
		{Name: "Nanoc", Files: []string{"nanoc.yaml"}, Install: "bundle install", Command: bundle + "nanoc compile", Outputs: []string{"output", "public"}, Config: []string{"nanoc.yaml"}, Keys: []string{"output_dir"}, Caches: []string{"tmp/nanoc"}},
		{Name: "MkDocs", Files: []string{"mkdocs.yml", "mkdocs.yaml"}, Install: "pip install mkdocs", Command: "mkdocs build", Outputs: []string{"site"}, Config: []string{"mkdocs.yml", "mkdocs.yaml"}, Keys: []string{"site_dir"}},
		{Name: "Zensical", Files: []string{"zensical.toml"}, Install: "pip install zensical", Command: "zensical build", Outputs: []string{"site"}, Config: []string{"zensical.toml"}, Keys: []string{"project.site_dir"}, Caches: []string{".cache"}},
		{Name: "Pelican", Files: []string{"pelicanconf.py"}, Install: `pip install "pelican[markdown]"`, Command: "pelican content -s {pelican}", Outputs: []string{"output"}},
		{Name: "Nikola", Files: []string{"conf.py~nikola"}, Install: `pip install "Nikola[extras]"`, Command: "nikola build", Outputs: []string{"output"}},
		{Name: "Sphinx", Files: []string{"conf.py~extensions", "source/conf.py~extensions", "docs/conf.py~extensions", "docs/source/conf.py~extensions", "doc/conf.py~extensions"},
			Install: "pip install sphinx", Command: "sphinx-build -b html {sphinx} _build/html", Outputs: []string{"_build/html"}, Caches: []string{"_build/doctrees"}},
		{Name: "Lektor", Files: []string{"*.lektorproject"}, Install: "pip install lektor", Command: "lektor build --output-path build", Outputs: []string{"build"}},
		{Name: "mdBook", Files: []string{"book.toml"}, Command: "mdbook build", Outputs: []string{"book"}, Config: []string{"book.toml"}, Keys: []string{"build.build-dir"}},
		{Name: "Quarto", Files: []string{"_quarto.yml", "_quarto.yaml"}, Command: "quarto render", Outputs: []string{"_site", "_book"}, Config: []string{"_quarto.yml", "_quarto.yaml"}, Keys: []string{"project.output-dir"}, Caches: []string{"_freeze"}},
		{Name: "Lume", Files: []string{"deno.json~lume", "deno.jsonc~lume"}, Command: "deno task build", Outputs: []string{"_site"}, Config: []string{"_config"}, Keys: []string{"dest"}, Caches: []string{"_cache"}},
		{Name: "Cecil", Files: []string{"cecil.yml", "cecil.yaml", "config.yml~cecil"}, Command: "cecil build", Outputs: []string{"_site"}, Config: []string{"cecil.yml", "cecil.yaml", "config.yml"}, Keys: []string{"output.dir"}},
		{Name: "Cobalt", Files: []string{"_cobalt.yml"}, Command: "cobalt build", Outputs: []string{"_site"}, Config: []string{"_cobalt.yml"}, Keys: []string{"destination"}},
		{Name: "Jigsaw", Files: []string{"composer.json~tightenco/jigsaw"}, Install: "composer install", Command: "vendor/bin/jigsaw build production", Outputs: []string{"build_production"}},
		{Name: "Sculpin", Files: []string{"composer.json~sculpin/sculpin"}, Install: "composer install", Command: "vendor/bin/sculpin generate --env=prod", Outputs: []string{"output_prod"}},
		{Name: "Soupault", Files: []string{"soupault.toml", "soupault.conf"}, Command: "soupault", Outputs: []string{"build"}, Config: []string{"soupault.toml", "soupault.conf"}, Keys: []string{"settings.build_dir"}},
		{Name: "Trunk", Files: []string{"Trunk.toml", "index.html~data-trunk"}, Command: "trunk build --release", Outputs: []string{"dist"}, Config: []string{"Trunk.toml"}, Keys: []string{"build.dist"}, Caches: []string{"target"}, SPA: true},
		{Name: "Flutter", Files: []string{"pubspec.yaml~flutter"}, Command: "flutter build web --release", Outputs: []string{"build/web"}, SPA: true},
		{Name: "Zola", Files: []string{"zola.toml", "config.toml=base_url"}, Command: "zola build", Outputs: []string{"public"}, Config: []string{"zola.toml", "config.toml"}, Keys: []string{"output_dir"}},
		{Name: "Hugo", Files: []string{"hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "config/_default", "config.toml~baseurl", "config.yaml~baseurl", "config.yml~baseurl", "config.json~baseurl", "config.toml+content", "config.yaml+content", "config.yml+content"},
			Command: "hugo", Outputs: []string{"public"}, Config: []string{"hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "config/_default/hugo.toml", "config/_default/hugo.yaml", "config/_default/config.toml", "config.toml", "config.yaml", "config.yml", "config.json"},
			Keys: []string{"publishDir", "publishdir"}, Caches: []string{"resources/_gen"}},
		{Name: "Jekyll", Files: []string{"_config.yml", "_config.yaml", "_config.toml"}, Install: "bundle install", Command: bundle + "jekyll build", Outputs: []string{"_site"},
			Config: []string{"_config.yml", "_config.yaml", "_config.toml"}, Keys: []string{"destination"}, Caches: []string{".jekyll-cache"}},
	}
}
