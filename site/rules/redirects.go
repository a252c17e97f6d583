package rules

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// line is a line of a file, without surrounding white space.
type line struct {
	at   position
	text string
	// broken means that the line can't be read. text is then its start.
	broken bool
}

const (
	// MaxFile is the maximum size of _redirects and of _headers in bytes.
	MaxFile = 8 << 20
	// maxLine is the maximum length of a line in bytes; Cloudflare's is
	// maxLineCloudflare.
	maxLine           = 16 << 10
	maxLineCloudflare = 2000
	// brokenStart is how many bytes of an unreadable line are kept.
	brokenStart = 256
	// maxTokens is the maximum number of words of a line.
	maxTokens = 64
)

// lines calls f with each line that is neither empty nor a comment. It reports
// those that are too long or not valid UTF-8, and calls f with them too, because
// they may protect something.
func (c *compiler) lines(file int, content string, most int, f func(line)) {
	if len(content) > MaxFile {
		c.error(position{file, 0}, CodeLimit, "the file has more than %d bytes, so all of it is ignored", MaxFile)
		return
	}
	content = strings.TrimPrefix(content, "\ufeff")
	for n := 1; content != ""; n++ {
		var s string
		s, content, _ = strings.Cut(content, "\n")
		s = strings.TrimSpace(s)
		at := position{file, n}
		switch {
		case s == "" || s[0] == '#':
		case len(s) > most:
			c.error(at, CodeLimit, "the line has %d bytes; expected at most %d", len(s), most)
			f(line{at, s[:brokenStart], true})
		case !utf8.ValidString(s):
			c.error(at, CodeSyntax, "the line is not valid UTF-8")
			f(line{at, s[:min(len(s), brokenStart)], true})
		default:
			f(line{at, s, false})
		}
	}
}

// source is a redirect as it is written.
type source struct {
	at       position
	from, to string
	noTo     bool // to is not given
	status   string
	force    bool
	query    [][2]string
	// conditions are the names of conditions: Country, Role, …
	conditions []string
}

// redirectsFile parses _redirects.
func (c *compiler) redirectsFile(file int, content string) {
	if c.report.Dialect == Cloudflare {
		c.lines(file, content, maxLineCloudflare, c.cloudflareRedirect)
		return
	}
	c.lines(file, content, maxLine, func(l line) {
		if l.broken {
			return
		}
		s, err := netlifyLine(l.text)
		if err != nil {
			c.error(l.at, CodeSyntax, "%s", err)
			return
		}
		s.at = l.at
		c.netlifyRedirect(s)
	})
}

// words splits a line at white space and drops a comment at its end.
func words(s string) []string {
	all := strings.Fields(s)
	for i, w := range all {
		if w[0] == '#' {
			return all[:i]
		}
	}
	return all
}

// netlifyLine parses: from [name=value…] [to] [status[!]] [condition=value…].
func netlifyLine(s string) (source, error) {
	all := words(s)
	switch {
	case len(all) > maxTokens:
		return source{}, errors.New("the line has too many words")
	case !isTarget(all[0]):
		return source{}, fmt.Errorf("the line begins with %q; expected a path that begins with /, or a URL", clip(all[0]))
	case len(all) < 2:
		return source{}, errors.New("the target is missing; expected: from to [status]")
	}
	out := source{from: all[0]}
	all = all[1:]
	if isStatus(all[0]) {
		out.noTo = true
	} else {
		i := 0
		for i < len(all) && !isTarget(all[i]) {
			i++
		}
		if i == len(all) {
			return source{}, errors.New("the target must begin with /, http:// or https://")
		}
		for _, pair := range all[:i] {
			name, value, ok := strings.Cut(pair, "=")
			if !ok || name == "" {
				return source{}, errors.New("expected a query parameter (name=value) or a target between the path and the status")
			}
			out.query = append(out.query, [2]string{name, value})
		}
		out.to, all = all[i], all[i+1:]
	}
	if len(all) > 0 {
		out.status, out.force = strings.CutSuffix(all[0], "!")
		for _, pair := range all[1:] {
			name, _, _ := strings.Cut(pair, "=")
			out.conditions = append(out.conditions, name)
		}
		if name, _, ok := strings.Cut(all[0], "="); ok && isCondition(name) {
			out.status, out.force = "", false
			out.conditions = append(out.conditions, name)
		}
	}
	return out, nil
}

func isStatus(s string) bool {
	s = strings.TrimSuffix(s, "!")
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func isTarget(s string) bool {
	_, absolute := cutScheme(s)
	return absolute || s[0] == '/'
}

func isCondition(name string) bool {
	switch strings.ToLower(name) {
	case "country", "language", "role", "cookie", "sign", "signed", "domain":
		return true
	}
	return false
}

// netlifyRedirect checks and adds a redirect with Netlify's meaning.
func (c *compiler) netlifyRedirect(s source) {
	status := 301
	if s.status != "" {
		status = statusOf(s.status)
	}
	switch status {
	case 200, 301, 302, 303, 307, 308, 404, 410:
	default:
		c.error(s.at, CodeStatus, "the status is %q; expected 200, 301, 302, 303, 307, 308, 404 or 410", clip(s.status))
		return
	}
	if s.noTo {
		stem, ok := strings.CutSuffix(s.from, "/*")
		if !ok || status != 200 {
			c.error(s.at, CodeTarget, "the target is missing; only a rule from a path that ends in /* with status 200 can omit it")
			return
		}
		s.to = stem + "/:splat"
	}
	if strings.HasPrefix(s.from, "/.netlify") {
		c.error(s.at, CodeUnsupported, "paths below /.netlify belong to services of Netlify")
		return
	}
	where, err := netlifyRedirects.where(s.from)
	if err != nil {
		c.error(s.at, CodePattern, "the path %q: %s", clip(s.from), err)
		return
	}
	if len(s.conditions) > 0 {
		c.refuseConditions(s, where, status)
		return
	}
	c.addRedirect(Redirect{Where: where, Status: status, Force: s.force, at: s.at, from: s.from}, s.to, s.query)
}

// refuseConditions reports conditions. A rule that lets only some visitors see
// a path keeps the path from being public.
func (c *compiler) refuseConditions(s source, where Where, status int) {
	gate := false
	for _, name := range s.conditions {
		gate = gate || strings.EqualFold(name, "role")
	}
	if gate && status == 200 && (s.to == s.from || strings.TrimSuffix(s.to, ":splat") == strings.TrimSuffix(s.from, "*")) {
		c.error(s.at, CodePassword, "the condition %s is not supported; because it protects %q, requests for it are refused with status 403", clip(s.conditions[0]), clip(s.from))
		c.deny(HeaderRule{Where: where, Deny: "role", at: s.at, from: s.from})
		return
	}
	c.error(s.at, CodeUnsupported, "the condition %s is not supported, so the rule is ignored", clip(s.conditions[0]))
}

func statusOf(s string) int {
	if !isStatus(s) || len(s) != 3 {
		return 0
	}
	return int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')
}

// cloudflareRedirect parses: from to [status]. Its rules count even if a file
// has the path.
func (c *compiler) cloudflareRedirect(l line) {
	if l.broken {
		return
	}
	all := words(l.text)
	if len(all) != 2 && len(all) != 3 {
		c.error(l.at, CodeSyntax, "the line has %d words; expected 2 or 3: from to [status]", len(all))
		return
	}
	from, to, status := all[0], all[1], 302
	if _, absolute := cutScheme(from); absolute {
		c.error(l.at, CodePattern, "the path %q is a URL; expected a path", clip(from))
		return
	}
	if from[0] != '/' {
		from = "/" + from
	}
	from, _, _ = strings.Cut(from, "#")
	from, _, _ = strings.Cut(from, "?")
	if len(all) == 3 {
		status = statusOf(all[2])
	}
	switch status {
	case 200, 301, 302, 303, 307, 308:
	default:
		c.error(l.at, CodeStatus, "the status is %q; expected 200, 301, 302, 303, 307 or 308", clip(all[2]))
		return
	}
	if strings.HasPrefix(to, "http://") {
		c.error(l.at, CodeTarget, "the target is a URL with http://; expected a path or https://")
		return
	}
	if index := strings.HasSuffix(to, "/index") || strings.HasSuffix(to, "/index.html"); index && to[0] == '/' && (strings.HasSuffix(from, "/*") || strings.HasSuffix(from, "/")) {
		c.error(l.at, CodeLoop, "the rule would loop: %s is the page of its own folder; for a single-page application, set spa = true in [site] of troy.toml", clip(to))
		return
	}
	where, err := cloudflarePatterns.where(from)
	if err != nil {
		c.error(l.at, CodePattern, "the path %q: %s", clip(from), err)
		return
	}
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	if c.seen[from] {
		c.error(l.at, CodeShadowed, "an earlier rule has the path %q, so this one is ignored", clip(from))
		return
	}
	if c.addRedirect(Redirect{Where: where, Status: status, Force: true, at: l.at, from: from}, to, nil) {
		c.seen[from] = true
	}
}

// addRedirect checks the target and adds the rule within the limits. It reports
// whether it did.
func (c *compiler) addRedirect(r Redirect, to string, query [][2]string) bool {
	names := captured(r.Pattern)
	for _, pair := range query {
		q := Query{Name: pair[0], Value: pair[1]}
		if name := strings.TrimPrefix(q.Value, ":"); name != q.Value && placeholderName(name) == name && name != "" {
			q.Value, q.As = "", name
			names = append(names, name)
		}
		r.Query = append(r.Query, q)
	}
	parts, unknown, err := target(to, r.Status, names)
	if err != nil {
		code := CodeTarget
		if _, ok := errors.AsType[errUnsupported](err); ok {
			code = CodeUnsupported
		}
		c.error(r.at, code, "the target %q: %s", clip(to), err)
		return false
	}
	r.To = parts
	if c.loops(&r) {
		c.error(r.at, CodeLoop, "the target is the path itself, so the rule is ignored; [site] trailing_slash decides about slashes at the end")
		return false
	}
	for _, name := range unknown {
		c.warn(r.at, CodePlaceholder, "the target uses :%s, which the path does not have, so it stays as it is", clip(name))
	}
	r.star = strings.Contains(to, "*") && contains(names, "splat")
	if r.star {
		c.warn(r.at, CodePlaceholder, "the target has *, which stays as it is; write :splat for what * matched")
	}
	count, most, kind := &c.statics, c.limits.statics, "static rules"
	if r.Pattern == nil {
		if c.ofPath == nil {
			c.ofPath = map[string]int{}
		}
		if c.ofPath[r.Path]++; c.ofPath[r.Path] > maxOfPath {
			c.error(r.at, CodeLimit, "the path %q has more than %d rules, so this one is ignored", clip(r.from), maxOfPath)
			return false
		}
	} else {
		count, most, kind = &c.dynamics, c.limits.dynamics, "rules with * or :placeholders"
	}
	if *count++; *count > most {
		c.error(r.at, CodeLimit, "the site has more than %d %s, so this one is ignored", most, kind)
		return false
	}
	c.rules.Redirects = append(c.rules.Redirects, r)
	return true
}

// loops reports whether a redirect leads to its own path for every request.
func (c *compiler) loops(r *Redirect) bool {
	if !redirects(r.Status) || len(r.Query) > 0 || r.Host != "" && r.Pattern != nil {
		return false
	}
	if to, ok := static(r.To); ok && r.Pattern == nil {
		to, _, query := cutTarget(to)
		if rest, absolute := cutScheme(to); absolute {
			host, path, _ := strings.Cut(rest, "/")
			return r.Host != "" && strings.EqualFold(host, r.Host) && samePath("/"+path, r.Path) && query == ""
		}
		return samePath(to, r.Path) && query == ""
	}
	return r.Pattern != nil && samePattern(r.Pattern, r.To)
}

// Matches reports whether a rule without a pattern has the path.
func (w *Where) Matches(path string) bool {
	return path == w.Path || w.Slash && len(path) == len(w.Path)+1 && path[len(w.Path)] == '/' && path[:len(w.Path)] == w.Path
}

// samePattern reports whether a target repeats the pattern.
func samePattern(pattern, to []Part) bool {
	spell := func(parts []Part) string {
		var b strings.Builder
		for _, p := range parts {
			switch {
			case p.Rest != "":
				b.WriteString("/:" + p.Rest)
			case p.Text != "":
				b.WriteString(p.Text)
			default:
				b.WriteString(":" + p.One + p.Any + p.Value)
			}
		}
		return strings.TrimSuffix(b.String(), "/")
	}
	return spell(pattern) == spell(to)
}

// cutTarget splits a target into its path, fragment and query, without # and ?.
func cutTarget(to string) (path, fragment, query string) {
	path, fragment, _ = strings.Cut(to, "#")
	path, query, _ = strings.Cut(path, "?")
	return path, fragment, query
}

func captured(parts []Part) (names []string) {
	for _, p := range parts {
		if name := p.One + p.Any + p.Rest; name != "" && name != anonymous {
			names = append(names, name)
		}
	}
	return names
}
