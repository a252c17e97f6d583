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

// IgnoreFile is the name of the file in a source's top folder that says what
// is not part of the site, in the syntax of .gitignore
// (git-scm.com/docs/gitignore).
const IgnoreFile = ".troyignore"

// maxIgnoreFile is the most bytes that an IgnoreFile has.
const maxIgnoreFile = 64 << 10

// maxLeftOut is how many of the paths that were left out are listed.
const maxLeftOut = 1000

// sieve decides which of a source's files are part of the site.
type sieve struct {
	rules     []gitignore.Pattern
	leaveOut  bool // files that no site needs, and what the rules say
	findLeaks bool
	allowed   map[string]bool // paths whose secrets are published on purpose

	leftOut []string // folders end with a slash
	omitted int      // how many, those that are not listed included
	leaks   []Leak
	// folders is the way to the path of an archive that was asked for last.
	folders []verdict
}

type verdict struct {
	folder string
	take   bool
}

// take reports whether a file or folder is part of the site. Whatever is in a
// folder that is not, must not be asked for.
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

// allowedBelow reports whether the folder holds a file that is to be
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

// takeFile is take for a path whose folders may not have been asked for.
// Paths come sorted, so the folders of the last one are most of what is needed.
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

// needless reports whether no site needs files and folders of this name, as
// far as is known without an IgnoreFile.
func needless(name string) bool {
	switch name {
	case ".well-known": // RFC 8615
		return false
	case "node_modules", "bower_components", "Thumbs.db", "desktop.ini":
		return true
	}
	return strings.HasPrefix(name, ".")
}

// ruled is what the last rule that fits says. A pattern without a slash is
// held to the name alone, since the folders above were asked for before.
func (s *sieve) ruled(p string, folder bool) gitignore.MatchResult {
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

// parseRule reads a rule as git does, also where the library differs: [!a]
// means [^a], and "a/**" fits what is in a, but not a itself.
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

// pathRule is a pattern with a slash. The library also fits it to what is in
// a folder that it fits; whether a folder is taken, was asked before.
type pathRule struct{ gitignore.Pattern }

func (r pathRule) Match(p []string, folder bool) gitignore.MatchResult {
	if len(p) > 1 && r.Pattern.Match(p[:len(p)-1], true) != gitignore.NoMatch {
		return gitignore.NoMatch
	}
	return r.Pattern.Match(p, folder)
}

// belowRule holds for what is in the folders that the pattern fits.
type belowRule struct{ gitignore.Pattern }

func (r belowRule) Match(p []string, _ bool) gitignore.MatchResult {
	if len(p) < 2 {
		return gitignore.NoMatch
	}
	return r.Pattern.Match(p[:len(p)-1], true)
}
