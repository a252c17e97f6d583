package site

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"

	"github.com/troy-iaas/troy"
)

// IgnoreFile is the file in a source's top folder that lists what to leave out
// of the site, in the syntax of .gitignore (git-scm.com/docs/gitignore).
const IgnoreFile = ".troyignore"

// maxIgnoreFile is the maximum size of an IgnoreFile in bytes.
const maxIgnoreFile = 64 << 10

// maxLeftOut is the maximum number of left-out paths to list.
const maxLeftOut = 1000

// sieve decides which of a source's files are part of the site.
type sieve struct {
	rules     []gitignore.Pattern
	leaveOut  bool // leave out files that no site needs, and apply the rules
	findLeaks bool
	allowed   map[string]bool // paths to publish despite secrets

	leftOut []string // folders end with a slash
	omitted int      // the number of left-out paths, including those that are not listed
	leaks   []Leak
	// folders are the verdicts for the parents of the last path of an archive.
	folders []verdict
}

type verdict struct {
	folder string
	take   bool
}

// take reports whether a file or folder is part of the site. Don't call it for
// the content of a folder for which it returned false.
func (s *sieve) take(p string, folder bool) bool {
	if skipped(path.Base(p)) {
		return false
	}
	ruled := gitignore.NoMatch
	if s.leaveOut {
		ruled = s.ruled(p, folder)
	}
	if ruled == gitignore.Exclude {
		s.omit(p, folder)
		return false
	}
	if !folder && s.allowed[p] {
		return true
	}
	if s.findLeaks && !folder {
		if reason := NamedLeak(p); reason != "" {
			s.leaks = append(s.leaks, Leak{p, reason})
			return false
		}
	}
	if s.leaveOut && ruled == gitignore.NoMatch && needless(path.Base(p)) && !s.allowedBelow(p, folder) {
		s.omit(p, folder)
		return false
	}
	return true
}

// allowedBelow reports whether the folder contains an allowed file, which is
// published in any case.
func (s *sieve) allowedBelow(p string, folder bool) bool {
	if !folder {
		return false
	}
	for allowed := range s.allowed {
		if strings.HasPrefix(allowed, p+"/") {
			return true
		}
	}
	return false
}

// takeFile is like take, for a path whose parents were not passed to take.
// Paths come sorted, so the verdicts for the last path's parents are mostly
// reusable.
func (s *sieve) takeFile(p string) bool {
	depth := 0
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		folder := p[:i]
		if depth == len(s.folders) || s.folders[depth].folder != folder {
			s.folders = append(s.folders[:depth], verdict{folder, s.take(folder, true)})
		}
		if !s.folders[depth].take {
			return false
		}
		depth++
	}
	return s.take(p, false)
}

func (s *sieve) omit(p string, folder bool) {
	if folder {
		p += "/"
	}
	s.omitted++
	if len(s.leftOut) < maxLeftOut {
		s.leftOut = append(s.leftOut, p)
	}
}

// needless reports whether no site needs files and folders of this name, before
// an IgnoreFile is applied.
func needless(name string) bool {
	switch name {
	case ".well-known": // RFC 8615
		return false
	case "node_modules", "bower_components", "Thumbs.db", "desktop.ini":
		return true
	}
	return strings.HasPrefix(name, ".")
}

// ruled returns the result of the last matching rule. A pattern without a slash
// is matched with the name only, because the parents were checked before.
func (s *sieve) ruled(p string, folder bool) gitignore.MatchResult {
	if len(s.rules) == 0 {
		return gitignore.NoMatch
	}
	segments := strings.Split(p, "/")
	for _, rule := range slices.Backward(s.rules) {
		if result := rule.Match(segments, folder); result != gitignore.NoMatch {
			return result
		}
	}
	return gitignore.NoMatch
}

// nameRule is a pattern without a slash.
type nameRule struct{ gitignore.Pattern }

func (r nameRule) Match(p []string, folder bool) gitignore.MatchResult {
	return r.Pattern.Match(p[len(p)-1:], folder)
}

// readRules reads the source's IgnoreFile, if there is one.
func (s *sieve) readRules(t tree) error {
	f, err := t.open(IgnoreFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxIgnoreFile {
		return troy.Errorf(troy.TooLarge, "%s has more than %d bytes", IgnoreFile, maxIgnoreFile)
	}
	s.rules = append(s.rules, parseRules(string(text))...)
	return nil
}

func parseRules(text string) []gitignore.Pattern {
	var rules []gitignore.Pattern
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		rules = append(rules, parseRule(line))
	}
	return rules
}

// parseRule parses a rule as git does, including the cases where the library
// differs: [!a] means [^a], and "a/**" matches the content of a but not a
// itself.
func parseRule(line string) gitignore.Pattern {
	line = strings.ReplaceAll(line, "[!", "[^")
	negated, rest := "", line
	if strings.HasPrefix(line, "!") {
		negated, rest = "!", line[1:]
	}
	if above, ok := strings.CutSuffix(rest, "/**"); ok && above != "" {
		return belowRule{gitignore.ParsePattern(negated+"/"+strings.TrimPrefix(above, "/"), nil)}
	}
	rule := gitignore.ParsePattern(line, nil)
	if !strings.Contains(strings.TrimRight(line, "/ "), "/") {
		return nameRule{rule}
	}
	return pathRule{rule}
}

// pathRule is a pattern with a slash. The library also matches it with the
// content of a matching folder, which was checked before.
type pathRule struct{ gitignore.Pattern }

func (r pathRule) Match(p []string, folder bool) gitignore.MatchResult {
	if len(p) > 1 && r.Pattern.Match(p[:len(p)-1], true) != gitignore.NoMatch {
		return gitignore.NoMatch
	}
	return r.Pattern.Match(p, folder)
}

// belowRule matches the content of the folders that the pattern matches.
type belowRule struct{ gitignore.Pattern }

func (r belowRule) Match(p []string, _ bool) gitignore.MatchResult {
	if len(p) < 2 {
		return gitignore.NoMatch
	}
	return r.Pattern.Match(p[:len(p)-1], true)
}

// IgnoreRules are the rules of a file in the syntax of .gitignore.
type IgnoreRules struct{ rules []gitignore.Pattern }

// ParseIgnoreRules reads the content of such a file.
func ParseIgnoreRules(text string) IgnoreRules { return IgnoreRules{parseRules(text)} }

// Match returns what the last matching rule says of a path below the file's
// folder. ruled is false if none matches. The parents of the path are not
// ignored.
func (r IgnoreRules) Match(p string, folder bool) (ignored, ruled bool) {
	result := (&sieve{rules: r.rules}).ruled(p, folder)
	return result == gitignore.Exclude, result != gitignore.NoMatch
}
