package rules

import (
	"errors"
	"fmt"
	"strings"
)

// pattern is a Where's Pattern in a form that is matched in time linear in the
// path: segments from the left, then one splat, then segments from the right.
type pattern struct {
	head  []segment
	splat *splat // nil if the pattern has none
	slash bool
	// globs are the texts around several splats; the other fields are unused
	// then.
	globs []string
}

// segment is a part of a path between slashes. It is its text if it has no
// placeholder.
type segment struct {
	text string
	// Otherwise it is texts[0], names[0], texts[1], names[1], …, texts[n]. Only
	// the first and last text may be empty.
	texts, names []string
}

// splat is a splat with what surrounds it in its segment.
type splat struct {
	name           string
	rest           bool // at the end, with an optional slash before it
	prefix, suffix string
	tail           []segment // the segments after it
}

// capture is what a placeholder, a splat or a query parameter matched.
type capture struct{ name, value string }

const (
	// maxPlaceholders is the maximum number of placeholders of a pattern.
	maxPlaceholders = 32
	// maxSegments is the maximum number of segments of a pattern.
	maxSegments = 128
)

// newPattern returns the pattern of parts, or an error that says what is not
// supported.
func newPattern(parts []Part, slash bool) (*pattern, error) {
	splats := 0
	for _, p := range parts {
		if p.Any != "" || p.Rest != "" {
			splats++
		}
	}
	if splats > 1 {
		return newGlobs(parts, slash)
	}
	b := patternBuilder{p: &pattern{slash: slash}}
	for i, part := range parts {
		var err error
		switch {
		case part.Text != "":
			err = b.text(part.Text)
		case part.One != "":
			err = b.placeholder(part.One)
		case part.Any != "":
			err = b.any(part.Any)
		case part.Rest != "" && i == len(parts)-1:
			err = b.rest(part.Rest)
		default:
			err = errors.New("it has an empty part")
		}
		if err != nil {
			return nil, err
		}
	}
	return b.p, b.end()
}

// newGlobs returns a pattern with several splats. It has no captures.
func newGlobs(parts []Part, slash bool) (*pattern, error) {
	p := &pattern{slash: slash, globs: []string{""}}
	for i, part := range parts {
		last := len(p.globs) - 1
		switch {
		case part.Text != "":
			p.globs[last] += part.Text
		case part.Any != "":
			p.globs = append(p.globs, "")
		case part.Rest != "" && i == len(parts)-1:
			p.globs = append(p.globs, "")
		default:
			return nil, errors.New("a path with several * can't have placeholders")
		}
	}
	return p, nil
}

type patternBuilder struct {
	p       *pattern
	current *segment // of the head or the tail; nil before the first slash
	open    string   // the text of current since its last placeholder
	names   int
	seen    map[string]bool
}

func (b *patternBuilder) text(s string) error {
	for i, piece := range strings.Split(s, "/") {
		if i > 0 {
			if err := b.next(); err != nil {
				return err
			}
		} else if b.current == nil && b.p.splat == nil && piece != "" {
			return errors.New("it must begin with /")
		}
		if b.inSplat() {
			b.p.splat.suffix += piece
		} else if b.current != nil {
			b.open += piece
		}
	}
	return nil
}

// inSplat reports whether the builder is in the splat's segment, after it.
func (b *patternBuilder) inSplat() bool { return b.p.splat != nil && b.current == nil }

// next ends the current segment and begins another one.
func (b *patternBuilder) next() error {
	b.close()
	if len(b.p.head) >= maxSegments {
		return fmt.Errorf("it has more than %d segments", maxSegments)
	}
	b.current = &segment{}
	return nil
}

func (b *patternBuilder) close() {
	if b.current == nil {
		return
	}
	if b.current.names == nil {
		b.current.text = b.open
	} else {
		b.current.texts = append(b.current.texts, b.open)
	}
	if b.p.splat != nil {
		b.p.splat.tail = append(b.p.splat.tail, *b.current)
	} else {
		b.p.head = append(b.p.head, *b.current)
	}
	b.current, b.open = nil, ""
}

func (b *patternBuilder) name(name string) error {
	if b.seen == nil {
		b.seen = map[string]bool{}
	}
	if b.seen[name] && name != anonymous {
		return fmt.Errorf("the placeholder :%s appears twice", name)
	}
	b.seen[name] = true
	if b.names++; b.names > maxPlaceholders {
		return fmt.Errorf("it has more than %d placeholders", maxPlaceholders)
	}
	return nil
}

func (b *patternBuilder) placeholder(name string) error {
	if err := b.name(name); err != nil {
		return err
	}
	switch {
	case b.current == nil:
		return errors.New("a placeholder can't share a segment with *")
	case len(b.current.names) > 0 && b.open == "":
		return errors.New("two placeholders need text between them")
	}
	b.current.texts = append(b.current.texts, b.open)
	b.current.names = append(b.current.names, name)
	b.open = ""
	return nil
}

func (b *patternBuilder) any(name string) error {
	if err := b.name(name); err != nil {
		return err
	}
	if b.current == nil || len(b.current.names) > 0 {
		return errors.New("a placeholder can't share a segment with *")
	}
	b.p.splat = &splat{name: name, prefix: b.open}
	b.current, b.open = nil, ""
	return nil
}

func (b *patternBuilder) rest(name string) error {
	if err := b.name(name); err != nil {
		return err
	}
	b.close()
	b.p.splat = &splat{name: name, rest: true}
	return nil
}

func (b *patternBuilder) end() error {
	b.close()
	if b.p.head == nil && b.p.splat == nil {
		return errors.New("it is empty")
	}
	return nil
}

// match matches a whole path, which begins with a slash. It appends the
// captures to into.
func (p *pattern) match(path string, into []capture) ([]capture, bool) {
	if p.globs != nil {
		return into, p.matchGlobs(path)
	}
	at := 0
	for i := range p.head {
		s, next, ok := segmentAt(path, at)
		if !ok {
			return into, false
		}
		if into, ok = p.head[i].match(s, into); !ok {
			return into, false
		}
		at = next
	}
	return p.finish(path[at:], into)
}

// segmentAt returns the segment that begins with the slash at i, and its end.
func segmentAt(path string, i int) (s string, end int, ok bool) {
	if i >= len(path) {
		return "", i, false
	}
	s = path[i+1:]
	if j := strings.IndexByte(s, '/'); j >= 0 {
		s = s[:j]
	}
	return s, i + 1 + len(s), true
}

// finish matches what follows the head: nothing, or a slash and more.
func (p *pattern) finish(left string, into []capture) ([]capture, bool) {
	s := p.splat
	switch {
	case s == nil:
		return into, left == "" || p.slash && left == "/"
	case s.rest:
		return append(into, capture{s.name, strings.TrimPrefix(left, "/")}), true
	case left == "":
		return into, false
	}
	left = left[1:]
	if p.slash {
		if n := len(left) - 1; n >= 0 && left[n] == '/' && (s.suffix != "" || len(s.tail) > 0) {
			left = left[:n]
		}
	}
	for i := len(s.tail) - 1; i >= 0; i-- {
		slash := strings.LastIndexByte(left, '/')
		if slash < 0 {
			return into, false
		}
		var ok bool
		if into, ok = s.tail[i].match(left[slash+1:], into); !ok {
			return into, false
		}
		left = left[:slash]
	}
	if len(left) < len(s.prefix)+len(s.suffix) || !strings.HasPrefix(left, s.prefix) || !strings.HasSuffix(left, s.suffix) {
		return into, false
	}
	return append(into, capture{s.name, left[len(s.prefix) : len(left)-len(s.suffix)]}), true
}

// match matches a segment. Each placeholder takes as much as it can, the first
// one first: so each text between two of them is at its last possible place.
func (g *segment) match(s string, into []capture) ([]capture, bool) {
	if g.names == nil {
		return into, s == g.text
	}
	n := len(g.names)
	if len(s) < len(g.texts[0])+len(g.texts[n])+1 || !strings.HasPrefix(s, g.texts[0]) || !strings.HasSuffix(s, g.texts[n]) {
		return into, false
	}
	s = s[len(g.texts[0]) : len(s)-len(g.texts[n])]
	for i := n - 1; i > 0; i-- {
		if s == "" {
			return into, false
		}
		j := strings.LastIndex(s[:len(s)-1], g.texts[i])
		if j < 0 {
			return into, false
		}
		into = append(into, capture{g.names[i], s[j+len(g.texts[i]):]})
		s = s[:j]
	}
	return append(into, capture{g.names[0], s}), s != ""
}

// matchGlobs matches the first text at the start, the last one at the end, and
// each other one at its first place after the one before.
func (p *pattern) matchGlobs(path string) bool {
	last := p.globs[len(p.globs)-1]
	if p.slash && !strings.HasSuffix(last, "/") && last != "" && len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if !strings.HasPrefix(path, p.globs[0]) {
		return false
	}
	path = path[len(p.globs[0]):]
	for _, text := range p.globs[1 : len(p.globs)-1] {
		i := strings.Index(path, text)
		if i < 0 {
			return false
		}
		path = path[i+len(text):]
	}
	return strings.HasSuffix(path, last)
}

// anonymous names placeholders that have no name.
const anonymous = "_"
