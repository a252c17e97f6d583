package secret

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
)

const (
	// maxRound bounds what is looked at in one go, and so the memory.
	maxRound = 32 << 10
	// maxLineEnds is how many bytes of line ends may lie in one piece.
	maxLineEnds = 8
)

// span is a part of the buffer that is not passed on.
type span struct {
	start, end int
	// run: the token that ends here goes on if its characters do; eat: the
	// next byte belongs to the span if it is base64. Both are set at the
	// buffer's end alone.
	run, eat bool
}

// writer finds all spans in what it holds, passes on what lies between them,
// and keeps the end that may be the beginning of another.
type writer struct {
	r  *Redactor
	to io.Writer
	// buf is what was kept. Its first done bytes are dealt with: passed on, or
	// in a span whose marker was written.
	buf  []byte
	done int
	// marked: what was dealt with last is a span, so one that follows at once
	// needs no marker of its own.
	marked bool
	// run and eat are those of the span that was dealt with last.
	run, eat bool
	spans    []span
	out      []byte
	err      error
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n := len(p)
	w.out = w.out[:0]
	for len(p) > 0 {
		part := p[:min(len(p), maxRound)]
		p = p[len(part):]
		w.buf = append(w.buf, part...)
		w.round(false)
		if len(w.out) >= maxRound || len(p) == 0 {
			if w.flush(); w.err != nil {
				return 0, w.err
			}
		}
	}
	return n, nil
}

// Close passes on what is held back.
func (w *writer) Close() error {
	if w.err != nil {
		if errors.Is(w.err, io.ErrClosedPipe) {
			return nil
		}
		return w.err
	}
	w.out = w.out[:0]
	w.round(true)
	w.flush()
	err := w.err
	if err == nil {
		w.err = io.ErrClosedPipe
	}
	return err
}

func (w *writer) flush() {
	if len(w.out) == 0 {
		return
	}
	_, w.err = w.to.Write(w.out)
	w.out = w.out[:0]
}

// round looks at what is held, appends to out what can be passed on, and keeps
// the rest. At the end nothing is kept.
func (w *writer) round(last bool) {
	n := len(w.buf)
	w.spans = w.spans[:0]
	v, open := uncolored(w.buf)
	if v.at == nil {
		v = view{buf: w.buf}
	}
	from := w.goOn(v)
	hold, keep := w.look(view{buf: w.buf}, from)
	if v.at != nil {
		h, k := w.look(v, v.index(from))
		h, k = min(hold, v.offset(h), open, w.undecided()), min(keep, v.offset(k))
		// A text with more control sequences than that is not a coloured one.
		if n-h <= maxHeld && n-k <= maxHeld {
			hold, keep = h, k
		}
	}
	if last {
		hold, keep = n, n
	}
	keep = min(keep, hold)

	slices.SortFunc(w.spans, func(a, b span) int { return a.start - b.start })
	at := w.done
	for _, s := range w.spans {
		if s.start >= hold && s.start > at {
			// What comes before it is open; it will be found again.
			break
		}
		w.run, w.eat = w.run || s.run, w.eat || s.eat
		if s.end <= at {
			continue
		}
		if s.start > at || !w.marked {
			w.out = append(w.out, w.buf[at:max(at, s.start)]...)
			w.out = append(w.out, Marker...)
			w.marked = true
		}
		at = s.end
	}
	if at < hold {
		w.out = append(w.out, w.buf[at:hold]...)
		w.marked, at = false, hold
	}
	w.done = at - keep
	w.buf = w.buf[:copy(w.buf, w.buf[keep:])]
}

// look finds the spans of a view, and returns up to where it is decided what
// is passed on and from where on bytes are kept.
func (w *writer) look(v view, from int) (hold, keep int) {
	n := len(v.buf)
	hold, keep = w.secrets(v)
	hold = min(hold, w.tokens(v, from))
	if w.r.left && hold == n && n > 0 && isBase64(v.buf[n-1]) {
		// A piece may come whose left neighbour this is.
		hold = n - 1
	}
	return hold, keep
}

// goOn continues the span that the last round ended in, and returns from where
// on tokens may begin. v is what is held, without control sequences: the text
// behind one continues the span too.
func (w *writer) goOn(v view) int {
	start, n := v.index(w.done), len(v.buf)
	if start == n {
		return 0
	}
	run, eat := w.run, w.eat
	w.run, w.eat = false, false
	if eat && isBase64(v.buf[start]) {
		w.spans = append(w.spans, span{start: w.done, end: v.offset(start) + 1})
	}
	if !run {
		return 0
	}
	at := start
	for at < n && isToken(v.buf[at]) {
		at++
	}
	if at == start {
		return w.done
	}
	end := v.offset(at-1) + 1
	w.spans = append(w.spans, span{start: w.done, end: end, run: at == n})
	return end
}

// undecided is where the control sequences begin that are part of a span if
// the text behind them continues it.
func (w *writer) undecided() int {
	at := len(w.buf)
	if w.run || w.eat {
		at = w.done
	}
	for _, s := range w.spans {
		if s.run || s.eat {
			at = min(at, s.end)
		}
	}
	return at
}

// secrets finds the pieces. From hold on one may have begun. From keep on one
// may have begun whose first line is ended, though so little of it is there
// that the line is passed on.
func (w *writer) secrets(v view) (hold, keep int) {
	r, buf := w.r, v.buf
	n := len(buf)
	hold, keep = n, n
	if len(r.pieces) == 0 {
		return hold, keep
	}
	filter, shift := r.filter, r.shift
	for i := 0; i+window <= n; i++ {
		begin := binary.LittleEndian.Uint64(buf[i:])
		h := begin * golden >> shift
		if filter[h>>6]>>(h&63)&1 == 0 {
			continue
		}
		for _, at := range r.begins[begin] {
			p := &r.pieces[at]
			end, open := p.match(buf, i)
			switch {
			case open:
				hold = min(hold, max(0, i-1))
			case end > 0:
				w.found(v, p, i, end)
			}
		}
	}
	for i := max(0, n-window+1); i < n && i <= hold; i++ {
		ended, ok := r.shorter[packed(buf[i:])]
		switch {
		case ok && ended:
			keep = min(keep, max(0, i-1))
		case ok:
			return min(hold, max(0, i-1)), keep
		}
	}
	return hold, keep
}

// found adds a piece's span, with the neighbours that have bits of it.
func (w *writer) found(v view, p *piece, start, end int) {
	if p.left && start > 0 && isBase64(v.buf[start-1]) {
		start--
	}
	atEnd := end == len(v.buf)
	if p.right && !atEnd && isBase64(v.buf[end]) {
		end++
	}
	s := v.span(start, end)
	s.eat = p.right && atEnd
	w.spans = append(w.spans, s)
}

// match returns where a text of the piece ends that begins at i, or 0; open
// says that the buffer ends before it is decided.
func (p *piece) match(buf []byte, i int) (end int, open bool) {
	rest := buf[i:]
	if !p.wrapped {
		if len(rest) < len(p.text) {
			return 0, p.text[:len(rest)] == string(rest)
		}
		if string(rest[:len(p.text)]) != p.text {
			return 0, false
		}
		return i + len(p.text), false
	}
	at, ends := 0, 0
	for j := range len(p.text) {
		for at < len(rest) && rest[at] != p.text[j] {
			if rest[at] != '\n' && rest[at] != '\r' || ends == maxLineEnds {
				return 0, false
			}
			at++
			ends++
		}
		if at == len(rest) {
			return 0, true
		}
		at++
	}
	return i + at, false
}

// minToken is how many characters follow the prefix of a token at least
// (github.blog, "Behind GitHub's new authentication token formats").
const minToken = 36

// tokens finds GitHub's tokens from an index on, and returns from where on one
// may have begun. The stateless installation tokens, ghs_APPID_JWT, have some
// 520 characters, so a token goes on as long as its characters do.
func (w *writer) tokens(v view, from int) (hold int) {
	buf := v.buf
	n := len(buf)
	hold = n
	for from < n {
		at := bytes.IndexByte(buf[from:], 'g')
		if at < 0 {
			break
		}
		start := from + at
		from = start + 1
		if from < n && buf[from] != 'h' && buf[from] != 'i' {
			continue
		}
		length, open := tokenPrefix(buf[start:])
		if open {
			return min(hold, start)
		}
		if length == 0 {
			continue
		}
		end := start + length
		for end < n && isToken(buf[end]) {
			end++
		}
		switch {
		case end-start-length >= minToken:
			s := v.span(start, end)
			s.run = end == n
			w.spans = append(w.spans, s)
			from = end
		case end == n:
			return min(hold, start)
		}
	}
	return hold
}

// tokenPrefix returns the length of the prefix of a token that b begins with,
// or 0; open says that b ends inside of one.
func tokenPrefix(b []byte) (length int, open bool) {
	const personal = "github_pat_"
	if len(b) < len(personal) && personal[:len(b)] == string(b) {
		return 0, true
	}
	if bytes.HasPrefix(b, []byte(personal)) {
		return len(personal), false
	}
	for i, allowed := range []string{"g", "h", "pousr", "_"} {
		if i == len(b) {
			return 0, true
		}
		if strings.IndexByte(allowed, b[i]) < 0 {
			return 0, false
		}
	}
	return len("ghs_"), false
}

// isToken is one of GitHub's pattern, [A-Za-z0-9\._], or the hyphen, which the
// JWT in a token may have (RFC 7515 §2).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}
