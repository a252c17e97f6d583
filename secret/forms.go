package secret

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// maxPiece is the maximum length of a piece in bytes.
const maxPiece = 64

// piece is a part of one form of a secret.
type piece struct {
	text string
	// wrapped: line ends inside the piece don't count, as in wrapped base64.
	wrapped bool
	// left and right: the base64 character before or after the piece encodes
	// bits of the secret and of its neighbour.
	left, right bool
}

// beginnings returns the first eight bytes of each text that matches the piece.
// There are several if a line end may stand among them.
func (p piece) beginnings() []string {
	out := []string{p.text[:window]}
	if !p.wrapped {
		return out
	}
	for _, end := range []string{"\n", "\r\n"} {
		for n := 1; n < window; n++ {
			out = append(out, (p.text[:n] + end + p.text[n:])[:window])
		}
	}
	return out
}

// addForms adds the pieces of every form of a value.
func addForms(set map[string]piece, value string) {
	whole := strings.TrimSpace(value)
	addEncoded(set, whole, true)
	lines := strings.FieldsFunc(whole, func(c rune) bool { return c == '\n' || c == '\r' })
	if len(lines) < 2 {
		return
	}
	// A terminal changes the line ends of a file.
	unix := strings.ReplaceAll(whole, "\r\n", "\n")
	addEncoded(set, unix, true)
	addEncoded(set, strings.ReplaceAll(unix, "\n", "\r\n"), true)
	// Some programs end a line at a carriage return, others don't.
	for _, line := range append(lines, strings.Split(whole, "\n")...) {
		if line = strings.TrimSpace(line); len(line) >= window {
			// Only the base64 of the whole value is wrapped; a line's is short.
			addEncoded(set, line, false)
		}
	}
}

// addEncoded adds text, unchanged and in the usual encodings. wrapped says
// whether line ends may split its base64.
func addEncoded(set map[string]piece, text string, wrapped bool) {
	for _, plain := range plainForms(text) {
		add(set, piece{text: plain})
	}
	for _, p := range base64Forms(text) {
		p.wrapped = wrapped
		add(set, p)
	}
}

// plainForms returns text unchanged, URL-encoded, JSON-escaped and in
// hexadecimal.
func plainForms(text string) []string {
	forms := append([]string{text}, urlEncoded(text)...)
	for _, escaped := range jsonEscaped(text) {
		// PHP's json_encode escapes slashes too (RFC 8259 §7 allows it).
		forms = append(forms, escaped, strings.ReplaceAll(escaped, "/", `\/`))
	}
	digits := hex.EncodeToString([]byte(text))
	return append(forms, digits, strings.ToUpper(digits))
}

func base64Forms(text string) []piece {
	var forms []piece
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			forms = append(forms, base64At(alphabet, text, before))
		}
	}
	return forms
}

// base64At returns the base64 characters that depend only on text if before
// bytes (mod 3) precede it. It leaves out the characters at both ends that also
// encode bits of the neighbours.
func base64At(alphabet *base64.Encoding, text string, before int) piece {
	encoded := alphabet.EncodeToString(append(make([]byte, before), text...))
	first := (before*8 + 5) / 6
	all := (before + len(text)) * 8
	return piece{text: encoded[first : all/6], left: before > 0, right: all%6 != 0}
}

// add splits a form into pieces. The last two may overlap, so that none is too
// short.
func add(set map[string]piece, form piece) {
	n := len(form.text)
	if n < window {
		return
	}
	for start := 0; ; start += maxPiece {
		p := piece{wrapped: form.wrapped, left: form.left && start == 0}
		end := start + maxPiece
		if end >= n {
			start, end = max(0, n-maxPiece), n
			p.right = form.right
		}
		p.text = form.text[start:end]
		if other, ok := set[p.text]; ok {
			p.wrapped, p.left, p.right = p.wrapped || other.wrapped, p.left || other.left, p.right || other.right
		}
		set[p.text] = p
		if end == n {
			return
		}
	}
}

// urlEncoded returns text in the URL encodings in use. They differ in the
// characters that they leave unescaped, in the space, and in the case of
// digits.
func urlEncoded(text string) []string {
	const unreserved = "-._~" // and letters and digits (RFC 3986 §2.3)
	out := []string{url.PathEscape(text)}
	for _, kept := range []string{
		unreserved,
		"-._",                           // Java, and forms (WHATWG URL, application/x-www-form-urlencoded)
		unreserved + "/",                // Python's quote
		unreserved + "!'()*",            // encodeURIComponent
		unreserved + "!'()*;,/?:@&=+$#", // encodeURI
		unreserved + "!'()*;,/?:@&=+$",  // Ruby's URI::DEFAULT_PARSER.escape
		unreserved + "!$&'()*+,;=:",     // user info (RFC 3986 §3.2.1)
	} {
		for _, digits := range []string{"0123456789ABCDEF", "0123456789abcdef"} {
			spaced := percentEncode(text, kept, digits)
			out = append(out, spaced, strings.ReplaceAll(spaced, "%20", "+"))
		}
	}
	return out
}

func percentEncode(text, kept, digits string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte(kept, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// jsonEscaped returns text as it appears in a JSON string written by Go and by
// JavaScript. Go also escapes <, > and &.
func jsonEscaped(text string) []string {
	strict, err := json.Marshal(text)
	if err != nil {
		return nil
	}
	var b strings.Builder
	plain := json.NewEncoder(&b)
	plain.SetEscapeHTML(false)
	if err := plain.Encode(text); err != nil {
		return nil
	}
	return []string{strings.Trim(string(strict), `"`), strings.Trim(strings.TrimSpace(b.String()), `"`)}
}
