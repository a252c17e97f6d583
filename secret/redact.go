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

// Limits of the values that are taken out of logs.
const (
	// MinValue is the fewest characters of a secret. A shorter one would be
	// found everywhere in a log, and guessed from where it is missing.
	MinValue = 8
	// MaxValue is the longest secret, in bytes.
	MaxValue = 32 << 10
	// MaxValues is the most that a Redactor takes, in bytes of all values
	// together. It keeps 300 times their size in memory, 700 times that of
	// values with many short lines.
	MaxValues = 64 << 10
)

// Marker stands in a log where a secret was.
const Marker = "***"

// CheckValue reports, as a *troy.Error of kind Invalid, what keeps a value
// from being a secret. White space around it does not count.
func CheckValue(value string) error {
	switch n := utf8.RuneCountInString(strings.TrimSpace(value)); {
	case n < MinValue:
		return troy.Errorf(troy.Invalid, "the secret has %d characters; at least %d are needed, since shorter ones can't be kept out of logs", n, MinValue)
	case len(value) > MaxValue:
		return troy.Errorf(troy.Invalid, "the secret has %d bytes; at most %d are allowed", len(value), MaxValue)
	case strings.ContainsRune(value, 0):
		return troy.Errorf(troy.Invalid, "the secret has a NUL in it, which no variable can carry")
	}
	return nil
}

// Redactor knows secrets and takes them out of text: as they are, with other
// line ends, each line of eight or more characters of a value with several,
// URL-encoded, JSON-escaped, in hexadecimal, and inside of what was
// base64-encoded (at any of the three alignments, in both alphabets, with
// wrapped lines), each also with a terminal's control sequences in between;
// besides, whatever looks like a token of GitHub. It may be used by several
// goroutines at once.
//
// Every form is looked for as pieces of at most 64 bytes, so that what has to
// be held back, and the work for each byte, stay small however long a secret
// is. A piece of a secret is replaced also where the rest is missing.
type Redactor struct {
	pieces []piece
	// begins lists the pieces by the eight bytes that a text of them begins
	// with; filter has a bit for a hash of each, and answers for nearly every
	// byte of a log.
	begins map[uint64][]int32
	filter []uint64
	shift  uint
	// shorter has the first one to seven bytes of each beginning, with their
	// number on top: what the end of a chunk may be the start of. The value
	// says that they end in a line end which is none of the secret's: most
	// lines of a log end in one of these, by chance.
	shorter map[uint64]bool
	left    bool // whether any piece asks for the character before it
}

// window is how many bytes a piece is found by. No piece is shorter.
const window = 8

// NewRedactor returns a Redactor for the values. Each must pass CheckValue,
// and all together have at most MaxValues bytes; an error names no value.
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
	// With 64 bits for each beginning, about one byte in a hundred gets as far
	// as the map; beyond 1 MiB the filter would leave the processor's caches.
	size := min(max(10, bits.Len(uint(len(r.begins)*64))), 23)
	r.shift = uint(64 - size)
	r.filter = make([]uint64, 1<<(size-6))
	for begin := range r.begins {
		h := begin * golden >> r.shift
		r.filter[h>>6] |= 1 << (h & 63)
	}
	return r, nil
}

// golden is 2⁶⁴ divided by the golden ratio; the top bits of a product with it
// are a hash (Knuth, The Art of Computer Programming 3, §6.4).
const golden = 0x9e3779b97f4a7c15

// packed is up to seven bytes and their number as one value.
func packed(b []byte) uint64 {
	v := uint64(len(b)) << 56
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	return v
}

// Text returns a text without the secrets.
func (r *Redactor) Text(s string) string {
	var b strings.Builder
	w := r.Writer(&b)
	// A strings.Builder takes everything.
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// Writer returns a writer that passes on to w what it is given, without the
// secrets, also those that come in parts. It holds back at most 128 bytes, and
// only what may be the beginning of a secret: a line that ends in a line feed
// is passed on at once, unless its end is part of a secret with several lines
// (of base64 that is wrapped within the first seven characters of a piece, and
// written line by line, those seven are passed on). Control sequences of a
// terminal add to the 128 bytes, up to 4 KiB.
// Close passes on the rest and leaves w open. It is for one goroutine at a
// time.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser {
	return &writer{r: r, to: w}
}
