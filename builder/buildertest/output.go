package buildertest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
)

// madeBy returns a repository with a build command but without an output
// setting.
func madeBy(command string, files Repository) Repository {
	files["troy.toml"] = "[build]\ninstall = \"\"\ncommand = '''" + command + "'''\n"
	return files
}

// naming returns a troy.toml that names the output.
func (r Repository) naming(output string) Repository {
	r["troy.toml"] += "output = \"" + output + "\"\n"
	return r
}

// plainRepository is a site without a build, beside nine files for tools.
func plainRepository() Repository {
	return Repository{
		"index.html": "page", "404.html": "none", ".well-known/security.txt": "s", "data/package.json": "{}", "manifest.json": "{}", ".troyignore": "!/Makefile\n",
		"Makefile": "all:\n",
		".env":     "TOKEN=x", ".github/workflows/ci.yml": "{}", ".nvmrc": "22", "package.json": "{}", "go.mod": "module x", "Dockerfile": "FROM x",
		"netlify.toml": "[[plugins]]\npackage = \"a\"\n", "node_modules/a/b.js": "x",
	}
}

func onlyPages(t *testing.T, e Env, spec builder.Spec) {
	t.Helper()
	got := slices.Sorted(maps.Keys(e.Output(t, spec.Tree)))
	want := []string{".well-known/security.txt", "404.html", "Makefile", "data/package.json", "index.html", "manifest.json"}
	if !slices.Equal(got, want) {
		t.Fatalf("the output is %q, want %q", got, want)
	}
}

func buildOutputTests() map[string]func(*testing.T, Env) {
	publishes := func(repo Repository, want string) func(*testing.T, Env) {
		return func(t *testing.T, e Env) {
			spec := repo.Spec(t)
			e.Succeeds(t, spec)
			if got := strings.TrimSpace(e.Output(t, spec.Tree)["index.html"]); got != want {
				t.Fatalf("the page is %q, want %q", got, want)
			}
		}
	}
	refuses := func(repo Repository, words string) func(*testing.T, Env) {
		return func(t *testing.T, e Env) { e.Fails(t, repo.Spec(t), words) }
	}
	return map[string]func(*testing.T, Env){
		"a template is not published": refuses(
			madeBy("mkdir www && echo new > www/index.html", Repository{"public/index.html": "template"}),
			`the build wrote a site to "www", which is not a known output folder`),
		// Its folders don't matter if the output was named.
		"a named output beside endless folders": publishes(
			madeBy(`mkdir out && echo new > out/index.html && perl -e 'for (1..60) { mkdir "d" x 200 or die; chdir "d" x 200 or die }'`, Repository{}).naming("out"), "new"),
		"a named output that is missing": refuses(
			madeBy("mkdir lib && echo new > lib/a.js", Repository{"src/a.js": "old"}).naming("dist"),
			`the output folder "dist" is missing after the build; it wrote to "lib"; correct the command or the name of the folder`),
		"an old output is not published": refuses(
			madeBy("mkdir lib && echo new > lib/a.js", Repository{"dist/index.html": "old"}),
			`the build did not write to "dist", which comes from the repository; it wrote to "lib"`),
		"a new output takes precedence over an old one": publishes(
			madeBy("mkdir build && echo new > build/index.html", Repository{"dist/index.html": "old", "dist/a.js": "old"}), "new"),
		"an output made again as it was": publishes(
			madeBy("echo same > dist/index.html", Repository{"dist/index.html": "same\n", "src/dist/index.html": "x"}), "same"),
		"an output with the times of its templates": publishes(
			madeBy("mkdir www && echo other > www/a.css && mkdir dist && cp -p src/index.html dist/", Repository{"src/index.html": "page"}), "page"),
		"a folder moved into place": publishes(
			madeBy("mv src dist", Repository{"src/index.html": "page"}), "page"),
		"a page that is a link": publishes(
			madeBy("mkdir dist && echo page > dist/home.html && ln -s home.html dist/index.html", Repository{"public/index.html": "template"}), "page"),
		"a style sheet beside a page": publishes(
			madeBy("echo 'a{}' > public/a.css", Repository{"public/index.html": "page"}), "page"),
		"a page changed in place": publishes(
			madeBy("sed -i s/old/new/ index.html", Repository{"index.html": "old"}), "new"),
		"a site in one of several folders": publishes(
			madeBy("mkdir -p dist/app/browser && echo page > dist/app/browser/index.html && touch dist/app/licenses.txt", Repository{
				"package.json": `{"devDependencies":{"@angular/core":"21"}}`,
			}), "page"),
		"the root, said": func(t *testing.T, e Env) {
			spec := Repository{"index.html": "old"}.Spec(t)
			spec.Settings = build.Settings{Build: "mkdir -p node_modules/a && echo new | tee index.html node_modules/a/b.js", Output: "."}
			e.Succeeds(t, spec)
			if got := e.Output(t, spec.Tree); got["index.html"] != "new\n" {
				t.Fatalf("the output is %q", got)
			}
		},
		"a repository that is the site": func(t *testing.T, e Env) {
			spec := plainRepository().Spec(t)
			e.Succeeds(t, spec)
			onlyPages(t, e, spec)
			for _, words := range []string{`Left out because the repository itself is the site: 9 (".env", ".github/", ".nvmrc", `, " and 4 more)",
				"\nnetlify.toml, line 1: [[plugins]] has no effect.\n"} {
				if log := e.LogOf(t, spec.Tree); !strings.Contains(log, words) {
					t.Fatalf("the log lacks %q:\n%s", words, log)
				}
			}
		},
		"a repository that is the site, named and built": func(t *testing.T, e Env) {
			spec := plainRepository().Spec(t)
			spec.Settings = build.Settings{Build: "echo x >.cache; echo new >index.html", Output: "."}
			e.Succeeds(t, spec)
			onlyPages(t, e, spec)
		},
		"a root folder that is the site": func(t *testing.T, e Env) {
			repo := Repository{}
			for name, content := range plainRepository() {
				repo["web/"+name] = content
			}
			spec := repo.Spec(t)
			spec.Settings.Root = "web"
			e.Succeeds(t, spec)
			onlyPages(t, e, spec)
		},
		"a folder of a repository": func(t *testing.T, e Env) {
			spec := Repository{"public/index.html": "page", "public/package.json": "{}", "package.json": "{}"}.Spec(t)
			e.Succeeds(t, spec)
			if got := e.Output(t, spec.Tree); len(got) != 2 || got["package.json"] != "{}" {
				t.Fatalf("the output is %q", got)
			}
		},
		"a key in the output": func(t *testing.T, e Env) {
			key := "AKIA" + "QZ3LM7RT5XW2NB6K"
			page := "<title>x</title>\n<script>key = '" + key + "'</script>\n"
			want := `"sub/a.html" (an AWS access key on line 2)`
			built := madeBy("mkdir -p dist/sub && cp a dist/sub/a.html && echo page > dist/index.html && cp a dist/key.txt", Repository{"a": page})
			e.Fails(t, built.Spec(t), `"key.txt" (an AWS access key on line 2), `+want)
			e.Fails(t, Repository{"index.html": "page", "sub/a.html": page}.Spec(t), want) // runs no command
			e.Fails(t, madeBy("mkdir dist && echo page > dist/index.html && touch dist/id_rsa", Repository{}).Spec(t), `"id_rsa" (a private key, by its name)`)
			built["troy.toml"] += "allow_secrets = ['sub/a.html', './key.txt']\n"
			spec := built.Spec(t)
			e.Succeeds(t, spec)
			if got := e.Output(t, spec.Tree); got["sub/a.html"] != page || len(got) != 3 {
				t.Fatalf("the output is %q", got)
			}
			example := madeBy("mkdir dist && cp a dist/index.html", Repository{"a": "AKIAIOSFODNN7EXAMPLE"})
			e.Succeeds(t, example.Spec(t))
		},
		"links in the output": func(t *testing.T, e Env) {
			spec := Shell("mkdir -p out/2.0 && echo two >out/2.0/index.html && ln -s 2.0 out/latest && echo top >out/index.html").Spec(t)
			e.Succeeds(t, spec)
			if got := e.Output(t, spec.Tree); len(got) != 3 || got["latest/index.html"] != "two\n" {
				t.Fatalf("the output is %q", got)
			}
			e.Fails(t, Shell("mkdir out && touch out/index.html && ln -s . out/again").Spec(t), `"again" is a link to ".", a folder that contains it`)
		},
		"a name that is not UTF-8": func(t *testing.T, e Env) {
			source := Shell("mkdir out && echo page >out/index.html")
			source["old/caf\xe9.txt"] = "x"
			e.Succeeds(t, source.Spec(t))
			e.Fails(t, Shell("mkdir out && touch out/index.html && touch \"$(printf 'out/caf\\351.txt')\"").Spec(t), `"caf\xe9.txt"`)
		},
		"a server is not published": refuses(
			madeBy("mkdir -p build/server build/client && touch build/handler.js build/server/index.js", Repository{
				"package.json": `{"devDependencies":{"@sveltejs/kit":"2"}}`,
			}),
			`the folder "build" is not a site: it contains server code (handler.js beside server/) and no index.html; to make SvelteKit produce static files, use @sveltejs/adapter-static`),
		"a named output without a page causes a warning": func(t *testing.T, e Env) {
			spec := Repository{"a.txt": "x"}.Spec(t)
			spec.Settings = build.Settings{Build: "mkdir -p out && echo feed > out/feed.xml", Output: "out"}
			b := e.Succeeds(t, spec)
			want := `The output folder "out" has no index.html, so the site has no home page.`
			if len(b.Warnings) != 1 || b.Warnings[0] != want {
				t.Fatalf("the warnings are %q", b.Warnings)
			}
			if log := e.LogOf(t, spec.Tree); !strings.Contains(log, "\nWarning: "+want+"\n") {
				t.Fatalf("the log lacks it:\n%s", log)
			}
		},
	}
}
