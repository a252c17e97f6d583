package site

import (
	"bytes"
	"fmt"
	"sync"
)

// leakAnchors are bytes that are rare in most files. Each prefix of a secret has
// one of them, so that a scan only stops at these.
const leakAnchors = "-_.A"

// leakTable has the prefixes of secretForms by the first anchor in each.
type leakTable [len(leakAnchors)]leakAnchor

type leakAnchor struct {
	char     byte
	prefixes []leakPrefix
	before   pairs // the two bytes before the anchor, in a prefix that does not begin with it
	after    pairs // the two bytes after it, in one that does
	most     int   // the largest at
}

type leakPrefix struct {
	text string
	at   int // of the anchor in text
	form *secretForm
}

// pairs is a set of two bytes.
type pairs [1 << 16 / 64]uint64

func (p *pairs) add(a, b byte)      { p[uint16(a)<<2|uint16(b)>>6] |= 1 << (b & 63) }
func (p *pairs) has(a, b byte) bool { return p[uint16(a)<<2|uint16(b)>>6]&(1<<(b&63)) != 0 }

// leaks returns the table. The first call creates it.
var leaks = sync.OnceValue(newLeakTable)

func newLeakTable() *leakTable {
	var t leakTable
	for i := range t {
		t[i].char = leakAnchors[i]
	}
	for _, f := range secretForms() {
		for _, text := range f.prefixes {
			at := bytes.IndexAny([]byte(text), leakAnchors)
			a := &t[bytes.IndexByte([]byte(leakAnchors), text[at])]
			if at == 0 {
				a.after.add(text[1], text[2])
			} else {
				a.before.add(text[at-2], text[at-1])
			}
			a.most = max(a.most, at)
			a.prefixes = append(a.prefixes, leakPrefix{text, at, &f})
		}
	}
	return &t
}

// find returns the kind of the first secret that begins in b[from:to], and where
// it begins, or "" and to.
func (a *leakAnchor) find(b []byte, from, to int) (kind string, begin int) {
	for p := from; p < min(len(b), to+a.most); p++ {
		next := bytes.IndexByte(b[p:min(len(b), to+a.most)], a.char)
		if next < 0 {
			break
		}
		p += next
		if (p < from+2 || !a.before.has(b[p-2], b[p-1])) && (p+2 >= len(b) || !a.after.has(b[p+1], b[p+2])) {
			continue
		}
		for i := range a.prefixes {
			prefix := &a.prefixes[i]
			if at := p - prefix.at; at >= from && at < to && prefix.match(b, at) {
				kind, to = prefix.form.kind, at
				break
			}
		}
	}
	return kind, to
}

// match reports whether a secret with the prefix begins at b[i].
func (p *leakPrefix) match(b []byte, i int) bool {
	text, f := b[i:min(len(b), i+leakWindow)], p.form
	if len(text) < len(p.text) || string(text[:len(p.text)]) != p.text {
		return false
	}
	if !f.inside && i > 0 && isWord(b[i-1]) {
		return false
	}
	m := f.form.FindSubmatchIndex(text)
	if m == nil {
		return false
	}
	// A longer word is something else, such as base64.
	if !f.inside && m[1] < len(text) && isWord(text[m[1]]) && isWord(text[m[1]-1]) {
		return false
	}
	if f.refuse != nil && f.refuse(text[:m[1]], text[m[1]:]) {
		return false
	}
	random := text[m[1]:m[1]]
	for g := 2; g < len(m); g += 2 {
		if m[g] >= 0 {
			random = text[m[g]:m[g+1]]
		}
	}
	return f.sparse <= 0 || entropy(random) >= f.sparse
}

// leakScanner is a writer that searches its input for secrets. It holds
// leakWindow bytes, and its work is linear.
type leakScanner struct {
	held []byte // unscanned bytes at the end
	from int    // the first unscanned byte of held
	line int    // number of lines before held[from]
	kind string // the kind of secret found
	at   int    // its line, counted from 1
}

// Write never fails.
func (s *leakScanner) Write(p []byte) (int, error) {
	if s.kind != "" {
		return len(p), nil
	}
	s.held = append(s.held, p...)
	s.scan(len(s.held) - leakWindow)
	// Keep the byte before the unscanned part: it tells whether a word begins
	// there.
	if keep := max(0, s.from-1); keep > 0 {
		s.held = append(s.held[:0], s.held[keep:]...)
		s.from -= keep
	}
	return len(p), nil
}

// end scans the last bytes, and returns the secret found and its line, or "".
func (s *leakScanner) end() string {
	if s.kind == "" {
		s.scan(len(s.held))
	}
	if s.kind == "" {
		return ""
	}
	return fmt.Sprintf("%s on line %d", s.kind, s.at)
}

// scan looks for secrets that begin before held[to].
func (s *leakScanner) scan(to int) {
	if to <= s.from {
		return
	}
	b, table, end := s.held, leaks(), to
	for i := range table {
		if kind, begin := table[i].find(b, s.from, end); kind != "" {
			s.kind, end = kind, begin
		}
	}
	s.line += bytes.Count(b[s.from:end], []byte{'\n'})
	s.from, s.at = end, s.line+1
}

// leakIn describes the first secret in text, or returns "".
func leakIn(text []byte) string {
	s := leakScanner{held: text}
	return s.end()
}
