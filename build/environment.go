package build

import (
	"fmt"
	"maps"
	"strings"

	"github.com/troy-iaas/troy"
)

// Origin is what a build is told of itself.
type Origin struct {
	Deployment string // its id
	URL        string // the site's
	Commit     Commit
}

// Environment is all that the processes of a build find in theirs. machine is
// what depends on where they run, variables are the pipeline's. The
// pipeline's variables go before the repository's, those before the machine's,
// and all of them before the names that other platforms use. Nothing goes
// before troy.BuildVariables.
func (o Origin) Environment(p Plan, machine, variables map[string]string) map[string]string {
	c := o.Commit
	env := map[string]string{
		"CI": "true", "LANG": "C.UTF-8",
		// A build should not print advice on newer versions.
		"npm_config_update_notifier": "false", "npm_config_fund": "false", "npm_config_audit": "false",
		// The names of Netlify, Cloudflare Pages, Vercel and GitHub. Those that
		// name the platform itself, as NETLIFY does, are not set: adapters of
		// frameworks would build for it.
		"COMMIT_REF": c.ID, "CF_PAGES_COMMIT_SHA": c.ID, "VERCEL_GIT_COMMIT_SHA": c.ID, "GITHUB_SHA": c.ID,
		"BRANCH": c.Branch, "CF_PAGES_BRANCH": c.Branch, "VERCEL_GIT_COMMIT_REF": c.Branch, "GITHUB_REF_NAME": c.Branch,
		"URL": o.URL, "CF_PAGES_URL": o.URL, "DEPLOY_ID": o.Deployment,
	}
	maps.DeleteFunc(env, func(_, value string) bool { return value == "" })
	maps.Copy(env, machine)
	maps.Copy(env, p.Environment)
	maps.Copy(env, variables)
	maps.Copy(env, map[string]string{
		"TROY_BUILD": o.Deployment, "TROY_DEPLOYMENT": o.Deployment, "TROY_COMMIT": c.ID, "TROY_BRANCH": c.Branch, "TROY_URL": o.URL,
	})
	return env
}

// Ignored says, in a sentence for the log, which of the repository's and the
// pipeline's variables have no effect because Troy sets them, or nothing. A
// pipeline may have one from before its name was reserved.
func (p Plan) Ignored(variables map[string]string) string {
	var names []string
	for _, name := range troy.BuildVariables() {
		_, repository := p.Environment[name]
		if _, pipeline := variables[name]; repository || pipeline {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("Troy sets %s itself; the values that the repository or the pipeline has for them are ignored.", strings.Join(names, ", "))
}

// ForInstall is the environment of the install phase: package managers leave
// out the devDependencies that build the site if NODE_ENV is production.
func ForInstall(env map[string]string) map[string]string {
	env = maps.Clone(env)
	delete(env, "NODE_ENV")
	return env
}
