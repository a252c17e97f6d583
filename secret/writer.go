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
	// maxRound bounds the bytes of one round, and so the memory.
	maxRound = 32 << 10
	// maxLineEnds is the maximum number of line-end bytes inside one piece.
	maxLineEnds = 8
)

// span is a part of the buffer that is replaced by the marker.
type span struct {
	start, end int
	// run: the token continues if its characters continue. eat: the next byte
	// belongs to the span if it is a base64 character. Both are set only at the
	// buffer's end.
	run, eat bool
}

// writer finds the spans in its buffer, passes on the text between them, and
// keeps the end if it may begin another span.
type writer struct {
	r  *Redactor
	to io.Writer
	// buf holds the bytes that were kept. Its first done bytes were passed on
	// or replaced.
	buf  []byte
	done int
	// marked: the last thing written was a marker, so an adjacent span needs
	// none.
	marked bool
	// run and eat belong to the last span.
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

// Close passes on the bytes held back.
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

// round scans the buffer, appends to out the bytes that can be passed on, and
// keeps the rest. The last round keeps nothing.
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
		// A text with more control sequences than that is not just coloured.
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
			// Earlier bytes are undecided; the next round finds the span again.
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

// look finds the spans of a view. It returns hold, the end of the bytes that
// can be passed on, and keep, the start of the bytes to keep.
func (w *writer) look(v view, from int) (hold, keep int) {
	n := len(v.buf)
	hold, keep = w.secrets(v)
	hold = min(hold, w.tokens(v, from))
	if w.r.left && hold == n && n > 0 && isBase64(v.buf[n-1]) {
		// A piece may follow whose left neighbour this is.
		hold = n - 1
	}
	return hold, keep
}

// goOn continues the span in which the last round ended, and returns the index
// from which tokens may begin. v excludes control sequences, because the text
// after one continues the span too.
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

// undecided returns the offset of the control sequences that become part of a
// span if the text after them continues it.
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

// secrets finds the pieces. A piece may begin at or after hold. A piece whose
// first line has ended may begin at or after keep; too little of it is there to
// hold the line back.
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

// found adds a piece's span, including the neighbours that encode bits of it.
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

// match returns the end of a match of the piece that begins at i, or 0. open
// reports that the buffer ends before the match is decided.
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

// minToken is the minimum number of characters after a token's prefix
// (github.blog, "Behind GitHub's new authentication token formats").
const minToken = 36

// tokens finds GitHub's tokens from an index on, and returns the index from
// which one may have begun. Stateless installation tokens, ghs_APPID_JWT, have
// about 520 characters, so a token ends only where its characters end.
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

// tokenPrefix returns the length of the token prefix at the beginning of b, or
// 0. open reports that b ends inside a prefix.
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

// isToken reports whether c matches GitHub's pattern, [A-Za-z0-9\._], or is a
// hyphen, which the JWT in a token may contain (RFC 7515 §2).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}
