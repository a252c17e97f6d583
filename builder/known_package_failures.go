package builder

// packageFailures are those of package managers.
func packageFailures() []knownFailure {
	const (
		npmLock = "package-lock.json does not match package.json; run npm install and commit package-lock.json"
		yarn    = "yarn.lock does not match package.json; run yarn install and commit yarn.lock"
		gems    = "Gemfile.lock does not match the Gemfile; run bundle install and commit Gemfile.lock"
		token   = "for a private package, put //HOST/:_authToken=${NPM_TOKEN} in .npmrc and set the variable NPM_TOKEN"
		peers   = "some packages need other versions of their peers; install versions that fit together, as the log lists them"
		differs = "a downloaded package differs from the checksum in the lockfile; find out why, then install again and commit the lockfile"
	)
	refused := func(status, what string) string {
		if status == "404" {
			return "the registry has no package at " + address(what) + "; check its name and version; " + token
		}
		return "the registry refused the package at " + address(what) + " (" + status + "); " + token
	}
	byStatus := func(groups []string) string { return refused(groups[1], groups[2]) }
	return []knownFailure{
		// Lockfiles.
		{name: "npm lockfile", has: "`npm ci` can only install packages when", advice: npmLock},
		{name: "npm without lockfile", has: "`npm ci` command can only install with an existing package-lock.json", advice: "npm ci needs a package-lock.json; run npm install and commit it"},
		{name: "pnpm lockfile", has: "ERR_PNPM_OUTDATED_LOCKFILE", advice: "pnpm-lock.yaml does not match package.json; run pnpm install and commit pnpm-lock.yaml"},
		{name: "pnpm without lockfile", has: "ERR_PNPM_NO_LOCKFILE", advice: "the frozen install needs a pnpm-lock.yaml; run pnpm install and commit it"},
		{name: "pnpm's version", has: "ERR_PNPM_", pattern: `ERR_PNPM_(?:LOCKFILE_(?:BREAKING_CHANGE|CONFIG_MISMATCH)|FROZEN_LOCKFILE_WITH_OUTDATED_LOCKFILE)`, advice: "pnpm-lock.yaml was written by another version of pnpm or with other settings; set packageManager in package.json to your version, run pnpm install and commit pnpm-lock.yaml"},
		{name: "yarn 1 lockfile", has: "Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`", advice: yarn},
		{name: "yarn lockfile", has: "The lockfile would have been", pattern: `The lockfile would have been (?:modified|created) by this install`, advice: yarn},
		{name: "yarn lockfile", has: "doesn't seem to be present in your lockfile", advice: yarn},
		{name: "bun lockfile", has: "lockfile had changes, but lockfile is frozen", advice: "Bun's lockfile does not match package.json; run bun install and commit the lockfile"},
		{name: "bundler lockfile", has: "frozen mode is set", advice: gems},
		{name: "bundler lockfile", has: "deployment mode after changing", advice: gems},
		{name: "bundler platform", has: "but your local platform is", pattern: `only supports platforms \[.*\] but your local platform is ([\w-]+)`, advice: "Gemfile.lock is for other platforms; run bundle lock --add-platform ${1} and commit Gemfile.lock"},
		{name: "poetry lockfile", has: "changed significantly since poetry.lock was last generated", advice: "poetry.lock does not match pyproject.toml; run poetry lock and commit poetry.lock"},
		{name: "uv lockfile", has: "The lockfile at `uv.lock` needs to be updated", advice: "uv.lock does not match pyproject.toml; run uv lock and commit uv.lock"},

		// Versions of Node.js and Ruby.
		{
			name: "npm engine", has: "Not compatible with your version of node/npm", pattern: `Not compatible with your version of node/npm: (\S+)\n(?:.*\n){0,2}?.*Required: +(\{.*\})\n.*Actual: +(\{.*\})`,
			advice: "the package ${1} needs ${2}, and the build has ${3}; choose the version of Node.js in .nvmrc, or another version of the package",
		},
		{
			name: "yarn engine", has: `is incompatible with this module. Expected version`, pattern: `error (\S+): The engine "(\w+)" is incompatible with this module. Expected version "(.+?)". Got "(.+?)"`,
			advice: "the package ${1} needs ${2} ${3}, and the build has ${4}; choose the version of Node.js in .nvmrc, or another version of the package",
		},
		{name: "pnpm engine", has: "ERR_PNPM_UNSUPPORTED_ENGINE", advice: "a package needs another version of Node.js or pnpm, which the log names; choose Node.js in .nvmrc and pnpm in packageManager of package.json"},
		{name: "npm devEngines", has: "EBADDEVENGINES", advice: "devEngines in package.json asks for another runtime or package manager, which the log names; use that one, or change devEngines"},
		{name: "ruby version", has: "but your Gemfile specified", pattern: `Your Ruby version is (\S+), but your Gemfile specified (\S+)`, advice: "the Gemfile asks for Ruby ${2}, and the build has ${1}; change the Gemfile, or ask the operator for that version"},

		// Packages that do not fit or do not exist.
		{
			name: "npm peers", has: "ERESOLVE", pattern: `Found: (\S+)\n(?:.*\n){0,40}?.*peer (\S.*?) from (\S+)`,
			advice: "${3} needs ${2}, but ${1} is installed; install versions that fit together, or put legacy-peer-deps=true in .npmrc",
		},
		{name: "npm peers", has: "code ERESOLVE", advice: peers},
		{name: "pnpm peers", has: "ERR_PNPM_PEER_DEP_ISSUES", advice: peers + ", or put strictPeerDependencies: false in pnpm-workspace.yaml"},
		{name: "no such version", has: "No matching version found for", pattern: `No matching version found for (\S+?)\.?(?:\s|$)`, advice: "the registry has no version ${1}; correct it in package.json"},
		{name: "npm registry", has: "npm error code E4", pattern: `npm error code E(401|403|404)\n(?:npm error.*\n){0,4}?npm error.* - [A-Z]+ (\S+)`, say: byStatus},
		{name: "npm registry", has: "npm ERR! code E4", pattern: `npm ERR! code E(401|403|404)\n(?:npm ERR!.*\n){0,4}?npm ERR!.* - [A-Z]+ (\S+)`, say: byStatus},
		{name: "pnpm registry", has: "ERR_PNPM_FETCH_40", pattern: `ERR_PNPM_FETCH_(401|403|404)\W+GET (\S+?):?\s`, say: byStatus},
		{name: "yarn 1 registry", has: "error ", pattern: `^error (?:Error: |An unexpected error occurred: ")(https?://\S+?): (?:Not found|Request failed "(?:404|401|403)|no)`, say: func(groups []string) string {
			return "the registry has no package at " + address(groups[1]) + ", or refuses it; check its name and version; " + token
		}},
		{name: "yarn registry", has: "YN0035", pattern: `YN0035: .*?(\S+@npm:\S+?):? `, advice: "the registry has no package ${1}, or refuses it; check its name and version; set npmAuthToken in .yarnrc.yml for a private package"},
		{name: "yarn registry", has: "YN0041", advice: "the registry asks for a sign-in; set npmAuthToken in .yarnrc.yml to a variable such as ${NPM_TOKEN}, and set that variable"},
		{name: "integrity", has: "EINTEGRITY", advice: differs},
		{name: "integrity", has: "ERR_PNPM_TARBALL_INTEGRITY", advice: differs},
		{name: "integrity", has: "YN0018", advice: differs},
		{name: "git dependency", has: "could not read Username for", pattern: `could not read Username for '([^']+)'`, say: func(groups []string) string {
			return "a dependency is in a private repository at " + address(groups[1]) + ", for which builds have no password; publish it to a registry, or use an address with a token from a variable"
		}},
		{name: "scripts not allowed", has: "ERR_PNPM_IGNORED_BUILDS", advice: "pnpm did not run the install scripts of some packages; allow them with onlyBuiltDependencies in pnpm-workspace.yaml (pnpm approve-builds)"},
		{name: "compiler", has: "gyp ERR!", advice: "a package has to be compiled, and that failed; choose a version of it that has binaries for this Node.js, or ask the operator to install a compiler and Python"},

		// Python and Ruby.
		{name: "pip", has: "No matching distribution found for", pattern: `No matching distribution found for (\S+)`, advice: "pip found no version of ${1}; check its name and version, and whether it supports this version of Python"},
		{name: "pip", has: "ResolutionImpossible", advice: "the packages in requirements.txt need versions that exclude each other; relax one of them"},
		{name: "pip", has: "externally-managed-environment", advice: "pip may not install into the system; list the packages in requirements.txt, so that the build gets a virtual environment"},
		{name: "requirements", has: "Could not open requirements file", pattern: `Could not open requirements file: .*'(.+)'`, advice: "the file ${1} is missing; commit it, or correct the install command"},
		{name: "gem", has: "Could not find gem", pattern: `Could not find gem '(.+?)'`, advice: "Bundler found no gem ${1}; check its name and version in the Gemfile"},
		{name: "gem", has: "in locally installed gems", pattern: `Could not find (.+?) in locally installed gems`, advice: "the gem ${1} is not installed; run bundle install and commit Gemfile.lock"},

		// Scripts.
		{name: "npm script", has: "Missing script", pattern: `Missing script: "?(.+?)"?$`, advice: noScript},
		{name: "yarn 1 script", has: "error Command", pattern: `^error Command "(.+?)" not found\.`, advice: noScript},
		{name: "yarn script", has: "Couldn't find a script named", pattern: `Couldn't find a script named "(.+?)"`, advice: noScript},
		{name: "bun script", has: "error: Script not found", pattern: `error: Script not found "(.+?)"`, advice: noScript},
	}
}

const noScript = `package.json has no script "${1}"; add it, or correct the command in troy.toml or in the pipeline's settings`
