package build

import "strings"

// Shims returns a script for each package manager, keyed by name, that installs
// the manager with npx, for machines that lack it. npx runs outside the
// project, whose devEngines may refuse npm.
func (p Plan) Shims() map[string]string {
	shims := map[string]string{}
	for _, manager := range []string{"pnpm", "yarn", "bun"} {
		version := ""
		if p.Manager == manager && p.ManagerVersion != "" {
			version = "@" + p.ManagerVersion
		}
		module := manager
		if manager == "yarn" && version != "" && version != "@1" && !strings.HasPrefix(version, "@1.") {
			// Since version 2, Yarn has another name in the registry
			// (yarnpkg.com/getting-started/migration).
			module = "@yarnpkg/cli-dist"
		}
		fetch := "#!/bin/sh\nprogram=$(cd / && npx --yes --package=" + module + version + " -c 'command -v " + manager + "') || exit\n"
		shims[manager] = fetch + "exec \"$program\" \"$@\"\n"
		if manager == "bun" {
			shims["bunx"] = fetch + "exec \"$program\" x \"$@\"\n"
		}
	}
	return shims
}

// Quote returns s as one word for a POSIX shell (POSIX.1-2017, Shell Command
// Language 2.2.2).
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
