package build_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/build"
)

// workspace is a workspace of npm with a site, a package that it uses through
// another one, and two that it does not use. more adds files or, with the text
// "-", removes them.
func workspace(more map[string]string) map[string]string {
	files := map[string]string{
		"package.json":               `{"name":"root","private":true,"workspaces":["apps/*","packages/*"],"devDependencies":{"@team/lint":"*"}}`,
		"package-lock.json":          `{}`,
		"apps/web/package.json":      `{"name":"web","scripts":{"build":"vite build"},"dependencies":{"vite":"6","@team/ui":"*"}}`,
		"apps/admin/package.json":    `{"name":"admin","scripts":{"build":"vite build"},"dependencies":{"@team/charts":"*","@team/ui":"*"}}`,
		"packages/ui/package.json":   `{"name":"@team/ui","dependencies":{"@team/base":"workspace:^"}}`,
		"packages/base/package.json": `{"name":"@team/base"}`,
		"packages/lint/package.json": `{"name":"@team/lint"}`,
		"packages/c/package.json":    `{"name":"@team/charts"}`,
	}
	for name, text := range more {
		if files[name] = text; text == "-" {
			delete(files, name)
		}
	}
	return files
}

// TestUnwatched has the workspaces of the package managers and their tools, and
// what in them is in doubt.
func TestUnwatched(t *testing.T) {
	t.Parallel()
	usual := []string{"apps/admin", "packages/c"}
	for _, c := range []struct {
		name string
		more map[string]string
		want []string
	}{
		{"npm", nil, usual},
		{"npm, patterns in an object", map[string]string{"package.json": `{"workspaces":{"packages":["./apps/*","packages/**"]},"devDependencies":{"@team/lint":"*"}}`}, usual},
		{"pnpm", map[string]string{"package.json": `{"devDependencies":{"@team/lint":"workspace:*"}}`, "pnpm-workspace.yaml": "packages:\n  - apps/*\n  - 'packages/*'\n", "package-lock.json": "-", "pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, usual},
		{"pnpm, one excluded", map[string]string{"package.json": `{"devDependencies":{"@team/lint":"workspace:*"}}`, "pnpm-workspace.yaml": "packages:\n  - '**'\n  - '!packages/c'\n", "package-lock.json": "-", "pnpm-lock.yaml": "lockfileVersion: '9.0'\n"}, []string{"apps/admin"}},
		{"Yarn", map[string]string{"package-lock.json": "-", "yarn.lock": "# yarn lockfile v1\n"}, usual},
		{"Lerna", map[string]string{"package.json": `{"devDependencies":{"@team/lint":"*"}}`, "lerna.json": `{"packages":["apps/*","packages/*"]}`}, usual},
		{"folders of the forge", map[string]string{".github/workflows/ci.yml": "on: push", ".changeset/a.md": "a", "docs/a.md": "a"}, []string{"apps/admin", "packages/c", ".changeset", ".github"}},
		{"a package that is new to the site", map[string]string{"apps/web/package.json": `{"name":"web","scripts":{"build":"vite build"},"devDependencies":{"vite":"6","@team/charts":"*"}}`}, []string{"apps/admin", "packages/base", "packages/ui"}},
		{"a peer dependency", map[string]string{"packages/ui/package.json": `{"name":"@team/ui","peerDependencies":{"@team/charts":"*"}}`}, []string{"apps/admin", "packages/base"}},
		{"an alias of a dependency", map[string]string{"packages/ui/package.json": `{"name":"@team/ui","dependencies":{"charts":"workspace:@team/charts@^1"}}`}, []string{"apps/admin", "packages/base"}},
		{"a dependency by its folder", map[string]string{"packages/ui/package.json": `{"name":"@team/ui","dependencies":{"x":"file:../c","y":"link:../base/"}}`}, []string{"apps/admin"}},
		{"a script that builds another", map[string]string{"apps/web/package.json": `{"name":"web","scripts":{"build":"npm run build -w=@team/charts && vite build"},"dependencies":{"vite":"6","@team/ui":"*"}}`}, []string{"apps/admin"}},
		{"a filter of Turborepo", map[string]string{"apps/web/package.json": `{"name":"web","scripts":{"build":"turbo run build --filter=admin..."},"dependencies":{"vite":"6","@team/ui":"*"}}`}, nil},
		{"a command that names a folder", map[string]string{"apps/web/troy.toml": "[build]\ncommand = \"cd ../../packages/c && npm run build\"\n"}, []string{"apps/admin"}},
		{"packages that use each other", map[string]string{"packages/base/package.json": `{"name":"@team/base","dependencies":{"@team/ui":"*"}}`}, usual},
		{"a cycle elsewhere", map[string]string{"packages/c/package.json": `{"name":"@team/charts","dependencies":{"admin":"*"}}`}, usual},
		{"a path in a configuration", map[string]string{"apps/web/vite.config.ts": `export default { resolve: { alias: { c: new URL("../../packages/c/src", import.meta.url) } } }`}, []string{"apps/admin"}},
		{"a path to a folder of packages", map[string]string{"apps/web/tailwind.config.js": "content: ['./src/**', '../../packages/*/src/**']"}, []string{"apps/admin"}},
		{"a path with a variable", map[string]string{"apps/web/vite.config.ts": "`../../packages/${name}/src`"}, []string{"apps/admin"}},
		{"a path with half a name", map[string]string{"apps/web/vite.config.ts": "'../../pack*/c'"}, nil},
		{"an override", map[string]string{"pnpm-workspace.yaml": "packages:\n  - apps/*\n  - packages/*\noverrides:\n  charts: link:./packages/c\n"}, []string{"apps/admin"}},
		{"a path to the workspace", map[string]string{"apps/web/next.config.js": "path.join(__dirname, '../../'), '../..', '../../tsconfig.json'"}, usual},
		{"a path out of the repository", map[string]string{"apps/web/vite.config.ts": "'../../../../../packages/c', '/../packages/c/../../..'"}, usual},
		{"an alias in tsconfig.json", map[string]string{"tsconfig.base.json": "{\n// shared\n\"compilerOptions\":{\"baseUrl\":\".\",\"paths\":{\"c/*\":[\"packages/c/src/*\"],},},}"}, []string{"apps/admin"}},
		{"project references of the workspace", map[string]string{"tsconfig.json": `{"references":[{"path":"apps/admin"},{"path":"packages/c"}]}`}, usual},
		{"Turborepo's files for all", map[string]string{"turbo.json": `{"globalDependencies":["**/.env.*local","packages/c/x.json"],"tasks":{"build":{"dependsOn":["^build"]}}}`}, []string{"apps/admin", "packages/c", "!**/.env.*local", "!packages/c/x.json"}},
		{"a task of Turborepo", map[string]string{"turbo.json": `{"pipeline":{"web#build":{"dependsOn":["@team/charts#codegen"]}}}`}, []string{"apps/admin"}},
		{"an input of Turborepo", map[string]string{"apps/web/turbo.json": `{"extends":["//"],"tasks":{"build":{"inputs":["$TURBO_ROOT$/packages/c/**"]}}}`}, []string{"apps/admin"}},
		{"Nx's inputs for all", map[string]string{"nx.json": `{"namedInputs":{"sharedGlobals":["{workspaceRoot}/apps/admin/theme.css","{workspaceRoot}/babel.config.json"]}}`}, []string{"apps/admin", "packages/c", "!apps/admin/theme.css", "!babel.config.json"}},
		{"Nx before 16", map[string]string{"nx.json": `{"implicitDependencies":{"packages/c/x.json":"*"}}`}, []string{"apps/admin", "packages/c", "!packages/c/x.json"}},
		{"an implicit dependency of Nx", map[string]string{"apps/web/project.json": `{"name":"site","implicitDependencies":["charts"]}`, "packages/c/project.json": `{"name":"charts"}`}, []string{"apps/admin"}},
		{"a project of Nx without package.json", map[string]string{"apps/other/project.json": `{"name":"other"}`, "libs/x/project.json": `{"name":"x"}`}, usual},
		{"a package in a package", map[string]string{"package.json": `{"workspaces":["**"],"devDependencies":{"@team/lint":"*"}}`, "apps/admin/theme/package.json": `{"name":"@team/theme"}`, "apps/web/package.json": `{"name":"web","scripts":{"build":"b"},"dependencies":{"@team/theme":"*"}}`}, []string{"packages/base", "packages/c", "packages/ui"}},
		{"a class becomes a wildcard", map[string]string{"turbo.json": `{"globalDependencies":["apps/{admin,web}/[ab].json"]}`}, []string{"apps/admin", "packages/c", "!apps/**/**.json"}},
		{"a pattern out of the repository", map[string]string{"turbo.json": `{"globalDependencies":["../../etc/passwd"]}`}, []string{"apps/admin", "packages/c", "!etc/passwd"}},

		{"in doubt: a package that can't be read", map[string]string{"packages/c/package.json": `{"name":`}, nil},
		{"in doubt: turbo.json", map[string]string{"turbo.json": `nonsense`}, nil},
		{"in doubt: nx.json", map[string]string{"nx.json": `[`}, nil},
		{"in doubt: tsconfig.json", map[string]string{"tsconfig.json": `{`}, nil},
		{"in doubt: lerna.json", map[string]string{"lerna.json": `{`}, nil},
		{"in doubt: a very large package.json", map[string]string{"packages/ui/package.json": `{"name":"@team/ui","x":"` + strings.Repeat("x", 300<<10) + `"}`}, nil},
		{"a name with a line end", map[string]string{"apps/a\nb/package.json": `{"name":"evil"}`, "apps/!c/package.json": `{"name":"evil2"}`}, []string{"apps/!c", "apps/admin", "packages/c"}},
		{"types that are wrong", map[string]string{"packages/c/package.json": `{"name":7,"dependencies":["web"]}`}, usual},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := build.Decide(repository(workspace(c.more)), build.Settings{Root: "apps/web"})
			if err != nil {
				t.Fatal(err)
			}
			if p.Workspace != "." || p.SettingsRoot != "apps/web" {
				t.Errorf("the workspace is %q, the root of the settings %q", p.Workspace, p.SettingsRoot)
			}
			if !slices.Equal(p.Unwatched, c.want) {
				t.Errorf("not watched are %q, want %q", p.Unwatched, c.want)
			}
		})
	}
}

// TestUnwatchedBelowTheTop has a workspace in a folder, and sites that are in
// none or are the workspace.
func TestUnwatchedBelowTheTop(t *testing.T) {
	t.Parallel()
	files := map[string]string{"index.html": "", "docs/package.json": `{"scripts":{"build":"x"}}`}
	for name, text := range workspace(map[string]string{"turbo.json": `{"globalDependencies":["x"]}`}) {
		files["js/"+name] = text
	}
	for root, want := range map[string][]string{
		"js/apps/web": {"js/apps/admin", "js/packages/c", "!js/x"}, "js/apps/admin": {"js/apps/web", "!js/x"},
		"js": nil, "docs": nil, "": nil,
	} {
		p, err := build.Decide(repository(files), build.Settings{Root: root, Build: "npm run build", Output: "dist"})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Unwatched, want) {
			t.Errorf("for %q, not watched are %q, want %q", root, p.Unwatched, want)
		}
	}
}

// TestUnwatchedOfHostileWorkspaces ends soon and watches all.
func TestUnwatchedOfHostileWorkspaces(t *testing.T) {
	t.Parallel()
	packages := func(n int, text func(i int) string) map[string]string {
		files := map[string]string{}
		for i := range n {
			files[fmt.Sprintf("packages/p%05d/package.json", i)] = text(i)
		}
		return files
	}
	references := func(i int) string {
		var b strings.Builder
		for j := range 3000 {
			fmt.Fprintf(&b, "../p%05d/x%d ", j, i)
		}
		return b.String()
	}
	many := packages(1500, func(i int) string { return fmt.Sprintf(`{"name":"p%d","dependencies":{"p%d":"*"}}`, i, (i+1)%1500) })
	manyReferences := packages(100, func(i int) string { return fmt.Sprintf(`{"name":"p%d"}`, i) })
	for i := range 100 {
		manyReferences[fmt.Sprintf("packages/p%05d/a.js", i)] = references(i)
	}
	manyReferences["apps/web/a.js"] = "../../packages/"
	for _, c := range []struct {
		name string
		more map[string]string
		want int // entries
	}{
		{"a long cycle", many, 1502},
		{"too many packages", packages(2001, func(int) string { return `{}` }), 0},
		{"too many references", manyReferences, 0},
		{"globs that explode", map[string]string{"package.json": `{"workspaces":["` + strings.Repeat("**/*a*/", 60) + `**","apps/*","packages/*"],"devDependencies":{"@team/lint":"*"}}`}, 2},
		{"too many globs", map[string]string{"package.json": `{"workspaces":["apps/*"` + strings.Repeat(`,"x/*"`, 101) + `]}`}, 0},
		{"a package that is too deep", map[string]string{"package.json": `{"workspaces":["**"],"devDependencies":{"@team/lint":"*"}}`, strings.Repeat("d/", 9) + "package.json": `{}`}, 2},
		{"comments that overlap", map[string]string{"turbo.json": "{}" + strings.Repeat("/*", 60_000)}, 0},
		{"a comment without an end", map[string]string{"turbo.json": "{}/*" + strings.Repeat("*", 60_000)}, 2},
		{"many comments", map[string]string{"turbo.json": "{" + strings.Repeat("/**/", 60_000) + "}"}, 2},
		{"depth", map[string]string{"packages/c/package.json": strings.Repeat("[", 20_000)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := c.want
			if want > 1000 {
				want = 0 // more than the bound of the list
			}
			begun := time.Now()
			p, err := build.Decide(repository(workspace(c.more)), build.Settings{Root: "apps/web"})
			if err != nil {
				t.Fatal(err)
			}
			if len(p.Unwatched) != want {
				t.Errorf("%d entries, want %d: %.200q", len(p.Unwatched), want, p.Unwatched)
			}
			t.Logf("%s", time.Since(begun))
		})
	}
}
