package builder_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/builder"
)

// TestAdviceOnRecordedLogs has the ends of logs that the tools printed when
// they were made to fail. Their paths and hosts are replaced.
func TestAdviceOnRecordedLogs(t *testing.T) {
	t.Parallel()
	const (
		nvmrc = "choose the version of Node.js in .nvmrc, or another version of the package"
		token = "for a private package, put //HOST/:_authToken=${NPM_TOKEN} in .npmrc and set the variable NPM_TOKEN"
		add   = " is not installed; add it to package.json and commit the lockfile"
		file  = "; check upper and lower case of its name, which differ on Linux, and whether it is committed"
		lock  = " does not match package.json; run "
	)
	tested := map[string]bool{}
	for _, c := range []struct {
		file string
		code int
		want string
	}{
		{"npm-ci-nolock", 1, "npm ci needs a package-lock.json; run npm install and commit it"},
		{"npm-ci-oldlock", 1, "package-lock.json" + lock + "npm install and commit package-lock.json"},
		{"pnpm10-nolock", 1, "the frozen install needs a pnpm-lock.yaml; run pnpm install and commit it"},
		{"pnpm10-oldlock", 1, "pnpm-lock.yaml" + lock + "pnpm install and commit pnpm-lock.yaml"},
		{"pnpm9-oldlock", 1, "pnpm-lock.yaml" + lock + "pnpm install and commit pnpm-lock.yaml"},
		{"pnpm9-otherversion", 1, "pnpm-lock.yaml was written by another version of pnpm or with other settings; set packageManager in package.json to your version, run pnpm install and commit pnpm-lock.yaml"},
		{"yarn1-oldlock", 1, "yarn.lock" + lock + "yarn install and commit yarn.lock"},
		{"yarn4-oldlock", 1, "yarn.lock" + lock + "yarn install and commit yarn.lock"},
		{"yarn4-nolock", 1, "yarn.lock" + lock + "yarn install and commit yarn.lock"},
		{"npm-127", 127, "the program vite is missing; add its package to package.json (npm install --save-dev) and commit the lockfile"},
		{"pnpm-127", 1, "the program vite is missing; add its package to package.json (npm install --save-dev) and commit the lockfile"},
		{"yarn1-127", 127, "the program vite is missing; add its package to package.json (npm install --save-dev) and commit the lockfile"},
		{"bash-127", 127, "the program hugo is missing; ask the operator to install it on the builder's machine (TROY_BUILD_PATH)"},
		{"sh-127", 127, "the program hugo is missing; ask the operator to install it on the builder's machine (TROY_BUILD_PATH)"},
		{"npm-126", 126, "the file ./b.sh is not executable; run git update-index --chmod=+x ./b.sh and commit"},
		{"bash-126", 126, "the file ./b.sh is not executable; run git update-index --chmod=+x ./b.sh and commit"},
		{"npm-noscript", 1, `package.json has no script "biuld"; add it, or correct the command in troy.toml or in the pipeline's settings`},
		{"pnpm-noscript", 1, `package.json has no script "biuld"; add it, or correct the command in troy.toml or in the pipeline's settings`},
		{"yarn1-noscript", 1, `package.json has no script "biuld"; add it, or correct the command in troy.toml or in the pipeline's settings`},
		{"npm-engine", 1, `the package a@1.0.0 needs {"node":">=99"}, and the build has {"node":"v20.20.2","npm":"11.19.1"}; ` + nvmrc},
		{"yarn1-engine", 1, "the package a@1.0.0 needs node >=99, and the build has 20.20.2; " + nvmrc},
		{"heap", 134, "Node.js reached the limit of its heap; set the variable NODE_OPTIONS to --max-old-space-size=3072, or to another number of MiB below the memory limit of builds"},
		{"npm-eresolve", 1, `react-dom@18.2.0 needs react@"^18.2.0", but react@17.0.2 is installed; install versions that fit together, or put legacy-peer-deps=true in .npmrc`},
		{"pnpm-peer", 1, "some packages need other versions of their peers; install versions that fit together, as the log lists them, or put strictPeerDependencies: false in pnpm-workspace.yaml"},
		{"npm-refused", 1, "nothing answers at 127.0.0.1:9 during the build, because a build has no servers beside it; use an address on the Internet"},
		{"pnpm-refused", 1, "nothing answers at 127.0.0.1:9 during the build, because a build has no servers beside it; use an address on the Internet"},
		{"yarn1-refused", 1, "nothing answers at 127.0.0.1:9 during the build, because a build has no servers beside it; use an address on the Internet"},
		{"npm-enotfound", 1, "the host registry.does-not-exist.invalid could not be reached; check its name, and for a private address ask the operator to allow it (TROY_BUILD_ALLOW)"},
		{"npm-u", 1, "the registry refused the package at registry.example/u/@team%2fui (401); " + token},
		{"pnpm-u", 1, "the registry refused the package at registry.example/u/@team%2Fui (401); " + token},
		{"npm-f", 1, "the registry refused the package at registry.example/f/@team%2fui (403); " + token},
		{"pnpm-f", 1, "the registry refused the package at registry.example/f/@team%2Fui (403); " + token},
		{"npm-n", 1, "the registry has no package at registry.example/n/@team%2fui; check its name and version; " + token},
		{"pnpm-n", 1, "the registry has no package at registry.example/n/@team%2Fui; check its name and version; " + token},
		{"npm-404-real", 1, "the registry has no package at registry.example/@team%2fui; check its name and version; " + token},
		{"pnpm-etarget", 1, "the registry has no version is-odd@99.0.0; correct it in package.json"},
		{"integrity", 1, "a downloaded package differs from the checksum in the lockfile; find out why, then install again and commit the lockfile"},
		{"node-module", 1, "the commit has no file /build/repo/src/Button.js" + file},
		{"vite-case", 1, "the commit has no file ./Button.js" + file},
		{"rollup-case", 1, "the commit has no file ./Button.js" + file},
		{"tsc-case", 2, "the commit has no file ./Util" + file},
		{"webpack-case", 1, "the names of some files differ only in upper and lower case; import each by its exact name, and rename with git mv if git kept the old one"},
		{"esbuild-case", 1, "the names of some files differ only in upper and lower case; import each by its exact name, and rename with git mv if git kept the old one"},
		{"node-cjs", 1, "the package left-pad" + add},
		{"node-pkg", 1, "the package left-pad" + add},
		{"vite-pkg", 1, "the package left-pad" + add},
		{"webpack-pkg", 1, "the package left-pad" + add},
		{"vite-node18", 1, "Vite needs Node.js 20.19+ or 22.12+, and the build has 18.20.8; choose the version in .nvmrc"},
		{"node-nospc", 1, "the disk of the builder is full; write less during the build, or ask the operator for space"},
		{"py-module", 1, "the Python module mkdocs is not installed; list its package in requirements.txt"},
		{"pip-nodist", 1, "pip found no version of none-such-troy-xyz==99; check its name and version, and whether it supports this version of Python"},
		{"pip-noreq", 1, "the file requirements.txt is missing; commit it, or correct the install command"},
		{"pep668", 1, "pip may not install into the system; list the packages in requirements.txt, so that the build gets a virtual environment"},
	} {
		tested[c.file+".txt"] = true
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			log, err := os.ReadFile(filepath.Join("testdata", "failures", c.file+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			if got := builder.Advice(builder.PlainLog(log), c.code); got != c.want {
				t.Errorf("the advice is\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	all, err := os.ReadDir(filepath.Join("testdata", "failures"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if !tested[file.Name()] {
			t.Errorf("%s is not in the table", file.Name())
		}
	}
}

// TestAdvice has messages of tools that the machine of the test lacks, in the
// words of their documentation or source, and logs without advice.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, log string
		code      int
		want      string // a part; empty for none
	}{
		{"nothing", "", 1, ""},
		{"a test that fails", "expected 3, got 4\n1 test failed\n", 1, ""},
		{"success", "vite v6.4.6 building for production...\nbuilt in 1s\n", 0, ""},
		{"killed", "", 137, "too little memory"},
		{"killed by Troy", "", -1, "too little memory"},
		{"a program that is not needed", "sh: 1: tput: not found\nerror TS2322: Type 'a' is not 'b'.\n", 2, ""},
		{"Turborepo", "web:build: sh: 1: vite: not found\nweb:build:  ELIFECYCLE  Command failed.\n", 1, "the program vite is missing; add its package"},
		{"the exit code decides", "connect ECONNREFUSED 127.0.0.1:80\nsh: 1: astro: not found\n", 127, "the program astro is missing"},
		{"the last missing program", "sh: 1: tput: not found\nsh: 1: astro: not found\n", 127, "the program astro is missing"},
		{"sh that is bash", "sh: line 1: astro: command not found\n", 127, "add its package to package.json"},
		{"a program in bash", "/bin/bash: line 3: mytool: command not found\n", 127, "install the program in the install command"},
		{"a shebang", "/usr/bin/env: ‘ruby’: No such file or directory\n", 127, "the program ruby is missing; ask the operator"},
		{"Yarn 4", "command not found: astro\n", 127, "the program astro is missing"},
		{"Python", "bash: line 1: mkdocs: command not found\n", 127, "list its package in requirements.txt"},
		{"Jekyll", "bash: line 1: jekyll: command not found\n", 127, "add its gem to the Gemfile"},
		{"npm before 10", "npm ERR! code E404\nnpm ERR! 404 Not Found - GET https://user:secret@npm.pkg.example/@team%2fui?token=x - not found\n", 1, "the registry has no package at npm.pkg.example/@team%2fui; "},
		{"Yarn 1 and a registry", "error Error: https://registry.example/@team%2fui: Not found\n    at params.callback\n", 1, "the registry has no package at registry.example/@team%2fui, or refuses it"},
		{"Yarn 4 and a registry", "➤ YN0035: │ @team/ui@npm:1.0.0: Package not found\n", 1, "no package @team/ui@npm:1.0.0"},
		{"Bundler", "Could not find gem 'jekyll (= 9.0)' in rubygems repository\n", 7, "Bundler found no gem jekyll (= 9.0)"},
		{"Bundler's lockfile", "The dependencies in your gemfile changed, but the lockfile can't be updated because frozen mode is set\n", 16, "Gemfile.lock does not match the Gemfile"},
		{"Bundler's platforms", `Your bundle only supports platforms ["arm64-darwin-23"] but your local platform is x86_64-linux. Add the current platform` + "\n", 16, "bundle lock --add-platform x86_64-linux"},
		{"Ruby's version", "Your Ruby version is 3.1.2, but your Gemfile specified 3.3.0\n", 18, "the Gemfile asks for Ruby 3.3.0, and the build has 3.1.2"},
		{"a Ruby file", "in `require': cannot load such file -- webrick (LoadError)\n", 1, "Ruby does not find webrick"},
		{"Hugo's edition", `error: failed to transform "scss/main.scss" (text/x-scss). Check your Hugo installation; you need the extended version to build SCSS/SASS: this feature is not available in your current Hugo version` + "\n", 1, "the extended edition of Hugo"},
		{"Hugo's theme", `Error: module "ananke" not found in "/build/repo/themes/ananke"; either add it as a Hugo Module or store it in "/build/repo/themes".` + "\n", 1, "the theme ananke is not in the commit"},
		{"Poetry", "pyproject.toml changed significantly since poetry.lock was last generated. Run `poetry lock` to fix the lock file.\n", 1, "run poetry lock"},
		{"uv", "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.\n", 1, "run uv lock"},
		{"Bun", "error: lockfile had changes, but lockfile is frozen\n", 1, "run bun install"},
		{"Create React App", "Treating warnings as errors because process.env.CI = true.\n", 1, "set the variable CI to false"},
		{"OpenSSL", "Error: error:0308010C:digital envelope routines::unsupported\n", 1, "--openssl-legacy-provider"},
		{"a binary for another system", "Error: Cannot find module @rollup/rollup-linux-x64-gnu. npm has a bug\n  [cause]: Error: Cannot find module '@rollup/rollup-linux-x64-gnu'\n", 1, "the package @rollup/rollup-linux-x64-gnu for Linux is not in the lockfile"},
		{"a part of a package", "Error: Cannot find module '@babel/core/lib/index.js'\n", 1, "the package @babel/core is not installed"},
		{"Next.js", "You are using Node.js 18.12.0. For Next.js, Node.js version \">=20.9.0\" is required.\n", 1, "Next.js needs Node.js >=20.9.0, and the build has 18.12.0"},
		{"Astro", "Node.js v18.12.0 is not supported by Astro!\nPlease upgrade Node.js to a supported version: \">=22.12.0\"\n", 1, "Astro needs Node.js >=22.12.0, and the build has 18.12.0"},
		{"Angular", "Node.js version v18.12.0 detected.\nThe Angular CLI requires a minimum Node.js version of v20.19 or v22.12.\n", 3, "The Angular CLI needs Node.js v20.19 or v22.12, and the build has 18.12.0"},
		{"TypeScript's casing", "error TS1149: File name '/build/repo/src/Util.ts' differs from already included file name '/build/repo/src/util.ts' only in casing.\n", 2, "differ only in upper and lower case"},
		{"a private submodule", "fatal: could not read Username for 'https://git.example': terminal prompts disabled\n", 128, "in a private repository at git.example"},
		{"a peer of several versions", "npm error code ERESOLVE\nnpm error ERESOLVE unable to resolve dependency tree\nnpm error\nnpm error Found: react@19.0.0\nnpm error node_modules/react\nnpm error\nnpm error peer react@\"^17.0.0 || ^18.0.0\" from dnd@13.1.1\n", 1, `dnd@13.1.1 needs react@"^17.0.0 || ^18.0.0", but react@19.0.0 is installed`},
		{"an authority of the team's own", "FetchError: request to https://registry.example/a failed, reason: self-signed certificate in certificate chain\n", 1, "set NODE_EXTRA_CA_CERTS for builds"},
		{"a very long name", "sh: 1: " + strings.Repeat("x", 5000) + ": not found\n", 127, "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := builder.Advice(builder.PlainLog([]byte(c.log)), c.code)
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("the advice is %q, want %q", got, c.want)
			}
			if strings.Contains(got, "secret") || len(got) > 500 || strings.HasSuffix(got, ".") {
				t.Errorf("the advice is %q", got)
			}
		})
	}
}

func TestPlainLog(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ log, want string }{
		{"\x1b[1;31mred\x1b[0m\r\nnext\x07\n", "red\nnext\n"},
		{"caf\xe9\n", "caf\uFFFD\n"},
		{"10%\r50%\r100%\ndone", "100%\ndone"},
		{"\x1b]8;;https://example.com\x1b\\a link\x1b]8;;\x1b\\ and \x1b]0;title\x07text", "a link and text"},
		{"\x1b]8;;unfinished\nnext line", "\nnext line"},
		{"\x1b(B\x1b=ok\x1bc", "ok"},
		{"a\u202eb\u2066c\u2028d\u0085e\ufefff", "abcdef"},
		{"tab\tstays", "tab\tstays"},
	} {
		if got := builder.PlainLog([]byte(c.log)); got != c.want {
			t.Errorf("PlainLog(%q) = %q, want %q", c.log, got, c.want)
		}
	}
}
