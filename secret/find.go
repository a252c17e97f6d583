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

// Finder tells which secret a file has in it: a whole value, as it is, with
// other line ends, URL-encoded, JSON-escaped or inside of base64. Unlike a
// Redactor it does not look for parts of a value, since a page may well quote
// the first line of a key. It may be used by several goroutines at once.
type Finder struct {
	forms  []form
	begins map[uint64][]int32 // the forms by their first eight bytes
	filter []uint64
	shift  uint
	long   int // bytes of the longest form
}

// form is one way to write the secret of a name.
type form struct {
	name string
	text []byte
}

// NewFinder returns a Finder for the values by their names. Each must pass
// CheckValue, and all together have at most MaxValues bytes.
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

// wholeForms are all forms of a value, each once.
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

// findPart is how many bytes are read at a time.
const findPart = 256 << 10

// Find reads r to its end, or to the first secret, and returns the secret's
// name, or nothing.
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
		// A form may have begun that the next part ends.
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
