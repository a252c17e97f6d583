package rules

import (
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxHeaderRules is the maximum number of header rules; Cloudflare's is
	// maxHeaderRulesCloudflare.
	maxHeaderRules           = 10_000
	maxHeaderRulesCloudflare = 100
	// maxHeaderOps is the maximum number of headers of one rule.
	maxHeaderOps = 64
	// maxValue is the maximum length of a header's value in bytes.
	maxValue = 8 << 10
)

// refusedHeaders are names that belong to the connection or describe the body
// that Troy sends.
var refusedHeaders = strings.Fields(`
	Accept-Ranges Age Allow Alt-Svc Connection Content-Encoding Content-Length Content-Range Date Etag Host Keep-Alive
	Last-Modified Location Proxy-Authenticate Proxy-Connection Server Te Trailer Trailers Transfer-Encoding Upgrade
	Www-Authenticate X-Troy-Deployment`)

// headersFile parses _headers.
func (c *compiler) headersFile(file int, content string) {
	most, cloudflare := maxLine, c.report.Dialect == Cloudflare
	grammar := netlifyHeaders
	if cloudflare {
		most, grammar = maxLineCloudflare, cloudflarePatterns
	}
	var current *HeaderRule
	skip, from := false, "" // the path was refused, and so are its headers
	c.lines(file, content, most, func(l line) {
		if l.broken && !isBasicAuth(l.text) {
			if isTarget(l.text) {
				c.addHeaders(current, cloudflare)
				current, skip, from = nil, true, l.text
			}
			return
		}
		if isTarget(l.text) {
			c.addHeaders(current, cloudflare)
			where, err := grammar.where(l.text)
			current, skip, from = &HeaderRule{Where: where, at: l.at, from: l.text}, err != nil, l.text
			if err != nil {
				current = nil
				c.error(l.at, CodePattern, "the path %q: %s", clip(l.text), err)
			}
			return
		}
		if skip {
			if isBasicAuth(l.text) {
				// The path is unclear, so everything that it could mean is refused.
				c.deny(HeaderRule{Where: Where{Pattern: []Part{{Text: literalStart(from)}, {Any: "splat"}}}, Deny: denyBasicAuth, at: l.at, from: from})
				c.error(l.at, CodePassword, "Basic-Auth protects a path that is not valid, so requests for paths that begin with %q are refused with status 403", clip(literalStart(from)))
			}
			return
		}
		if l.broken {
			l.text = "Basic-Auth: ?"
		}
		name, value, colon := strings.Cut(l.text, ":")
		unset := strings.HasPrefix(l.text, "! ")
		switch {
		case current == nil:
			c.error(l.at, CodeSyntax, "expected a path, such as /*, before the first header")
		case unset && !colon:
			c.addOp(current, l.at, opUnset, strings.TrimSpace(l.text[2:]), "", cloudflare)
		case !colon:
			current.refused = true
			c.error(l.at, CodeSyntax, "expected a header (name: value), or a path that begins with /")
		case strings.TrimSpace(name) == "":
			current.refused = true
			c.error(l.at, CodeSyntax, "the header's name is missing")
		case strings.TrimSpace(value) == "":
			current.refused = true
			c.error(l.at, CodeSyntax, "the header's value is missing")
		default:
			c.addOp(current, l.at, "", strings.TrimSpace(name), strings.TrimSpace(value), cloudflare)
		}
	})
	c.addHeaders(current, cloudflare)
}

// addOp checks a header and adds it to the rule. op "" means that the value is
// set, or added if the rule has the header already.
func (c *compiler) addOp(r *HeaderRule, at position, op, name, value string, cloudflare bool) {
	if isBasicAuth(name) {
		c.basicAuth(r, at, value)
		return
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case !isToken(name):
		r.refused = true
		c.error(at, CodeHeader, "the name %q is not a header's name", clip(name))
		return
	case slices.Contains(refusedHeaders, canonical):
		r.refused = true
		c.error(at, CodeHeader, "the header %s can't be set: Troy or the connection decides it", canonical)
		return
	case len(r.Headers) >= maxHeaderOps:
		c.error(at, CodeLimit, "the path has more than %d headers, so %s is ignored", maxHeaderOps, canonical)
		return
	}
	if op == opUnset {
		r.Headers = append(r.Headers, HeaderOp{Op: opUnset, Name: canonical})
		return
	}
	if !cloudflare {
		value = commas(value)
	}
	if what := badValue(value); what != "" {
		r.refused = true
		c.error(at, CodeHeader, "the value of %s %s", canonical, what)
		return
	}
	op = opSet
	// Cloudflare joins the values of all rules, Netlify those of one rule.
	joins := cloudflare || canonical == "Vary"
	if joins || slices.ContainsFunc(r.Headers, func(o HeaderOp) bool { return o.Name == canonical && o.Op != opUnset }) {
		op = opJoin
	}
	parts := text(value)
	if cloudflare {
		parts, _ = targetParts(value, captured(r.Pattern))
	}
	r.Headers = append(r.Headers, HeaderOp{Op: op, Name: canonical, Value: parts})
}

// literalStart returns the part of a path before its first special or invalid
// character, or "/".
func literalStart(from string) string {
	special := func(r rune) bool { return r == utf8.RuneError || isControl(r) || strings.ContainsRune(":*#%", r) }
	if i := strings.IndexFunc(from, special); i >= 0 {
		from = from[:i]
	}
	if !strings.HasPrefix(from, "/") {
		return "/"
	}
	return from
}

// commas separates the items of a list by a comma and a space, as Netlify does.
func commas(value string) string {
	items := strings.Split(value, ",")
	for i, item := range items {
		if i > 0 {
			item = strings.TrimLeft(item, " \t\r\n")
		}
		if i < len(items)-1 {
			item = strings.TrimRight(item, " \t\r\n")
		}
		items[i] = item
	}
	return strings.TrimSpace(strings.Join(items, ", "))
}

// badValue says what is wrong with a header's value, or returns "".
func badValue(value string) string {
	switch {
	case value == "":
		return "is missing"
	case len(value) > maxValue:
		return "is too long; expected at most 8192 bytes"
	case strings.ContainsAny(value, "\r\n"):
		return "contains a line end"
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "contains a control character"
	case strings.ContainsFunc(value, func(r rune) bool { return r > '~' }) || !utf8.ValidString(value):
		return "contains a character that is not ASCII"
	}
	return ""
}

// isToken reports whether s is a token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

// addHeaders adds a rule within the limits.
func (c *compiler) addHeaders(r *HeaderRule, cloudflare bool) {
	switch {
	case r == nil:
		return
	case r.auth.line > 0:
		c.protect(r)
		return
	case len(r.Headers) == 0 && r.refused:
		return
	case len(r.Headers) == 0 && len(r.Origins) == 0:
		c.warn(r.at, CodeSyntax, "the path %q has no headers", clip(r.from))
		return
	}
	most := maxHeaderRules
	if cloudflare {
		most = maxHeaderRulesCloudflare
	}
	if c.headers++; c.headers > most {
		c.error(r.at, CodeLimit, "the site has more than %d paths with headers, so this one is ignored", most)
		return
	}
	if r.Pattern != nil {
		if c.dynamicHeaders++; c.dynamicHeaders > maxDynamic {
			c.error(r.at, CodeLimit, "the site has more than %d patterns with headers, so this one is ignored", maxDynamic)
			return
		}
	}
	c.rules.Headers = append(c.rules.Headers, *r)
}

// deny adds a rule that keeps a path from being public. No limit can drop it:
// beyond the limit the whole site is refused.
func (c *compiler) deny(r HeaderRule) {
	r.Headers, r.Origins, r.Users = nil, nil, nil
	if c.mayProtect(r.at) {
		c.rules.Headers = append(c.rules.Headers, r)
	}
}

// mayProtect counts a protected path. Beyond the limit it refuses the whole
// site, and returns false.
func (c *compiler) mayProtect(at position) bool {
	if c.protected++; c.protected == maxDynamic+1 {
		c.error(at, CodeLimit, "the site has more than %d protected paths, so the whole site is refused with status 403", maxDynamic)
		c.rules.Headers = append(c.rules.Headers, HeaderRule{Where: Where{Pattern: []Part{{Rest: "splat"}}}, Deny: "limit"})
	}
	return c.protected <= maxDynamic
}
