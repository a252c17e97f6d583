package secret

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/troy-iaas/troy"
)

// Limits of the secret values.
const (
	// MinValue is the minimum length of a secret in characters. A shorter value
	// would match all over a log, and the gaps would give it away.
	MinValue = 8
	// MaxValue is the maximum length of a secret in bytes.
	MaxValue = 32 << 10
	// MaxValues is the maximum length of all values of a Redactor together, in
	// bytes. A Redactor needs 300 times their size in memory, or 700 times for
	// values with many short lines.
	MaxValues = 64 << 10
)

// Marker replaces a secret in a log.
const Marker = "***"

// CheckValue returns an Invalid error if value can't be a secret. Surrounding
// white space does not count.
func CheckValue(value string) error {
	switch n := utf8.RuneCountInString(strings.TrimSpace(value)); {
	case n < MinValue:
		return troy.Errorf(troy.Invalid, "the secret has %d characters; expected at least %d, because shorter secrets can't be removed from logs", n, MinValue)
	case len(value) > MaxValue:
		return troy.Errorf(troy.Invalid, "the secret has %d bytes; expected at most %d", len(value), MaxValue)
	case strings.ContainsRune(value, 0):
		return troy.Errorf(troy.Invalid, "the secret contains a NUL character, which environment variables can't hold")
	}
	return nil
}

// Redactor removes secrets from text. It recognises each value unchanged, with
// other line ends, URL-encoded, JSON-escaped, in hexadecimal and inside base64
// (at any of the three alignments, in both alphabets, with wrapped lines). It
// recognises each line of eight or more characters of a multi-line value,
// terminal control sequences inside a secret, and GitHub's tokens. A Redactor
// is safe for concurrent use.
//
// It looks for pieces of at most 64 bytes, which bounds the bytes held back and
// the work for each byte, however long a secret is. A piece of a secret is
// replaced even if the rest is missing.
type Redactor struct {
	pieces []piece
	// begins lists the pieces by their first eight bytes. filter has a bit for
	// a hash of each, and answers for nearly every byte of a log.
	begins map[uint64][]int32
	filter []uint64
	shift  uint
	// shorter has the first one to seven bytes of each beginning, with their
	// number in the top byte. The end of a chunk may be one of these. The value
	// says that they end in a line end that is not part of the secret; most
	// lines of a log match one of these by chance.
	shorter map[uint64]bool
	left    bool // whether any piece needs the character before it
}

// window is the number of bytes that identify a piece. No piece is shorter.
const window = 8

// NewRedactor returns a Redactor for the values. Each must pass CheckValue. All
// together have at most MaxValues bytes. Errors do not contain values.
func NewRedactor(values ...string) (*Redactor, error) {
	total := 0
	set := map[string]piece{}
	for i, value := range values {
		if err := CheckValue(value); err != nil {
			return nil, fmt.Errorf("secret %d of %d: %w", i+1, len(values), err)
		}
		if total += len(value); total > MaxValues {
			return nil, troy.Errorf(troy.TooLarge, "the secrets have more than %d bytes together", MaxValues)
		}
		addForms(set, value)
	}
	r := &Redactor{begins: map[uint64][]int32{}, shorter: map[uint64]bool{}}
	for _, p := range set {
		at := int32(len(r.pieces))
		r.pieces = append(r.pieces, p)
		r.left = r.left || p.left
		for _, text := range p.beginnings() {
			whole := binary.LittleEndian.Uint64([]byte(text))
			r.begins[whole] = append(r.begins[whole], at)
			for n := 1; n < window; n++ {
				key := packed([]byte(text[:n]))
				ended := p.wrapped && (text[n-1] == '\n' || text[n-1] == '\r')
				if before, ok := r.shorter[key]; !ok || before && !ended {
					r.shorter[key] = ended
				}
			}
		}
	}
	// With 64 bits for each beginning, about one byte in a hundred reaches the
	// map. A filter beyond 1 MiB would not fit into the processor's caches.
	size := min(max(10, bits.Len(uint(len(r.begins)*64))), 23)
	r.shift = uint(64 - size)
	r.filter = make([]uint64, 1<<(size-6))
	for begin := range r.begins {
		h := begin * golden >> r.shift
		r.filter[h>>6] |= 1 << (h & 63)
	}
	return r, nil
}

// golden is 2⁶⁴ divided by the golden ratio. The top bits of a product with it
// are a hash (Knuth, The Art of Computer Programming 3, §6.4).
const golden = 0x9e3779b97f4a7c15

// packed encodes up to seven bytes and their number as one value.
func packed(b []byte) uint64 {
	v := uint64(len(b)) << 56
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	return v
}

// Text returns s without the secrets.
func (r *Redactor) Text(s string) string {
	var b strings.Builder
	w := r.Writer(&b)
	// Writing to a strings.Builder never fails.
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// Writer returns a writer that passes its input on to w without the secrets,
// even if a secret arrives in parts. It holds back at most 128 bytes, and only
// if they may begin a secret. It passes on a line that ends in a line feed at
// once, unless the line's end is part of a multi-line secret. (If base64 is
// wrapped within the first seven characters of a piece and written line by
// line, those seven are passed on.) Terminal control sequences add up to 4 KiB
// to the 128 bytes. Close passes on the rest and leaves w open. The writer is
// not safe for concurrent use.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser {
	return &writer{r: r, to: w}
}
