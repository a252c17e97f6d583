package builder

// codeFailures are those of programs, imports and generators. Those at the end
// also appear as warnings in logs of builds that fail for another reason.
func codeFailures() []knownFailure {
	const (
		missingFile = "the commit has no file ${1}; check upper and lower case of its name, which differ on Linux, and whether it is committed"
		theCase     = `the names of some files differ only in upper and lower case; import each by its exact name, and rename with git mv if git kept the old one`
	)
	nodeVersion := func(groups []string) string {
		return groups[2] + " needs Node.js " + groups[3] + ", and the build has " + groups[1] + "; choose the version in .nvmrc"
	}
	noPackage := func(groups []string) string {
		return "the package " + packageName(groups[1]) + " is not installed; add it to package.json and commit the lockfile"
	}
	return []knownFailure{
		// A script may try a program that it can do without, so the exit code
		// decides, which pnpm does not pass on.
		{name: "missing program", code: 127, only: true, last: true, has: "not found", pattern: shellSaid + `$`, say: missingProgram},
		{name: "missing program", has: "ELIFECYCLE", last: true, pattern: shellSaid + `\n(?:.*\n)?.*ELIFECYCLE`, say: missingProgram},
		{name: "missing program", code: 127, only: true, last: true, has: "command not found: ", pattern: `^.*?()command not found: (\S+)`, say: missingProgram},
		{name: "missing program", code: 127, only: true, last: true, has: "env:", pattern: `^(?:.*?/)?(env): ['‘](\S+?)['’]: No such file or directory`, say: missingProgram},
		{name: "not executable", code: 126, only: true, last: true, has: "Permission denied", pattern: `^.*: (?:line )?\d+: (\S+): Permission denied$`, advice: "the file ${1} is not executable; run git update-index --chmod=+x ${1} and commit"},

		{name: "binary for linux", has: "linux-", pattern: `Cannot find (?:module|package) '((?:\.\./)*\S*linux-(?:x64|arm64)\S*)'`, advice: "the package ${1} for Linux is not in the lockfile, as npm writes it on other systems; delete node_modules and package-lock.json, run npm install and commit package-lock.json"},

		// Upper and lower case, and files that are not committed.
		{name: "case", has: "only in casing", advice: theCase},
		{name: "case", has: "only differ in casing", advice: theCase},
		{name: "case", has: "[different-path-case]", advice: theCase},
		{name: "missing file", has: "Could not resolve", pattern: `Could not resolve "(\.{1,2}/[^"]+)" from "[^"]+"`, advice: missingFile},
		{name: "missing file", has: "Could not resolve", pattern: `Could not resolve "(\.{1,2}/[^"]+)"`, advice: missingFile},
		{name: "missing file", has: "Can't resolve", pattern: `Can't resolve '(\.{1,2}/[^']+)'`, advice: missingFile},
		{name: "missing file", has: "Cannot find module", pattern: `Cannot find module '([./][^']*)'`, advice: missingFile},

		// Packages.
		{name: "missing package", has: "failed to resolve import", pattern: `failed to resolve import "([^./"][^"]*)"`, say: noPackage},
		{name: "missing package", has: "Can't resolve", pattern: `Can't resolve '([^./'][^']*)'`, say: noPackage},
		{name: "missing package", has: "Cannot find package", pattern: `Cannot find package '([^']+)' imported from`, say: noPackage},
		{name: "missing package", has: "Cannot find module", pattern: `Cannot find module '([^./'][^']*)'`, say: noPackage},
		{name: "missing package", has: "Could not resolve", pattern: `Could not resolve "([^./"][^"]*)"$`, say: noPackage},
		{name: "python module", has: "ModuleNotFoundError", pattern: `ModuleNotFoundError: No module named '([^']+)'`, advice: "the Python module ${1} is not installed; list its package in requirements.txt"},
		{name: "ruby file", has: "cannot load such file", pattern: `cannot load such file -- (\S+)`, advice: "Ruby does not find ${1}; add its gem to the Gemfile, run bundle install and commit Gemfile.lock"},

		// Hugo.
		{name: "hugo extended", has: "this feature is not available in your current Hugo version", advice: "the site needs the extended edition of Hugo, which compiles Sass; ask the operator to install it"},
		{name: "hugo theme", has: "not found in", pattern: `module "([^"]+)" not found in`, advice: "the theme ${1} is not in the commit; add it as a Git submodule with an https address, or as a Hugo module"},
		{name: "hugo version", has: "is not compatible with this Hugo version", pattern: `[Mm]odule "([^"]+)" is not compatible with this Hugo version: (?:Min )?([\w.]+)`, advice: "the theme ${1} needs Hugo ${2}; ask the operator for that version, or use an older theme"},

		{name: "warnings", has: "Treating warnings as errors because process.env.CI = true", advice: "warnings fail the build because CI is true; fix them, or set the variable CI to false"},
		{name: "openssl", has: "digital envelope routines::unsupported", advice: "the bundler is too old for this version of Node.js; update it, or set the variable NODE_OPTIONS to --openssl-legacy-provider"},
		{name: "builtin module", has: "No such built-in module", pattern: `No such built-in module: (\S+)`, advice: "this version of Node.js lacks ${1}; choose a newer one in .nvmrc"},

		// The network. Several tools print such errors for what they can do
		// without.
		{name: "certificate", has: "SELF_SIGNED_CERT_IN_CHAIN", advice: untrusted},
		{name: "certificate", has: "certificate in certificate chain", pattern: `self[- ]signed certificate in certificate chain`, advice: untrusted},
		{name: "certificate", has: "unable to get local issuer certificate", advice: untrusted},
		{name: "certificate", has: "certificate verify failed", advice: untrusted},
		{name: "connection refused", has: "ECONNREFUSED", pattern: `connect ECONNREFUSED ([\w.:\[\]-]+)`, say: reachable},
		{name: "host not found", has: "getaddrinfo", pattern: `getaddrinfo (?:ENOTFOUND|EAI_AGAIN) ([\w.-]+)`, say: reachable},
		{name: "host not found", has: "Could not resolve host", pattern: `Could not resolve host: ([\w.-]+)`, say: reachable},
		{name: "timeout", has: "ETIMEDOUT", pattern: `connect ETIMEDOUT ([\w.:\[\]-]+)`, say: reachable},

		{name: "node version", has: "You are using Node.js", pattern: `You are using Node\.js v?([\d.]+?)\. (Vite|Rolldown)[\w -]* requires Node\.js version (.+?)\.(?: |$)`, say: nodeVersion},
		{name: "node version", has: "For Next.js, Node.js version", pattern: `You are using Node\.js v?([\d.]+?)\. For (Next\.js), Node\.js version "(.+?)" is required`, say: nodeVersion},
		{name: "node version", has: "is not supported by Astro", pattern: `Node\.js v?([\d.]+) is not supported by (Astro)!\s+Please upgrade Node\.js to a supported version: "?(.+?)"?$`, say: nodeVersion},
		{name: "node version", has: "requires a minimum Node.js version", pattern: `Node\.js version v?([\d.]+) detected\.\s+(The Angular CLI) requires a minimum Node\.js version of (?:either )?(.+?)\.?$`, say: nodeVersion},
	}
}

// shellSaid matches a shell's message about a program: the shell and the
// program.
const shellSaid = `(?:^|[\s/])([\w.-]+): (?:line )?\d+: (\S+): (?:command )?not found`

const untrusted = "a server's certificate is not trusted; if it is the team's own, ask the operator to set NODE_EXTRA_CA_CERTS for builds"
