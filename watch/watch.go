// Package watch decides which pushes a pipeline builds, by the changed files
// and by the commit's message. The parsers of deliveries, intake and the CLI
// call it.
package watch

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/troy-iaas/troy"
)

// The limits of watch paths. They keep matching a push quick.
const (
	MaxPaths = 50
	MaxPath  = 255 // bytes each
)

// Check returns an Invalid error if patterns are not valid watch paths.
func Check(patterns []string) error {
	if len(patterns) > MaxPaths {
		return troy.Errorf(troy.Invalid, "there are %d watch paths; expected at most %d", len(patterns), MaxPaths).At("watch_paths")
	}
	for _, p := range patterns {
		_, clean := split(p)
		switch {
		case len(p) > MaxPath:
			return troy.Errorf(troy.Invalid, "a watch path has %d bytes; expected at most %d", len(p), MaxPath).At("watch_paths")
		case !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl):
			return troy.Errorf(troy.Invalid, "the watch path %q contains a control character or is not valid UTF-8", p).At("watch_paths")
		case strings.Contains(p, ","):
			return troy.Errorf(troy.Invalid, "the watch path %q contains a comma; repeat the flag for each pattern, like --watch 'docs/**' --watch 'src/**' (? matches a comma in a name)", p).At("watch_paths")
		case clean == "":
			return troy.Errorf(troy.Invalid, "the watch path %q is empty; ** matches everything", p).At("watch_paths")
		case slices.Contains(strings.Split(clean, "/"), ".."):
			return troy.Errorf(troy.Invalid, "the watch path %q leads out of the repository", p).At("watch_paths")
		}
	}
	return nil
}

// Concerns reports whether a push concerns a pipeline. changed lists the files
// that the push changed; complete is false if it may lack some, and then
// Concerns returns true. patterns are the pipeline's watch paths, and root is
// the folder of the site's source. All paths are relative to the repository's
// root.
//
// A pattern names a file, or a folder with everything in it. * matches anything
// but a slash, ? matches one character but a slash, and ** matches anything
// ("**/*.md" is every Markdown file, including those at the top). All other
// characters, including brackets, match themselves. White space around a
// pattern is ignored. A pattern that begins with "!" excludes files. The last
// pattern that matches a file decides. If no pattern includes anything, root is
// watched; without a root, everything is. If matching would take longer than
// about half a second, Concerns returns true: one build too many is better than
// a database transaction that hangs.
func Concerns(patterns []string, root string, changed []string, complete bool) bool {
	if !complete {
		return true
	}
	rules := rulesOf(patterns, root)
	if rules == nil {
		return true
	}
	cost := 0
	for _, file := range changed {
		watched := false
		for _, r := range rules {
			if r.watches == watched {
				continue
			}
			if cost += len(file) * r.cost; cost > maxCost {
				return true
			}
			if r.fits.MatchString(file) {
				watched = r.watches
			}
		}
		if watched {
			return true
		}
	}
	return false
}

// Includes reports whether one of a pipeline's watch paths includes files, so
// that nothing else is watched.
func Includes(patterns []string) bool {
	for _, p := range patterns {
		if watches, clean := split(p); watches && clean != "" {
			return true
		}
	}
	return false
}

// maxCost bounds the product of the files' bytes and the rules' costs in
// Concerns. The worst patterns take about 40 ns for each unit.
const maxCost = 10_000_000

type rule struct {
	fits    *regexp.Regexp
	watches bool
	// cost grows with the number of wildcards, each of which is one more state
	// of the expression for each byte of a name.
	cost int
}

// rulesOf returns the rules in the order in which they decide. nil watches
// everything, even a push without changed files.
func rulesOf(patterns []string, root string) []rule {
	var rules []rule
	gives := false
	for _, p := range patterns {
		watches, clean := split(p)
		if clean == "" {
			continue
		}
		gives = gives || watches
		rules = append(rules, rule{fits: glob(clean), watches: watches, cost: 1 + strings.Count(clean, "*")})
	}
	if gives {
		return rules
	}
	root = cleanPath(root)
	if root == "" && rules == nil {
		return nil
	}
	// A folder's name is not a pattern.
	base := "^"
	if root != "" {
		base += regexp.QuoteMeta(root) + "(?:/|$)"
	}
	return slices.Insert(rules, 0, rule{fits: regexp.MustCompile(base), watches: true, cost: 1})
}

// split parses a pattern: whether it includes or excludes, and the rest,
// relative and without a trailing slash.
func split(p string) (watches bool, clean string) {
	rest, not := strings.CutPrefix(strings.TrimSpace(p), "!")
	return !not, cleanPath(rest)
}

func cleanPath(p string) string {
	p = path.Clean(strings.TrimLeft(strings.TrimSpace(strings.ToValidUTF8(p, "\uFFFD")), "/"))
	if p == "." {
		return ""
	}
	return p
}

// glob translates a pattern to an RE2 expression, whose run time is linear in
// the length of the file's name.
func glob(p string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`^(?s:`)
	atStart := true // of a folder's or file's name
	for p != "" {
		switch {
		case atStart && strings.HasPrefix(p, "**/"):
			b.WriteString(`(?:.*/)?`)
			p = p[3:]
			continue
		case strings.HasPrefix(p, "**"):
			b.WriteString(`.*`)
			p = p[2:]
		case p[0] == '*':
			b.WriteString(`[^/]*`)
			p = p[1:]
		case p[0] == '?':
			b.WriteString(`[^/]`)
			p = p[1:]
		default:
			n := strings.IndexAny(p, "*?")
			if n < 0 {
				n = len(p)
			}
			b.WriteString(regexp.QuoteMeta(p[:n]))
			atStart = p[n-1] == '/'
			p = p[n:]
			continue
		}
		atStart = false
	}
	b.WriteString(`)(?:/|$)`)
	return regexp.MustCompile(b.String())
}
