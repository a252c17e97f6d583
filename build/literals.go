package build

import (
	"slices"
	"strings"
)

// literals are the values that a JavaScript or TypeScript file writes out in
// its object literals, keyed by their path: "build.outDir". A value that only
// running the file can tell, or that the file gives twice in different ways, is
// "". Troy never runs these files.
type literals map[string]string

// maxLiteralDepth is the maximum depth of brackets. What is deeper is ignored.
const maxLiteralDepth = 64

// readLiterals finds the literals of a script. It recognizes enough of the
// language to know which object a key belongs to. Functions and conditions
// inside an object make its keys unknown, so they are left out.
func readLiterals(source string) literals {
	r := literalReader{scan: scanner{source: source}, found: literals{}}
	for {
		t := r.scan.next()
		if t.kind == endToken {
			return r.found
		}
		r.token(t)
		r.before, r.last = r.last, t
	}
}

// bracket is an open bracket.
type bracket struct {
	key    string // the key or the call that it belongs to
	open   byte
	object bool // it is an object literal
	opaque bool // what is inside belongs to no key that is known
}

type literalReader struct {
	scan         scanner
	last, before token
	stack        []bracket
	lost         int    // open brackets beyond maxLiteralDepth
	key          string // the key whose value follows
	pending      bool   // there is such a key, and its value has not begun
	value        string // the literal that may be its value
	closing      bool   // the value must end here
	found        literals
}

func (r *literalReader) token(t token) {
	if r.closing {
		r.closing = false
		if t.is(",") || t.is("}") || t.kind == wordToken && t.line || t.kind == textToken && t.line {
			r.add(r.key, r.value)
		} else {
			r.add(r.key, "") // an expression that begins with a literal
		}
		r.pending = false
	}
	switch {
	case t.is("{"), t.is("("), t.is("["):
		r.open(t.text[0])
	case t.is("}"), t.is(")"), t.is("]"):
		r.pending = false
		if r.lost > 0 {
			r.lost--
		} else if n := len(r.stack); n > 0 {
			r.stack = r.stack[:n-1]
		}
	case t.is(":") && (r.last.kind == wordToken || r.last.kind == textToken) && r.inObject():
		if r.before.is("{") || r.before.is(",") || r.last.line {
			r.key, r.pending = r.last.text, true
		}
	case r.pending && r.last.is(":") && (t.kind == textToken || t.kind == wordToken && (t.text == "true" || t.text == "false")):
		r.value, r.closing = t.text, true
	case r.pending && r.last.is(":"):
		if t.kind != wordToken || !r.calls() {
			r.add(r.key, "")
			r.pending = false
		}
	case t.kind == textToken && r.last.is("(") && len(r.stack) > 0:
		// The first argument of a call outside objects: config.setOutput("www").
		if top := r.stack[len(r.stack)-1]; !r.known() || strings.HasSuffix(top.key, "()") {
			r.call(top.key, t.text)
		}
	case t.is(","), t.is(";"):
		r.pending = false
	}
}

// calls reports whether the word just read is followed by a call.
func (r *literalReader) calls() bool {
	rest := r.scan
	return rest.next().is("(")
}

func (r *literalReader) inObject() bool {
	return r.lost == 0 && len(r.stack) > 0 && r.stack[len(r.stack)-1].object
}

// known reports whether an object literal contains what follows.
func (r *literalReader) known() bool {
	return slices.ContainsFunc(r.stack, func(b bracket) bool { return b.object })
}

func (r *literalReader) open(kind byte) {
	if len(r.stack) == maxLiteralDepth {
		r.lost++
		return
	}
	b := bracket{open: kind}
	top := bracket{}
	if len(r.stack) > 0 {
		top = r.stack[len(r.stack)-1]
	}
	member := top.open == '(' || top.open == '['
	afterKey := r.pending && (r.last.is(":") || r.last.kind == wordToken && r.before.is(":"))
	switch {
	case kind == '{' && r.pending && r.last.is(":"):
		b.key, b.object = r.key, true
	case kind == '{' && member && (r.last.is("(") || r.last.is("[") || r.last.is(",")):
		b.object = true
	case kind == '{' && !r.known():
		b.object = r.last.is("=") || r.last.kind == wordToken && (r.last.text == "return" || r.last.text == "default")
	case kind == '(' && afterKey && r.last.kind == wordToken:
		b.key = r.key
	case kind == '(' && r.last.kind == wordToken && (top.open == '[' || !r.known()):
		b.key = r.last.text + "()"
		b.opaque = r.before.is(".") // a method has settings of its own
	case kind == '(' && !r.known():
		// A wrapper's second call, or parentheses.
	case kind == '[' && r.pending && r.last.is(":"):
		b.key = r.key
	case kind == '[' && !r.known():
	default:
		b.opaque = true
	}
	r.pending = false
	r.stack = append(r.stack, b)
}

// path returns the path of a key, without the calls that wrap a whole
// configuration, or "" if it is not known.
func (r *literalReader) path(key string) string {
	if r.lost > 0 {
		return ""
	}
	var parts []string
	object := false
	for _, b := range r.stack {
		if b.opaque {
			return ""
		}
		if object = object || b.object; b.key != "" && (object || b.open == '[') {
			parts = append(parts, b.key)
		}
	}
	return strings.Join(append(parts, key), ".")
}

func (r *literalReader) add(key, value string) {
	path := r.path(key)
	if path == "" {
		return
	}
	if old, again := r.found[path]; again && old != value {
		value = ""
	}
	r.found[path] = value
}

// call records the text that a call outside objects gets.
func (r *literalReader) call(name, value string) {
	if r.known() || name == "" {
		return
	}
	if old, again := r.found[name]; again && old != value {
		value = ""
	}
	r.found[name] = value
}

// The kinds of tokens.
const (
	endToken = iota
	wordToken
	textToken
	signToken
)

type token struct {
	kind int
	text string
	line bool // it begins a line
}

func (t token) is(sign string) bool { return t.kind == signToken && t.text == sign }

// scanner splits a script into words, texts and signs, without comments.
type scanner struct {
	source string
	at     int
	sign   byte // the last sign, which tells a division from a regular expression
}

func (s *scanner) next() token {
	t := token{line: s.at == 0}
	for s.at < len(s.source) {
		c := s.source[s.at]
		switch rest := s.source[s.at:]; {
		case c == '\n':
			t.line = true
			s.at++
		case c == ' ' || c == '\t' || c == '\r':
			s.at++
		case strings.HasPrefix(rest, "//"):
			s.at += until(rest, "\n")
		case strings.HasPrefix(rest, "/*"):
			s.at += until(rest[2:], "*/") + 4
		case c == '"' || c == '\'' || c == '`':
			t.kind, t.text = textToken, s.text(c)
			s.sign = 0
			if t.text == "" {
				t.kind, t.text = signToken, "text" // one that is not literal
			}
			return t
		case isWord(c):
			end := s.at
			for end < len(s.source) && isWord(s.source[end]) {
				end++
			}
			t.kind, t.text = wordToken, s.source[s.at:end]
			s.at, s.sign = end, 0
			return t
		case c == '/' && s.sign != 0 && strings.IndexByte("(,=:[!&|?{};>", s.sign) >= 0:
			s.regexp()
			t.kind, t.text = signToken, "regexp"
			s.sign = 0
			return t
		default:
			t.kind, t.text = signToken, string(c)
			s.at, s.sign = s.at+1, c
			return t
		}
	}
	s.at = len(s.source)
	t.kind = endToken
	return t
}

// until returns the index of end in text, or the text's length.
func until(text, end string) int {
	if i := strings.Index(text, end); i >= 0 {
		return i
	}
	return len(text)
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// text reads a quoted text. It returns "" for one with an escape or an
// expression.
func (s *scanner) text(quote byte) string {
	start, literal := s.at+1, true
	for s.at++; s.at < len(s.source); s.at++ {
		switch c := s.source[s.at]; {
		case c == '\\':
			literal = false
			s.at++
		case c == '$' && quote == '`' && strings.HasPrefix(s.source[s.at:], "${"):
			literal = false
		case c == '\n' && quote != '`':
			return ""
		case c == quote:
			text := s.source[start:s.at]
			if s.at++; !literal {
				return ""
			}
			return text
		}
	}
	return ""
}

// regexp skips a regular expression.
func (s *scanner) regexp() {
	class := false
	for s.at++; s.at < len(s.source); s.at++ {
		switch c := s.source[s.at]; {
		case c == '\\':
			s.at++
		case c == '[':
			class = true
		case c == ']':
			class = false
		case c == '\n':
			return
		case c == '/' && !class:
			s.at++
			return
		}
	}
}
