package rules

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// The dialects.
const (
	Netlify    = "netlify"
	Cloudflare = "cloudflare"
)

// grammar is how a dialect writes the patterns of redirects or headers.
type grammar struct {
	// whole: a placeholder is a whole segment that begins with a colon.
	whole bool
	// rest: "/*" at the end also matches the path without it.
	rest bool
	// slash: the path may have one more slash at its end.
	slash bool
	// atEnd: * may only be the last character.
	atEnd bool
	// many: there may be several *.
	many bool
}

var (
	netlifyRedirects   = grammar{rest: true, slash: true, atEnd: true}
	netlifyHeaders     = grammar{whole: true, rest: true, slash: true, many: true}
	cloudflarePatterns = grammar{}
)

// where parses a path pattern, or a URL with one.
func (g grammar) where(from string) (Where, error) {
	host := ""
	if rest, ok := cutScheme(from); ok {
		host, from = rest, "/"
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			host, from = rest[:i], rest[i:]
		}
		if err := checkHost(host); err != nil {
			return Where{}, err
		}
		host = strings.ToLower(host)
	}
	switch {
	case !strings.HasPrefix(from, "/"):
		return Where{}, errors.New("expected a path that begins with /")
	case !utf8.ValidString(from):
		return Where{}, errors.New("it is not valid UTF-8")
	case strings.ContainsFunc(from, isControl):
		return Where{}, errors.New("it contains a control character")
	case strings.ContainsRune(from, '#'):
		return Where{}, errors.New("it contains #; browsers don't send what follows it")
	}
	w, err := g.parse(from)
	w.Host = host
	return w, err
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// cutScheme cuts http:// or https:// from a URL.
func cutScheme(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, "https://"); ok {
		return rest, true
	}
	return strings.CutPrefix(s, "http://")
}

func checkHost(host string) error {
	switch {
	case host == "":
		return errors.New("the URL has no host")
	case strings.ContainsAny(host, "*:@"):
		return errors.New("a host in a rule must be a plain name without port, placeholder or *")
	case strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "":
		return errors.New("the host is not valid; write international names in their xn-- form")
	}
	return nil
}

// parse parses a path.
func (g grammar) parse(from string) (Where, error) {
	var parts []Part
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, Part{Text: unescape(literal.String())})
			literal.Reset()
		}
	}
	splats := 0
	for i := 0; i < len(from); {
		c := from[i]
		name := ""
		if c == ':' && (!g.whole || from[i-1] == '/') {
			name = placeholderName(from[i+1:])
			if end := segmentEnd(from, i+1); g.whole && name == "" && end > i+1 {
				name = anonymous
			}
		}
		switch {
		case name != "":
			flush()
			parts = append(parts, Part{One: name})
			if i += 1 + len(name); g.whole {
				i = segmentEnd(from, i)
			}
		case c == '*':
			if splats++; splats > 1 && !g.many {
				return Where{}, errors.New("only one * is allowed")
			}
			alone := i > 0 && from[i-1] == '/' && i+1 == len(from)
			if g.atEnd && i+1 < len(from) {
				return Where{}, errors.New("* is only allowed at the end; use :placeholders for segments before it")
			}
			part := Part{Any: "splat"}
			if alone && g.rest {
				trimmed := strings.TrimSuffix(literal.String(), "/")
				literal.Reset()
				literal.WriteString(trimmed)
				part = Part{Rest: "splat"}
			}
			flush()
			parts = append(parts, part)
			i++
		default:
			literal.WriteByte(c)
			i++
		}
	}
	if len(parts) == 0 {
		path := unescape(literal.String())
		if g.slash && len(path) > 1 {
			path = strings.TrimSuffix(path, "/")
		}
		return Where{Path: path, Slash: g.slash}, nil
	}
	if g.slash {
		trimmed := strings.TrimSuffix(literal.String(), "/")
		literal.Reset()
		literal.WriteString(trimmed)
	}
	flush()
	w := Where{Pattern: parts, Slash: g.slash}
	_, err := newPattern(w.Pattern, w.Slash)
	return w, err
}

// placeholderName returns the name at the start of s: a letter, then letters,
// digits and underscores.
func placeholderName(s string) string {
	n := 0
	for n < len(s) && (isLetter(s[n]) || n > 0 && (s[n] == '_' || s[n] >= '0' && s[n] <= '9')) {
		n++
	}
	return s[:n]
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func segmentEnd(s string, i int) int {
	for i < len(s) && s[i] != '/' {
		i++
	}
	return i
}

// unescape decodes a path. A path with a malformed escape stands for itself.
func unescape(s string) string {
	if !strings.ContainsRune(s, '%') {
		return s
	}
	if decoded, err := url.PathUnescape(s); err == nil && utf8.ValidString(decoded) && !strings.ContainsFunc(decoded, isControl) {
		return decoded
	}
	return s
}

// target parses what a redirect leads to. names are the placeholders that it
// may use; unknown are the others.
func target(to string, status int, names []string) (parts []Part, unknown []string, err error) {
	if !utf8.ValidString(to) || strings.ContainsFunc(to, isControl) {
		return nil, nil, errors.New("it is not valid UTF-8, or contains a control character")
	}
	if strings.ContainsRune(to, '\\') {
		return nil, nil, errors.New(`it contains \, which browsers read as /; write %5C`)
	}
	host, absolute := cutScheme(to)
	switch {
	case absolute && status == 200:
		return nil, nil, errUnsupported("proxying to another host is not supported; use a redirect")
	case absolute && !redirects(status):
		return nil, nil, errUnsupported(fmt.Sprintf("a rule with status %d must name a file of the site", status))
	case absolute:
		if err := checkTargetHost(host, names); err != nil {
			return nil, nil, err
		}
	case strings.HasPrefix(to, "//"):
		return nil, nil, errors.New("it begins with //, so browsers would leave the site; write https:// before the host")
	case !strings.HasPrefix(to, "/"):
		return nil, nil, errors.New("expected a path that begins with /, or a URL with http:// or https://")
	case strings.HasPrefix(to, "/.netlify/"):
		return nil, nil, errUnsupported("/.netlify/ is a service of Netlify (functions, images, identity)")
	}
	if !redirects(status) {
		to, _, _ = strings.Cut(to, "#")
		to, _, _ = strings.Cut(to, "?")
	}
	parts, unknown = targetParts(to, names)
	for i := range parts {
		if redirects(status) {
			parts[i].Text = escapeURL(parts[i].Text)
		} else {
			parts[i].Text = unescape(parts[i].Text)
		}
	}
	return parts, unknown, nil
}

// errUnsupported is an error about a feature that Troy does not have.
type errUnsupported string

func (e errUnsupported) Error() string { return string(e) }

func redirects(status int) bool { return status >= 300 && status < 400 }

// targetParts splits a target into texts and values.
func targetParts(to string, names []string) (parts []Part, unknown []string) {
	start := 0
	for i := 0; i < len(to); i++ {
		if to[i] != ':' {
			continue
		}
		name := placeholderName(to[i+1:])
		if name == "" {
			continue
		}
		if !contains(names, name) {
			unknown = append(unknown, name)
			continue
		}
		if i > start {
			parts = append(parts, Part{Text: to[start:i]})
		}
		parts = append(parts, Part{Value: name})
		i += len(name)
		start = i + 1
	}
	if start < len(to) {
		parts = append(parts, Part{Text: to[start:]})
	}
	return parts, unknown
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// checkTargetHost refuses hosts that the visitor could choose. A placeholder
// may be the first label of a host: https://:team.example.com.
func checkTargetHost(rest string, names []string) error {
	host := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host = rest[:i]
	}
	if host == "" {
		return errors.New("the URL has no host")
	}
	if strings.ContainsRune(host, '@') {
		return errors.New("the URL contains a user name; browsers ignore or refuse those")
	}
	parts, _ := targetParts(host, names)
	for i, p := range parts {
		if p.Value == "" {
			continue
		}
		if i > 0 || len(parts) != 2 || !strings.HasPrefix(parts[1].Text, ".") || strings.Count(parts[1].Text, ".") < 2 {
			return errors.New("a visitor could choose the host; a placeholder may only be the first label, as in https://:team.example.com")
		}
	}
	if u, err := url.Parse("https://" + strings.ReplaceAll(host, ":", "")); err != nil || u.Host == "" {
		return errors.New("the host is not valid")
	}
	return nil
}

// escapeURL escapes each byte that a URL must not contain (RFC 3986 §2), except
// percent signs.
func escapeURL(s string) string { return escape(s, "-._~!$&'()*+,;=:@/?#%[]") }

// escapeQuery escapes each byte that a query must not contain, except percent
// signs.
func escapeQuery(s string) string { return escape(s, "-._~!$&'()*+,;=:@/?%") }

func escape(s, allowed string) string {
	const digits = "0123456789ABCDEF"
	clean := true
	for i := range len(s) {
		clean = clean && unreserved(s[i], allowed)
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; unreserved(c, allowed) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func unreserved(c byte, allowed string) bool {
	return isLetter(c) || c >= '0' && c <= '9' || strings.IndexByte(allowed, c) >= 0
}
