package rules

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/troy-iaas/troy/site"
)

const immutable = "public, max-age=31536000, immutable"

// settings reads [site] of troy.toml.
func (c *compiler) settings(file int, d document) {
	if dialect, ok := d.content["rules"]; ok {
		c.setDialect(position{file, d.line("rules", 0)}, dialect)
	}
	value, ok := d.content["site"]
	if !ok {
		return
	}
	t, ok := value.(map[string]any)
	if !ok {
		c.error(position{file, d.line("site", 0)}, CodeSetting, "site must be a table: [site]")
		return
	}
	for _, key := range slices.Sorted(maps.Keys(t)) {
		c.setting(position{file, d.entry("site", key)}, key, t[key])
	}
}

func (c *compiler) setting(at position, key string, value any) {
	s := &c.rules.Site
	switch key {
	case "rules":
		c.setDialect(at, value)
	case "strict":
		c.report.Strict = c.flag(at, key, value) || c.report.Strict
	case "trailing_slash":
		word, _ := value.(string)
		policy, err := site.ParseTrailingSlash(word)
		if err != nil || word == "" {
			c.error(at, CodeSetting, "trailing_slash must be \"auto\", \"always\" or \"never\"")
			return
		}
		c.slash = policy
	case "spa":
		s.SPA, c.spaAt = c.flag(at, key, value), at
	case "clean_urls":
		if v, ok := value.(bool); ok {
			s.CleanURLs = &v
			return
		}
		c.flag(at, key, value)
	case "noindex":
		if c.flag(at, key, value) {
			c.siteHeader(at, "**", HeaderOp{Op: opSet, Name: "X-Robots-Tag", Value: text("noindex")}, nil)
		}
	case "not_found":
		name, ok := value.(string)
		name = strings.TrimPrefix(name, "/")
		if !ok || site.CheckPath(name) != nil || site.Private(name) {
			c.error(at, CodeSetting, "not_found must be the path of a file, such as \"errors/404.html\"")
			return
		}
		s.NotFound, c.notFoundAt = name, at
	case "immutable":
		for _, glob := range c.texts(at, key, value) {
			c.siteHeader(at, glob, HeaderOp{Op: opSet, Name: "Cache-Control", Value: text(immutable)}, nil)
		}
	case "cache":
		c.perPattern(at, key, value, func(glob string, values []string) {
			if what := badValue(values[0]); what != "" || len(values) > 1 {
				c.error(at, CodeSetting, "cache: the value for %q must be one Cache-Control value", clip(glob))
				return
			}
			c.siteHeader(at, glob, HeaderOp{Op: opSet, Name: "Cache-Control", Value: text(values[0])}, nil)
		})
	case "cors":
		c.perPattern(at, key, value, func(glob string, origins []string) {
			for _, o := range origins {
				if u, err := url.Parse(o); o != "*" && (err != nil || u.Host == "" || u.Scheme+"://"+u.Host != o) {
					c.error(at, CodeSetting, "cors: %q is not an origin; expected \"*\" or an origin such as \"https://example.com\"", clip(o))
					return
				}
			}
			c.siteHeader(at, glob, HeaderOp{}, origins)
		})
	default:
		c.error(at, CodeSetting, "%s is not a setting; expected one of cache, clean_urls, cors, immutable, noindex, not_found, rules, spa, strict, trailing_slash", clip(key))
	}
}

func (c *compiler) setDialect(at position, value any) {
	switch word, _ := value.(string); word {
	case Netlify, Cloudflare:
		c.dialect = word
	default:
		c.error(at, CodeSetting, "rules must be \"netlify\" or \"cloudflare\"")
	}
}

func (c *compiler) flag(at position, key string, value any) bool {
	v, ok := value.(bool)
	if !ok {
		c.error(at, CodeSetting, "%s must be true or false", key)
	}
	return v
}

// texts reads a text or an array of texts.
func (c *compiler) texts(at position, key string, value any) []string {
	if s, ok := value.(string); ok {
		return []string{s}
	}
	items, ok := value.([]any)
	all := make([]string, 0, len(items))
	for _, item := range items {
		s, text := item.(string)
		ok = ok && text
		all = append(all, s)
	}
	if !ok || len(all) == 0 {
		c.error(at, CodeSetting, "%s must be text or an array of texts", key)
		return nil
	}
	return all
}

// perPattern reads a table from patterns to texts.
func (c *compiler) perPattern(at position, key string, value any, f func(glob string, values []string)) {
	t, ok := value.(map[string]any)
	if !ok {
		c.error(at, CodeSetting, "%s must be a table from patterns to values, such as \"downloads/**\" = \"…\"", key)
		return
	}
	for _, glob := range slices.Sorted(maps.Keys(t)) {
		if values := c.texts(at, key, t[glob]); values != nil {
			f(glob, values)
		}
	}
}

// siteHeader adds a header for the paths that a glob matches: ** stands for any
// characters, * for one or more except a slash.
func (c *compiler) siteHeader(at position, glob string, op HeaderOp, origins []string) {
	globs := []string{glob}
	if rest, ok := strings.CutPrefix(strings.TrimPrefix(glob, "/"), "**/"); ok {
		globs = append(globs, rest)
	}
	for _, g := range globs {
		w, err := globWhere("/" + strings.TrimPrefix(g, "/"))
		if err != nil {
			c.error(at, CodeSetting, "the pattern %q: %s", clip(glob), err)
			return
		}
		r := &HeaderRule{Where: w, Origins: origins, at: at, from: glob}
		if op.Op != "" {
			r.Headers = []HeaderOp{op}
		}
		c.addHeaders(r, false)
	}
}

func globWhere(glob string) (Where, error) {
	if what := badValue(glob); what != "" {
		return Where{}, errUnsupported("it " + what)
	}
	if !strings.Contains(glob, "*") {
		return Where{Path: glob}, nil
	}
	var parts []Part
	for i, piece := range strings.Split(glob, "**") {
		if i > 0 {
			parts = append(parts, Part{Any: "splat"})
		}
		for j, t := range strings.Split(piece, "*") {
			if j > 0 {
				parts = append(parts, Part{One: anonymous})
			}
			parts = append(parts, text(t)...)
		}
	}
	w := Where{Pattern: parts}
	_, err := newPattern(parts, false)
	return w, err
}
