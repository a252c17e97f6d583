package secret

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// Finder finds a secret in a file: the whole value, unchanged, with other line
// ends, URL-encoded, JSON-escaped or inside base64. Unlike a Redactor it does
// not look for parts of a value, because a page may quote the first line of a
// key. A Finder is safe for concurrent use.
type Finder struct {
	forms  []form
	begins map[uint64][]int32 // the forms, keyed by their first eight bytes
	filter []uint64
	shift  uint
	long   int // length of the longest form in bytes
}

// form is one encoding of the secret called name.
type form struct {
	name string
	text []byte
}

// NewFinder returns a Finder for values, keyed by name. Each value must pass
// CheckValue. All together have at most MaxValues bytes.
func NewFinder(values map[string]string) (*Finder, error) {
	f := &Finder{begins: map[uint64][]int32{}}
	total := 0
	for name, value := range values {
		if err := CheckValue(value); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if total += len(value); total > MaxValues {
			return nil, troy.Errorf(troy.TooLarge, "the secrets have more than %d bytes together", MaxValues)
		}
		for _, text := range wholeForms(value) {
			f.add(form{name, []byte(text)})
		}
	}
	size := min(max(10, bits.Len(uint(len(f.begins)*64))), 23)
	f.shift = uint(64 - size)
	f.filter = make([]uint64, 1<<(size-6))
	for begin := range f.begins {
		h := begin * golden >> f.shift
		f.filter[h>>6] |= 1 << (h & 63)
	}
	return f, nil
}

func (f *Finder) add(one form) {
	begin := binary.LittleEndian.Uint64(one.text)
	f.begins[begin] = append(f.begins[begin], int32(len(f.forms)))
	f.forms = append(f.forms, one)
	f.long = max(f.long, len(one.text))
}

// wholeForms returns all forms of a value without duplicates.
func wholeForms(value string) []string {
	whole := strings.TrimSpace(value)
	unix := strings.ReplaceAll(whole, "\r\n", "\n")
	var texts []string
	for _, text := range []string{whole, unix, strings.ReplaceAll(unix, "\n", "\r\n")} {
		texts = append(texts, plainForms(text)...)
		for _, p := range base64Forms(text) {
			texts = append(texts, p.text)
		}
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	return slices.DeleteFunc(texts, func(text string) bool { return len(text) < window })
}

// findPart is the number of bytes to read at a time.
const findPart = 256 << 10

// Find reads r up to its end or the first secret, and returns the secret's name
// or "".
func (f *Finder) Find(r io.Reader) (name string, err error) {
	if len(f.forms) == 0 {
		return "", nil
	}
	buf := make([]byte, 0, findPart+f.long)
	for {
		n, err := io.ReadFull(r, buf[len(buf):len(buf)+findPart])
		buf = buf[:len(buf)+n]
		if found := f.in(buf); found != "" {
			return found, nil
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		// The next part may end a form that begins in this one.
		rest := min(f.long-1, len(buf))
		buf = buf[:copy(buf, buf[len(buf)-rest:])]
	}
}

func (f *Finder) in(buf []byte) string {
	for i := 0; i+window <= len(buf); i++ {
		begin := binary.LittleEndian.Uint64(buf[i:])
		h := begin * golden >> f.shift
		if f.filter[h>>6]>>(h&63)&1 == 0 {
			continue
		}
		for _, at := range f.begins[begin] {
			if bytes.HasPrefix(buf[i:], f.forms[at].text) {
				return f.forms[at].name
			}
		}
	}
	return ""
}
