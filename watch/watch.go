// Package watch says which pushes a pipeline builds: by the files that they
// change, and by what their commits ask for. The parsers of deliveries, intake
// and the command line call it.
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

// The most that watch paths may have, so that comparing a push with them stays
// quick.
const (
	MaxPaths = 50
	MaxPath  = 255 // bytes each
)

// Check returns a *troy.Error of kind Invalid if the patterns can't be a
// pipeline's watch paths.
func Check(patterns []string) error {
	if len(patterns) > MaxPaths {
		return troy.Errorf(troy.Invalid, "there are %d watch paths; at most %d are allowed", len(patterns), MaxPaths).At("watch_paths")
	}
	for _, p := range patterns {
		_, clean := split(p)
		switch {
		case len(p) > MaxPath:
			return troy.Errorf(troy.Invalid, "a watch path has %d bytes; at most %d are allowed", len(p), MaxPath).At("watch_paths")
		case !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl):
			return troy.Errorf(troy.Invalid, "the watch path %q has a control character or is not UTF-8", p).At("watch_paths")
		case strings.Contains(p, ","):
			return troy.Errorf(troy.Invalid, "the watch path %q has a comma; give each pattern by itself, like --watch 'docs/**' --watch 'src/**' (? stands for a comma in a name)", p).At("watch_paths")
		case clean == "":
			return troy.Errorf(troy.Invalid, "the watch path %q is empty; ** stands for everything", p).At("watch_paths")
		case slices.Contains(strings.Split(clean, "/"), ".."):
			return troy.Errorf(troy.Invalid, "the watch path %q leads out of the repository", p).At("watch_paths")
		}
	}
	return nil
}

// Concerns reports whether a push concerns a pipeline. Changed are the files
// that it changed, and complete that there are no others; if there may be
// others, it does. Patterns are the pipeline's watch paths, and root is the
// folder of the site's source; both, and changed, are relative to the
// repository's root.
//
// A pattern is a file or a folder with all that is in it. In it * stands for
// anything but a slash, ? for one character but a slash, and ** for anything
// at all ("**/*.md" is every Markdown file, at the top too); all other
// characters, brackets too, stand for themselves. White space around a pattern
// is not a part of it. A pattern behind a "!" takes away, and the last one that
// fits a file decides. Where no pattern gives anything, root is what is
// watched, and without a root everything is. Where looking further would take
// longer than about half a second, the push concerns it: a build too many is
// better than a database transaction that hangs.
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

// maxCost bounds the bytes of files times the cost of rules that Concerns
// looks at. The worst patterns take some 40 ns for each.
const maxCost = 10_000_000

type rule struct {
	fits    *regexp.Regexp
	watches bool
	// cost grows with the wildcards, each of which is one more place where the
	// expression may be for each byte of a name.
	cost int
}

// rulesOf are in the order in which they decide; nil watches everything,
// also a push that changed no file.
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

// split takes a pattern apart: whether it gives or takes away, and what
// follows, relative and without a slash at its end.
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

// glob writes a pattern as an expression of RE2, whose time is linear in
// the file's name whatever the pattern.
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
