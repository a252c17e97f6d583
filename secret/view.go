package secret

import (
	"bytes"
	"sort"
)

const (
	escape = 0x1b
	// maxSequence is the maximum length of a control sequence inside a secret,
	// in bytes.
	maxSequence = 64
	// maxHeld bounds the bytes held back of a text with control sequences.
	maxHeld = 4 << 10
)

// view is the writer's buffer, with or without the terminal control sequences
// that colour a text and split it.
type view struct {
	buf []byte
	at  []int // the offset of each byte of buf in the writer's buffer; nil if they are equal
	end int   // the length of the writer's buffer
}

// offset returns the offset in the writer's buffer of index i of the view.
func (v view) offset(i int) int {
	switch {
	case v.at == nil:
		return i
	case i >= len(v.at):
		return v.end
	}
	return v.at[i]
}

// index returns the first index in the view at or after an offset in the
// writer's buffer.
func (v view) index(offset int) int {
	if v.at == nil {
		return offset
	}
	return sort.SearchInts(v.at, offset)
}

// span returns the part of the writer's buffer for a non-empty part of the
// view.
func (v view) span(start, end int) span {
	return span{start: v.offset(start), end: v.offset(end-1) + 1}
}

// uncolored returns a view of buf without control sequences (ECMA-48 §5.4, and
// two-byte escape sequences), or the zero view if there are none. open is the
// offset of a sequence that the end of buf cuts off.
func uncolored(buf []byte) (v view, open int) {
	open = len(buf)
	next := bytes.IndexByte(buf, escape)
	if next < 0 {
		return view{}, open
	}
	v = view{buf: make([]byte, 0, len(buf)), at: make([]int, 0, len(buf)), end: len(buf)}
	for i := 0; i < len(buf); {
		if buf[i] == escape {
			length, cut := sequence(buf[i:])
			if cut {
				return v, i
			}
			if length > 0 {
				i += length
				continue
			}
		}
		v.buf, v.at = append(v.buf, buf[i]), append(v.at, i)
		i++
	}
	return v, open
}

// sequence returns the length of the control sequence at the beginning of b, or
// 0. cut reports that b ends inside one.
func sequence(b []byte) (length int, cut bool) {
	if len(b) == 1 {
		return 0, true
	}
	if b[1] != '[' {
		if b[1] >= 0x40 && b[1] <= 0x5f {
			return 2, false
		}
		return 0, false
	}
	for i := 2; i < len(b) && i < maxSequence; i++ {
		switch c := b[i]; {
		case c >= 0x40 && c <= 0x7e:
			return i + 1, false
		case c < 0x20 || c > 0x3f:
			return 0, false
		}
	}
	return 0, len(b) < maxSequence
}
