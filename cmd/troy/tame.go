package main

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The maximum length in bytes of a control sequence. A longer one has lost its
// end and counts as text.
const (
	maxSequence = 64
	maxString   = 4096
)

const reset = "\x1b[0m"

// tamer passes a build's output on to a terminal: text, line ends, tabs and, if
// colour is set, sequences that set colours (SGR, ECMA-48 §8.3.117). A carriage
// return becomes a line end, so that nothing is overwritten. All other control
// characters and sequences, and characters that change the direction of text,
// are removed.
type tamer struct {
	w      io.Writer
	colour bool

	state    tamerState
	sequence []byte // the parameters of a control sequence
	skipped  int    // bytes of a control string
	held     []byte // the beginning of a character
	returned bool   // the last character was a carriage return
	coloured bool   // a colour was set since the last reset
	column   bool   // the current line is not empty
	out      bytes.Buffer
}

// tamerState is the parser's state (ECMA-48 §5).
type tamerState int

const (
	inText   tamerState = iota
	inEscape            // after ESC
	inCSI               // in a control sequence, after ESC [
	inString            // in a control string, after ESC ] or a similar sequence
	atString            // in a control string, after ESC
)

// Write implements io.Writer. A sequence may span several calls.
func (t *tamer) Write(p []byte) (int, error) {
	t.out.Reset()
	text := append(t.held, p...)
	t.held = nil
	for len(text) > 0 {
		if !utf8.FullRune(text) {
			t.held = append(t.held, text...)
			break
		}
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		t.take(r)
	}
	if _, err := t.w.Write(t.out.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end resets the terminal: no colour, start of a line.
func (t *tamer) end() {
	t.out.Reset()
	if t.coloured {
		t.out.WriteString(reset)
	}
	if t.column {
		t.out.WriteByte('\n')
	}
	t.coloured, t.column = false, false
	_, _ = t.w.Write(t.out.Bytes())
}

func (t *tamer) take(r rune) {
	switch t.state {
	case inText:
		t.text(r)
	case inEscape:
		t.escape(r)
	case inCSI:
		t.csi(r)
	case inString, atString:
		t.controlString(r)
	}
}

func (t *tamer) text(r rune) {
	returned := t.returned
	t.returned = r == '\r'
	switch {
	case r == '\x1b':
		t.state = inEscape
	case r == '\u009b':
		t.state = inCSI
	case r == '\u0090' || r == '\u0098' || r >= '\u009d' && r <= '\u009f':
		t.state, t.skipped = inString, 0
	case r == '\n' && returned: // the line end was already written
	case r == '\n' || r == '\r':
		t.out.WriteByte('\n')
		t.column = false
	case r == '\t' || unicode.IsPrint(r):
		t.out.WriteRune(r)
		t.column = true
	}
}

func (t *tamer) escape(r rune) {
	t.state = inText
	switch {
	case r == '[':
		t.state, t.sequence = inCSI, t.sequence[:0]
	case strings.ContainsRune("]PX^_", r):
		t.state, t.skipped = inString, 0
	case r >= ' ' && r <= '/': // more follows, as in ESC ( B
		t.state = inEscape
	case r < ' ':
		t.text(r)
	}
}

func (t *tamer) csi(r rune) {
	switch {
	case r >= '@' && r <= '~':
		t.state = inText
		if r == 'm' && t.colour && strings.Trim(string(t.sequence), "0123456789;:") == "" {
			t.out.WriteString("\x1b[" + string(t.sequence) + "m")
			t.coloured = strings.Trim(string(t.sequence), "0") != ""
		}
		t.sequence = t.sequence[:0]
	case r >= ' ' && r <= '?' && len(t.sequence) < maxSequence:
		t.sequence = append(t.sequence, byte(r))
	default: // it has no end
		t.state, t.sequence = inText, t.sequence[:0]
		t.text(r)
	}
}

// controlString skips a control string up to the end of its line at most,
// because one without an end would swallow the rest.
func (t *tamer) controlString(r rune) {
	t.skipped++
	switch {
	case r == '\a' || r == '\u009c' || t.state == atString && r == '\\' || t.skipped > maxString:
		t.state = inText
	case r == '\n' || r == '\r':
		t.state = inText
		t.text(r)
	case r == '\x1b':
		t.state = atString
	default:
		t.state = inString
	}
}
