package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/troy-iaas/troy/site"
)

// maxHops is how many redirects the linter follows.
const maxHops = 10

// pathTree is a Tree of paths, without 404.html files.
type pathTree struct {
	paths site.Paths
	slash site.TrailingSlash
}

func (t pathTree) Resolve(path string) site.Answer { return t.slash.Resolve(t.paths, path) }

func (t pathTree) Missing(string) (string, bool) { return "", false }

// lint compares the rules to each other and to the tree's files.
func (c *compiler) lint(paths site.Paths, slash site.TrailingSlash) {
	m, err := New(c.rules)
	if err != nil {
		// The parsers accept nothing that New refuses.
		c.error(position{}, CodeSyntax, "%s", err)
		return
	}
	tree := pathTree{paths, slash}
	for i := range c.rules.Redirects {
		c.lintRedirect(m, tree, i)
	}
	s := c.rules.Site
	if s.NotFound != "" && !has(paths, s.NotFound) {
		c.warn(c.notFoundAt, CodeTargetMissing, "the site has no file %s", clip(s.NotFound))
	}
	if s.SPA && !has(paths, "index.html") {
		c.warn(position{}, CodeTargetMissing, "spa is set, but the site has no index.html")
	}
	c.lintHeaders()
}

func has(paths site.Paths, path string) bool {
	_, ok := paths.Find(path, "")
	return ok
}

// lintHeaders reports patterns for hosts of Cloudflare's previews.
func (c *compiler) lintHeaders() {
	for i := range c.rules.Headers {
		if h := &c.rules.Headers[i]; strings.HasSuffix(h.Host, ".pages.dev") || strings.HasSuffix(h.Host, ".netlify.app") {
			c.warn(h.at, CodeNeverMatches, "no request has the host %s", clip(h.Host))
		}
	}
}

func (c *compiler) lintRedirect(m *Matcher, tree pathTree, i int) {
	r := &c.rules.Redirects[i]
	if strings.HasSuffix(r.Host, ".pages.dev") || strings.HasSuffix(r.Host, ".netlify.app") {
		c.warn(r.at, CodeNeverMatches, "no request has the host %s", clip(r.Host))
		return
	}
	if by := m.shadow(i); by >= 0 {
		c.warn(r.at, CodeShadowed, "the rule never counts, because the rule of %s matches first", c.where(c.rules.Redirects[by].at, r.at))
		return
	}
	if r.Pattern == nil && !r.Force {
		if a := m.file(tree, r.Path); a.Path != "" {
			c.warn(r.at, CodeShadowedFile, "the file %s answers instead%s", clip(a.Path), c.overriding(r))
			return
		}
	}
	if to, ok := static(r.To); ok && !r.star {
		c.lintTarget(m, tree, r, to)
	} else if !ok {
		c.lintGrowth(m, tree, r)
	}
}

// overriding says how a rule of this file overrides a file of the site. A
// rewrite of another platform's JSON can't, there as here.
func (c *compiler) overriding(r *Redirect) string {
	switch name := c.files[r.at.file]; {
	case slices.Contains(jsonNames, name):
		return ""
	case strings.HasSuffix(name, ".toml"):
		return "; set force = true to override it"
	}
	return fmt.Sprintf("; write %d! to override it", r.Status)
}

// shadow returns an earlier rule that matches whatever rule i matches, or -1.
func (m *Matcher) shadow(i int) int {
	r := &m.rules.Redirects[i]
	if len(r.Query) > 0 || r.Host != "" {
		return -1
	}
	by := -1
	for _, sample := range samples(r) {
		s := search{m: m, r: Request{Path: sample}}
		first := s.first()
		if int(first) >= i {
			return -1
		}
		by = int(first)
	}
	return by
}

// samples returns paths that stand for all that a rule matches: their
// placeholders have values that no rule mentions.
func samples(r *Redirect) []string {
	if r.Pattern == nil {
		return []string{r.Path}
	}
	const unlikely = "\u2063" // an invisible separator
	all := []string{""}
	for _, p := range r.Pattern {
		endings := []string{p.Text}
		switch {
		case p.One != "":
			endings = []string{unlikely}
		case p.Any != "":
			endings = []string{"", unlikely, unlikely + "/" + unlikely}
		case p.Rest != "":
			endings = []string{"", "/" + unlikely, "/" + unlikely + "/" + unlikely}
		}
		var next []string
		for _, start := range all {
			for _, end := range endings {
				next = append(next, start+end)
			}
		}
		all = next
	}
	for i := range all {
		if all[i] == "" {
			all[i] = "/"
		}
	}
	return all
}

// lintTarget follows a target inside the site.
func (c *compiler) lintTarget(m *Matcher, tree pathTree, r *Redirect, to string) {
	if isAbsolute(to) {
		return
	}
	if !redirects(r.Status) {
		if a := tree.Resolve(to); a.Path == "" {
			c.warn(r.at, CodeTargetMissing, "the site has no file for %q", clip(to))
		}
		return
	}
	path, query := targetPath(to)
	chain := "" // reported unless the chain is a loop
	defer func() {
		if chain != "" {
			c.warn(r.at, CodeChain, "%s", chain)
		}
	}()
	seen := map[string]bool{}
	if r.Pattern == nil {
		seen[r.Path] = true
	}
	for hop := 1; ; hop++ {
		if seen[path] || hop > maxHops {
			chain = ""
			c.error(r.at, CodeLoop, "the redirect never ends: %q leads back to it", clip(to))
			return
		}
		seen[path] = true
		d := m.Decide(tree, Request{Path: path, Query: query, HTML: true})
		switch {
		case d.Answer.Redirect:
			if hop == 1 {
				chain = fmt.Sprintf("%q redirects again; write %s", clip(to), clip(d.Answer.Address()))
			}
			path = unescape(d.Answer.Address())
		case redirects(d.Status):
			if hop == 1 {
				chain = fmt.Sprintf("%q redirects again, to %q", clip(to), clip(d.Location))
			}
			if isAbsolute(d.Location) {
				return
			}
			path, query = targetPath(d.Location)
		case d.Status == 404:
			c.warn(r.at, CodeTargetMissing, "the site has no page at %q", clip(to))
			return
		default:
			return
		}
	}
}

// lintGrowth reports a redirect whose target it matches again, as /* does with
// /en/:splat. Only a file ends it.
func (c *compiler) lintGrowth(m *Matcher, tree pathTree, r *Redirect) {
	if r.Pattern == nil || !redirects(r.Status) || len(r.Query) > 0 || r.Host != "" {
		return
	}
	all := samples(r)
	path, query := all[len(all)-1], ""
	for range maxHops {
		d := m.Decide(tree, Request{Path: path, Query: query, HTML: true})
		if !redirects(d.Status) || d.Location == "" || isAbsolute(d.Location) {
			return
		}
		path, query = targetPath(d.Location)
	}
	c.warn(r.at, CodeLoop, "the redirect never ends for paths without a file, because it matches its own target")
}

func targetPath(to string) (path, query string) {
	path, _, query = cutTarget(to)
	return unescape(path), query
}
