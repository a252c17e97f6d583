package secret

import (
	"bytes"
	"sort"
)

const (
	escape = 0x1b
	// maxSequence is the longest control sequence, in bytes, that a secret may
	// have in between.
	maxSequence = 64
	// maxHeld bounds what is held back of a text with control sequences.
	maxHeld = 4 << 10
)

// view is what the writer holds, as it is or without the control sequences of
// a terminal, which colour a text and split it.
type view struct {
	buf []byte
	at  []int // where each byte of buf is in the writer's buffer; nil: where it is here
	end int   // the length of the writer's buffer
}

// offset is the place in the writer's buffer of a place in the view.
func (v view) offset(i int) int {
	switch {
	case v.at == nil:
		return i
	case i >= len(v.at):
		return v.end
	}
	return v.at[i]
}

// index is the first place in the view that is at or behind a place in the
// writer's buffer.
func (v view) index(offset int) int {
	if v.at == nil {
		return offset
	}
	return sort.SearchInts(v.at, offset)
}

// span is the part of the writer's buffer that a part of the view, which is
// not empty, was made of.
func (v view) span(start, end int) span {
	return span{start: v.offset(start), end: v.offset(end-1) + 1}
}

// uncolored is a view of a buffer without control sequences (ECMA-48 §5.4, and
// the escape sequences of two bytes), or the zero view if it has none. At open
// one begins that the buffer's end cuts off.
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

// sequence returns the length of the control sequence that b begins with, or
// 0; cut says that b ends inside of one.
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
