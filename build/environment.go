package build

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/troy-iaas/troy"
)

// Origin is what a build can know about itself.
type Origin struct {
	Deployment string // the deployment's id
	URL        string // the site's URL
	Commit     Commit
}

// Environment returns the environment of a build's processes. machine holds the
// values that depend on the machine, variables are the pipeline's. In order of
// precedence: troy.BuildVariables, the pipeline's variables, the repository's,
// the machine's, and the names that other platforms use.
func (o Origin) Environment(p Plan, machine, variables map[string]string) map[string]string {
	c := o.Commit
	env := map[string]string{
		"CI": "true", "LANG": "C.UTF-8",
		// Don't print advice on newer versions in builds.
		"npm_config_update_notifier": "false", "npm_config_fund": "false", "npm_config_audit": "false",
		// The names of Netlify, Cloudflare Pages, Vercel and GitHub. Names of
		// the platform itself, such as NETLIFY or VERCEL_ENV, are not set,
		// because adapters of frameworks would build for that platform.
		"COMMIT_REF": c.ID, "CF_PAGES_COMMIT_SHA": c.ID, "VERCEL_GIT_COMMIT_SHA": c.ID, "GITHUB_SHA": c.ID,
		"BRANCH": c.Branch, "CF_PAGES_BRANCH": c.Branch, "VERCEL_GIT_COMMIT_REF": c.Branch, "GITHUB_REF_NAME": c.Branch,
		"HEAD": c.Branch, "CONTEXT": NetlifyContext(variables), "REVIEW_ID": variables["TROY_PULL_REQUEST"],
		"URL": o.URL, "DEPLOY_URL": o.URL, "DEPLOY_PRIME_URL": o.URL, "CF_PAGES_URL": o.URL, "DEPLOY_ID": o.Deployment,
	}
	if variables["TROY_CONTEXT"] != "" {
		env["PULL_REQUEST"] = strconv.FormatBool(variables["TROY_PULL_REQUEST"] != "")
	}
	if _, host, found := strings.Cut(o.URL, "://"); found {
		env["VERCEL_URL"] = host // without a scheme, as on Vercel
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

// NetlifyContext returns the context of netlify.toml that a build has by its
// variables TROY_CONTEXT and TROY_PULL_REQUEST, or "" without them.
func NetlifyContext(variables map[string]string) string {
	switch {
	case variables["TROY_CONTEXT"] == "":
		return ""
	case variables["TROY_CONTEXT"] == troy.ProductionContext:
		return "production"
	case variables["TROY_PULL_REQUEST"] != "":
		return "deploy-preview"
	}
	return "branch-deploy"
}

// Ignored returns a sentence for the log that lists the variables of the
// repository and the pipeline that have no effect because Troy sets them, or
// "". A pipeline may have set one before its name was reserved.
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
	return fmt.Sprintf("Troy sets %s; the values from the repository or the pipeline are ignored.", strings.Join(names, ", "))
}

// ForInstall returns the environment of the install phase. It lacks
// NODE_ENV=production, for which package managers leave out the devDependencies
// that build the site.
func ForInstall(env map[string]string) map[string]string {
	env = maps.Clone(env)
	delete(env, "NODE_ENV")
	return env
}
