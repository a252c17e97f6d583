package build

import "strings"

// Shims returns, by name, a program for each package manager that runs it by
// npx, for machines that lack it.
func (p Plan) Shims() map[string]string {
	shims := map[string]string{}
	for _, manager := range []string{"pnpm", "yarn", "bun"} {
		version := ""
		if p.Manager == manager && p.ManagerVersion != "" {
			version = "@" + p.ManagerVersion
		}
		npx := "npx --yes " + manager + version
		if manager == "yarn" && version != "" && version != "@1" && !strings.HasPrefix(version, "@1.") {
			// From 2 on Yarn has another name in the registry
			// (yarnpkg.com/getting-started/migration).
			npx = "npx --yes --package=@yarnpkg/cli-dist" + version + " yarn"
		}
		shims[manager] = "#!/bin/sh\nexec " + npx + " \"$@\"\n"
		if manager == "bun" {
			shims["bunx"] = "#!/bin/sh\nexec " + npx + " x \"$@\"\n"
		}
	}
	return shims
}

// Quote makes one word of s for a POSIX shell (POSIX.1-2017, Shell Command
// Language 2.2.2).
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
