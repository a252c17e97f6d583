package rules

import (
	"slices"

	"github.com/troy-iaas/troy/site"
)

// Input is what Compile reads.
type Input struct {
	// Redirects and Headers are the contents of the tree's _redirects and
	// _headers.
	Redirects, Headers string
	// Config are the configuration files of the repository.
	Config []ConfigFile
	// Paths are the tree's files, to which the linter compares the rules. Nil
	// skips the linter.
	Paths site.Paths
	// TrailingSlash is the pipeline's policy; troy.toml may override it.
	TrailingSlash site.TrailingSlash
	// Strict makes the report strict.
	Strict bool
	// Functions means that CloudFront's functions obey the rules. The linter
	// then reports those that they don't obey for a tree with Keys objects.
	Functions bool
	Keys      int
}

// Output is what Compile returns.
type Output struct {
	Rules  Rules
	Report Report
	// TrailingSlash is the policy of troy.toml, or "".
	TrailingSlash site.TrailingSlash
}

// maxDynamic is the maximum number of patterns, for redirects and for headers.
const maxDynamic = 1_000

// maxOfPath is the maximum number of redirects of one path, which differ in their
// hosts and queries. A look-up tries them in turn.
const maxOfPath = 1_000

// limits are the numbers of redirects that a dialect allows.
type limits struct{ statics, dynamics int }

type compiler struct {
	files   []string
	rules   Rules
	report  Report
	found   []found
	dialect string // of troy.toml
	slash   site.TrailingSlash
	limits  limits

	functions                                             bool // the rules are for CloudFront's functions
	statics, dynamics, headers, dynamicHeaders, protected int
	seen                                                  map[string]bool // paths of Cloudflare's rules
	ofPath                                                map[string]int  // redirects by path
	credentials                                           map[string]int  // indexes of pairs user:password
	hidden                                                map[string]bool // configuration files that have passwords
	notFoundAt, spaAt                                     position
}

// Compile compiles the rules. It never fails: a part that can't be used is a
// problem in the report. Redirects of _redirects come first, then those of
// troy.toml, netlify.toml, vercel.json and firebase.json. Headers of [site] come
// first, then those of _headers, and then those of the files in the opposite
// order; for Netlify's rules, the last one decides.
func Compile(in Input) Output {
	c := &compiler{
		files: []string{"_redirects", "_headers"}, limits: limits{100_000, maxDynamic}, functions: in.Functions,
		credentials: map[string]int{}, hidden: map[string]bool{},
	}
	c.report.Strict = in.Strict
	documents := map[string]document{}
	indexes := map[string]int{}
	wrangler := false
	for _, f := range in.Config {
		c.files = append(c.files, f.Name)
		file := len(c.files) - 1
		wrangler = wrangler || isWrangler(f.Name)
		d, err := parseConfig(f)
		if err != nil {
			c.error(position{file, 0}, CodeSyntax, "%s", err)
			continue
		}
		documents[f.Name], indexes[f.Name] = d, file
		for _, p := range d.problems {
			c.error(position{file, p.line}, CodeUnsupported, "%s", p.text)
		}
	}
	for _, name := range slices.Concat(wranglerNames, []string{"firebase.json", "vercel.json", "troy.toml"}) { // the last one decides
		c.settings(indexes[name], documents[name])
	}
	c.report.Dialect = Netlify
	if c.dialect == Cloudflare || c.dialect == "" && wrangler {
		c.report.Dialect, c.limits = Cloudflare, limits{2_000, 100}
	}
	c.redirectsFile(0, in.Redirects)
	c.limits = limits{100_000, maxDynamic}
	for _, name := range []string{"troy.toml", "netlify.toml", "vercel.json", "firebase.json"} {
		c.tables(indexes[name], documents[name], "redirects", c.tomlRedirect)
	}
	c.headersFile(1, in.Headers)
	for _, name := range []string{"firebase.json", "vercel.json", "netlify.toml", "troy.toml"} {
		c.tables(indexes[name], documents[name], "headers", c.tomlHeaders)
	}
	c.report.Redirects, c.report.Headers = len(c.rules.Redirects), len(c.rules.Headers)
	c.hide()
	slash := c.slash
	if slash == "" {
		slash = in.TrailingSlash
	}
	// First, because only some problems of a report are listed.
	if in.Functions && in.Paths != nil {
		c.lintFunctions(in.Paths, in.Keys)
	}
	if in.Paths != nil {
		c.lint(in.Paths, slash)
	}
	c.order()
	return Output{Rules: c.rules, Report: c.report, TrailingSlash: c.slash}
}
