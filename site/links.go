package site

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

const (
	// maxLinkSteps bounds the work of following all links of an archive.
	maxLinkSteps = 1 << 22
	// maxLinkHops is the maximum length of a chain of links, as on Linux
	// (path_resolution(7)).
	maxLinkHops = 40
)

// links are the symbolic links of an archive. They follow the same rules as the
// links of a folder.
type links struct {
	kind    string // the kind of archive
	targets map[string]string
	steps   int
}

func (l *links) add(name, target string) error {
	if len(target) > MaxPath {
		return troy.Errorf(troy.Invalid, "%q is a link to a path of %d bytes; expected at most %d", name, len(target), MaxPath)
	}
	if l.targets == nil {
		l.targets = map[string]string{}
	}
	l.targets[name] = target
	return nil
}

// each calls f for each link with the path of its target. f reports whether
// that path is a file.
func (l *links) each(f func(name, leadsTo string) bool) error {
	for _, name := range slices.Sorted(maps.Keys(l.targets)) {
		leadsTo, inside := l.follow(name)
		switch {
		case l.steps > maxLinkSteps:
			return troy.Errorf(troy.TooLarge, "the %s has too many links to links", l.kind)
		case !inside:
			return leadsOut(name, l.targets[name], l.kind)
		case !f(name, leadsTo):
			return troy.Errorf(troy.Invalid, "%q is a link to %q, which is not a file of the %s; expected a link to a file", name, l.targets[name], l.kind)
		}
	}
	return nil
}

// ErrLeadsOut is wrapped by the error for a link that leads out of a source.
var ErrLeadsOut = errors.New("expected a relative link that stays inside")

// leadsOut returns the error for a link that can't be followed inside a source
// of that kind. An absolute link may lead to a file inside, but not where the
// site is read next.
func leadsOut(name, target, kind string) error {
	if strings.HasPrefix(target, "/") || filepath.IsAbs(target) {
		return troy.Errorf(troy.Invalid, "%q is an absolute link, to %q; %w the %s", name, target, ErrLeadsOut, kind)
	}
	return troy.Errorf(troy.Invalid, "%q is a link to %q, which is outside the %s; %w it", name, target, kind, ErrLeadsOut)
}

// follow returns the target of a path and whether it is inside.
func (l *links) follow(name string) (string, bool) {
	todo := strings.Split(name, "/")
	done := ""
	for hops := 0; len(todo) > 0; {
		if l.steps++; l.steps > maxLinkSteps {
			return "", false
		}
		segment := todo[0]
		todo = todo[1:]
		parent := done
		switch segment {
		case "", ".":
			continue
		case "..":
			if done == "" {
				return "", false
			}
			done = done[:max(0, strings.LastIndexByte(done, '/'))]
			continue
		}
		done = strings.TrimPrefix(done+"/"+segment, "/")
		target, ok := l.targets[done]
		if !ok {
			continue
		}
		if hops++; hops > maxLinkHops || strings.HasPrefix(target, "/") {
			return "", false
		}
		done, todo = parent, append(strings.Split(target, "/"), todo...)
	}
	return done, true
}
