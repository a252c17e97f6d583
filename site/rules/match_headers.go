package rules

import (
	"fmt"
	"slices"
	"strings"
)

// headerIndex finds the header rules for a path.
type headerIndex struct {
	rules    []HeaderRule
	patterns []*pattern // nil for rules without a pattern
	paths    map[string][]int32
	// byStart has the patterns whose first segment is text.
	byStart map[string][]int32
	others  []int32
	guards  bool // a rule has Deny or Users
}

func (x *headerIndex) fill(rules []HeaderRule, bytes *int64) error {
	x.rules, x.patterns = rules, make([]*pattern, len(rules))
	x.paths, x.byStart = map[string][]int32{}, map[string][]int32{}
	for i := range rules {
		r := &rules[i]
		x.guards = x.guards || r.Deny != "" || r.Users != nil
		*bytes += 256 + 8*int64(len(r.Users)) + partsBytes(r.Pattern)
		for _, op := range r.Headers {
			*bytes += 64 + partsBytes(op.Value)
		}
		if r.Pattern == nil {
			x.paths[r.Path] = append(x.paths[r.Path], int32(i))
			continue
		}
		p, err := newPattern(r.Pattern, r.Slash)
		if err != nil {
			return fmt.Errorf("header rule %d: %w", i+1, err)
		}
		x.patterns[i] = p
		if p.globs == nil && len(p.head) > 0 && p.head[0].names == nil {
			x.byStart[p.head[0].text] = append(x.byStart[p.head[0].text], int32(i))
		} else {
			x.others = append(x.others, int32(i))
		}
	}
	return nil
}

// matching returns the indexes of the rules that match, in order.
func (x *headerIndex) matching(host, path string, into []int32) []int32 {
	take := func(i int32) {
		r := &x.rules[i]
		if r.Host != "" && r.Host != host {
			return
		}
		if p := x.patterns[i]; p == nil {
			if r.Matches(path) {
				into = append(into, i)
			}
		} else if _, ok := p.match(path, nil); ok {
			into = append(into, i)
		}
	}
	for _, i := range x.paths[path] {
		take(i)
	}
	if trimmed := strings.TrimSuffix(path, "/"); trimmed != path {
		for _, i := range x.paths[trimmed] {
			take(i)
		}
	}
	start, _, _ := segmentAt(path, 0)
	for _, i := range x.byStart[start] {
		take(i)
	}
	for _, i := range x.others {
		take(i)
	}
	slices.Sort(into)
	return into
}

// Changes are the changes of an answer's headers.
type Changes struct {
	// Set has the values of each header, by its canonical name. An empty list
	// removes the header.
	Set map[string][]string
	// Origins are the origins that may read the answer, or "*". Nil means that
	// no rule decides.
	Origins []string
}

// Headers returns what the header rules change for a path; nil means nothing.
func (m *Matcher) Headers(host, path string) *Changes {
	if len(m.headers.rules) == 0 {
		return nil
	}
	var room [16]int32
	found := m.headers.matching(host, path, room[:0])
	if len(found) == 0 {
		return nil
	}
	out := &Changes{Set: map[string][]string{}}
	for _, i := range found {
		r := &m.headers.rules[i]
		if r.Origins != nil {
			out.Origins = r.Origins
		}
		var captures []capture
		for _, op := range r.Headers {
			value, fixed := static(op.Value)
			if !fixed {
				if captures == nil && m.headers.patterns[i] != nil {
					captures, _ = m.headers.patterns[i].match(path, make([]capture, 0, 4))
				}
				value = headerValue(op.Value, captures)
			}
			out.apply(op, value)
		}
	}
	return out
}

func (c *Changes) apply(op HeaderOp, value string) {
	before := c.Set[op.Name]
	switch {
	case op.Op == opUnset:
		c.Set[op.Name] = []string{}
	case op.Op == opSet || len(before) == 0:
		c.Set[op.Name] = []string{value}
	case op.Name == "Set-Cookie":
		c.Set[op.Name] = append(before, value)
	default:
		c.Set[op.Name] = []string{before[0] + ", " + value}
	}
}

// headerValue inserts values, without characters that a header must not have.
func headerValue(parts []Part, captures []capture) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
		b.WriteString(escape(valueOf(p.Value, captures), "-._~!$&'()*+,;=:@/ "))
	}
	return b.String()
}
