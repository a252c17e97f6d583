package site

import (
	"maps"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

const (
	// maxLinkSteps bounds the work of following all links of an archive.
	maxLinkSteps = 1 << 22
	// maxLinkHops is how many links may lead to each other, as on Linux
	// (path_resolution(7)).
	maxLinkHops = 40
)

// links are the symbolic links of an archive. The rules are those for the
// links of a folder.
type links struct {
	kind    string // of archive
	targets map[string]string
	steps   int
}

func (l *links) add(name, target string) error {
	if len(target) > MaxPath {
		return troy.Errorf(troy.Invalid, "%q is a link to a path of %d bytes; at most %d are allowed", name, len(target), MaxPath)
	}
	if l.targets == nil {
		l.targets = map[string]string{}
	}
	l.targets[name] = target
	return nil
}

// each passes on each link with the path that it leads to. f reports whether
// that is a file.
func (l *links) each(f func(name, leadsTo string) bool) error {
	for _, name := range slices.Sorted(maps.Keys(l.targets)) {
		leadsTo, inside := l.follow(name)
		switch {
		case l.steps > maxLinkSteps:
			return troy.Errorf(troy.TooLarge, "the %s has too many links that lead to links", l.kind)
		case !inside:
			return troy.Errorf(troy.Invalid, "%q is a link to %q, which is not inside the %s: only relative links that stay in it are followed", name, l.targets[name], l.kind)
		case !f(name, leadsTo):
			return troy.Errorf(troy.Invalid, "%q is a link to %q, which is not a file of the %s: links are followed to files only", name, l.targets[name], l.kind)
		}
	}
	return nil
}

// follow returns where a path leads to, and whether that is inside.
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
