package rules

import (
	"fmt"
	"math"
	"net/url"
	"strings"
)

// Matcher answers which rules match a request. It is immutable and safe for
// concurrent use. The time of a look-up grows with the path's length and the
// number of patterns, never faster.
type Matcher struct {
	rules  Rules
	site   Site
	forced bool // a redirect has Force
	// statics maps the path of redirects without a pattern to the first of
	// them; next has the following one with the same path, or -1.
	statics map[string]int32
	next    []int32
	tree    node // redirects with a pattern
	// patterns are those of the redirects, or nil.
	patterns []*pattern
	headers  headerIndex
	bytes    int64
}

// node is a node of the tree of patterns by segments.
type node struct {
	first   int32 // the lowest rule below
	literal map[string]*node
	other   []edge // segments with placeholders
	leaves  []int32
}

type edge struct {
	segment segment
	to      *node
}

const none = math.MaxInt32

// New returns a matcher of the rules. It returns an error if the rules are not
// valid.
func New(r Rules) (*Matcher, error) {
	m := &Matcher{rules: r, site: r.Site, tree: node{first: none}}
	m.statics = make(map[string]int32, len(r.Redirects))
	m.next = make([]int32, len(r.Redirects))
	m.patterns = make([]*pattern, len(r.Redirects))
	last := make(map[string]int32)
	for i := range r.Redirects {
		rule := &r.Redirects[i]
		m.forced = m.forced || rule.Force
		m.next[i] = -1
		m.bytes += 160 + int64(len(rule.Path)) + partsBytes(rule.To) + partsBytes(rule.Pattern)
		if rule.Pattern == nil {
			if first, ok := m.statics[rule.Path]; !ok {
				m.statics[rule.Path] = int32(i)
			} else {
				before, ok := last[rule.Path]
				if !ok {
					before = first
				}
				m.next[before], last[rule.Path] = int32(i), int32(i)
			}
			continue
		}
		p, err := newPattern(rule.Pattern, rule.Slash)
		if err == nil && p.globs != nil {
			err = fmt.Errorf("it has several *")
		}
		if err != nil {
			return nil, fmt.Errorf("redirect %d: %w", i+1, err)
		}
		m.patterns[i] = p
		m.tree.add(p, int32(i), &m.bytes)
	}
	if err := m.headers.fill(r.Headers, &m.bytes); err != nil {
		return nil, err
	}
	return m, m.checkCredentials()
}

func partsBytes(parts []Part) (n int64) {
	for _, p := range parts {
		n += 80 + int64(len(p.Text))
	}
	return n
}

// Bytes returns the approximate memory of the matcher in bytes.
func (m *Matcher) Bytes() int64 { return m.bytes }

// Site returns the settings.
func (m *Matcher) Site() Site { return m.site }

const (
	// nodeBytes is the approximate memory of a node, with its place in a map.
	nodeBytes = 400
	// segmentBytes is that of a segment of a pattern.
	segmentBytes = 64
)

// add adds rule i, whose patterns follow those of earlier rules, and counts the
// memory.
func (n *node) add(p *pattern, i int32, bytes *int64) {
	*bytes += segmentBytes * int64(len(p.head))
	for k := range p.head {
		n.first = min(n.first, i)
		n = n.child(&p.head[k], bytes)
	}
	n.first = min(n.first, i)
	n.leaves = append(n.leaves, i)
}

func (n *node) child(s *segment, bytes *int64) *node {
	if s.names == nil {
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		to, ok := n.literal[s.text]
		if !ok {
			to = &node{first: none}
			*bytes += nodeBytes
			n.literal[s.text] = to
		}
		return to
	}
	for _, e := range n.other {
		if sameTexts(e.segment.texts, s.texts) {
			return e.to
		}
	}
	to := &node{first: none}
	*bytes += nodeBytes
	n.other = append(n.other, edge{*s, to})
	return to
}

func sameTexts(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Request is what rules look at.
type Request struct {
	Host string // in lower case, without port
	// Path is decoded and begins with a slash.
	Path  string
	Query string // as sent, without ?
	// HTML means that the client asked for a page: its Accept header has
	// text/html.
	HTML bool
}

// search looks for the first rule that matches.
type search struct {
	m     *Matcher
	r     Request
	query url.Values // parsed if a rule needs it
	best  int32
	slots [8]capture
}

// first returns the index of the first redirect that matches, or none.
func (s *search) first() int32 {
	path := s.r.Path
	s.best = none
	s.chain(path, false)
	if n := len(path) - 1; n > 0 && path[n] == '/' {
		s.chain(path[:n], true)
	}
	s.walk(&s.m.tree, 0)
	return s.best
}

// chain tries the redirects without a pattern that have this path.
func (s *search) chain(path string, slash bool) {
	i, ok := s.m.statics[path]
	if !ok {
		return
	}
	for ; i >= 0 && i < s.best; i = s.m.next[i] {
		if rule := &s.m.rules.Redirects[i]; (!slash || rule.Slash) && s.allows(rule) {
			s.best = i
			return
		}
	}
}

// walk tries the patterns below n, whose segments end at byte at of the path.
// It visits each node at most once, because each has one depth.
func (s *search) walk(n *node, at int) {
	if n.first >= s.best {
		return
	}
	for _, i := range n.leaves {
		if i >= s.best {
			break
		}
		if _, ok := s.m.patterns[i].finish(s.r.Path[at:], s.slots[:0]); ok && s.allows(&s.m.rules.Redirects[i]) {
			s.best = i
			break
		}
	}
	if n.literal == nil && n.other == nil {
		return
	}
	segment, end, ok := segmentAt(s.r.Path, at)
	if !ok {
		return
	}
	if to := n.literal[segment]; to != nil {
		s.walk(to, end)
	}
	for i := range n.other {
		if n.other[i].to.first >= s.best {
			continue
		}
		if _, ok := n.other[i].segment.match(segment, s.slots[:0]); ok {
			s.walk(n.other[i].to, end)
		}
	}
}

// maxQuery is the maximum length in bytes of a query that rules look at.
const maxQuery = 16 << 10

// allows reports whether the request has the rule's host and query.
func (s *search) allows(rule *Redirect) bool {
	if rule.Host != "" && rule.Host != s.r.Host {
		return false
	}
	if len(rule.Query) == 0 {
		return true
	}
	if s.query == nil {
		s.query = url.Values{}
		if len(s.r.Query) <= maxQuery {
			// The valid part counts.
			s.query, _ = url.ParseQuery(s.r.Query)
		}
	}
	for _, q := range rule.Query {
		values, ok := s.query[q.Name]
		if !ok || q.As == "" && values[0] != q.Value || q.As != "" && values[0] == "" {
			return false
		}
	}
	return true
}

// Match is a redirect that matches a request.
type Match struct {
	Status int
	Force  bool
	// Location is the target of a redirect, escaped, with the request's query
	// unless the target has its own. It is "" for other statuses.
	Location string
	// Path is the decoded path of the file for other statuses.
	Path string
	// Index is the rule's place in Rules.Redirects.
	Index int
}

// Redirect returns the first redirect that matches. A redirect that leads to
// the same path does not match.
func (m *Matcher) Redirect(r Request) (Match, bool) {
	if len(m.rules.Redirects) == 0 {
		return Match{}, false
	}
	s := search{m: m, r: r}
	i := s.first()
	if i == none {
		return Match{}, false
	}
	rule := &m.rules.Redirects[i]
	var captures []capture
	if p := m.patterns[i]; p != nil {
		captures, _ = p.match(r.Path, s.slots[:0])
	}
	for _, q := range rule.Query {
		if q.As != "" {
			captures = append(captures, capture{q.As, s.query.Get(q.Name)})
		}
	}
	out := Match{Status: rule.Status, Force: rule.Force, Index: int(i)}
	if !redirects(rule.Status) {
		out.Path = fill(rule.To, captures)
		return out, strings.HasPrefix(out.Path, "/")
	}
	var ok bool
	out.Location, ok = location(rule, captures, r)
	return out, ok
}

// fill inserts values into a path.
func fill(to []Part, captures []capture) string {
	if s, ok := static(to); ok {
		return s
	}
	var b strings.Builder
	for _, p := range to {
		b.WriteString(p.Text)
		b.WriteString(valueOf(p.Value, captures))
	}
	return "/" + strings.TrimLeft(b.String(), "/")
}

func valueOf(name string, captures []capture) string {
	if name == "" {
		return ""
	}
	for _, c := range captures {
		if c.name == name {
			return c.value
		}
	}
	return ""
}

// location returns the target of a redirect, or false if it is the request's
// own path or has an impossible host.
func location(rule *Redirect, captures []capture, r Request) (string, bool) {
	to, fixed := static(rule.To)
	if !fixed {
		var ok bool
		if to, ok = insert(rule.To, captures); !ok {
			return "", false
		}
	}
	path, fragment, query := cutTarget(to)
	if query == "" && r.Query != "" {
		query = escapeQuery(r.Query)
	}
	if !isAbsolute(path) {
		if !fixed {
			path = oneSlash(path)
		}
		if samePath(path, r.Path) && query == escapeQuery(r.Query) {
			return "", false
		}
	}
	if query != "" {
		path += "?" + query
	}
	if fragment != "" {
		path += "#" + fragment
	}
	return path, true
}

// samePath reports whether an escaped path is the decoded one, perhaps with one
// more or one less slash at the end: following it would come back.
func samePath(escaped, path string) bool {
	if decoded, err := url.PathUnescape(escaped); err == nil {
		escaped = decoded
	}
	return strings.TrimSuffix(escaped, "/") == strings.TrimSuffix(path, "/")
}

// insert inserts escaped values into a URL.
func insert(to []Part, captures []capture) (string, bool) {
	var b strings.Builder
	for i, p := range to {
		if p.Value == "" {
			b.WriteString(p.Text)
			continue
		}
		value, before := valueOf(p.Value, captures), b.String()
		switch {
		case i == 1 && (before == "https://" || before == "http://"):
			if !isLabel(value) {
				return "", false
			}
			b.WriteString(value)
		case strings.ContainsAny(before, "?#"):
			b.WriteString(url.QueryEscape(value))
		default:
			b.WriteString((&url.URL{Path: value}).EscapedPath())
		}
	}
	return b.String(), true
}

// isLabel reports whether s can be the first label of a host.
func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-'
}

// oneSlash replaces each run of slashes by one, so that a value can't turn a
// path into the address of another host.
func oneSlash(path string) string {
	if !strings.Contains(path, "//") {
		return path
	}
	var b strings.Builder
	for i := range len(path) {
		if path[i] != '/' || i == 0 || path[i-1] != '/' {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}
