package site

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/troy-iaas/troy"
)

func TestBatchTable(t *testing.T) {
	t.Parallel()
	files := []File{{SHA256: Digest{1}, Size: 0}, {SHA256: Digest{2}, Size: 7}, {SHA256: Digest{3}, Size: 1 << 20}}
	limits := BatchLimits{Files: 3, Bytes: 1<<20 + 7}
	table := BatchTable(files)
	r := bytes.NewReader(append(slices.Clone(table), "rest"...))
	got, err := ReadBatchTable(iotest.OneByteReader(r), limits)
	if err != nil || !slices.Equal(got, files) {
		t.Fatalf("%v, %v", got, err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "rest" {
		t.Errorf("the rest is %q", rest)
	}
	changed := func(at int, b ...byte) []byte {
		c := slices.Clone(table)
		copy(c[at:], b)
		return c
	}
	const head = 8 + 4
	for _, c := range []struct {
		name  string
		body  []byte
		kind  troy.ErrorKind
		field string
		says  string
	}{
		{"empty", nil, troy.Invalid, "files", "ended within the table"},
		{"cut in the head", table[:11], troy.Invalid, "files", "ended within the table"},
		{"cut in an entry", table[:head+41], troy.Invalid, "files", "ended within the table"},
		{"another format", changed(0, []byte("PK\x03\x04")...), troy.Invalid, "", `"troyput1"`},
		{"no files", changed(8, 0, 0, 0, 0), troy.Invalid, "files", "1 to 3"},
		{"a file too many", changed(8, 0, 0, 0, 4), troy.TooLarge, "files", "at most 3"},
		{"the most files", changed(8, 255, 255, 255, 255), troy.TooLarge, "files", "at most 3"},
		{"twice", changed(head+40, 1), troy.Invalid, "files[1]", "twice"},
		{"a byte too many", changed(head+39, 1), troy.TooLarge, "files[2]", "1048583 bytes"},
		{"a negative size", changed(head+32, 255), troy.TooLarge, "files[0]", "1048583 bytes"},
		{"sizes that overflow", binary.BigEndian.AppendUint64(slices.Clone(table[:head+32]), 1<<63), troy.TooLarge, "files[0]", "1048583 bytes"},
	} {
		_, err := ReadBatchTable(bytes.NewReader(c.body), limits)
		e, ok := errors.AsType[*troy.Error](err)
		if !ok || e.Kind != c.kind || e.Field != c.field || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	broken := errors.New("broken")
	if _, err := ReadBatchTable(io.MultiReader(bytes.NewReader(table[:20]), iotest.ErrReader(broken)), limits); !errors.Is(err, broken) {
		t.Errorf("a reader that fails: %v", err)
	}
}

func FuzzReadBatchTable(f *testing.F) {
	f.Add(BatchTable([]File{{SHA256: Digest{1}, Size: 5}, {SHA256: Digest{2}}}))
	f.Add([]byte(batchMagic + "\xff\xff\xff\xff"))
	f.Add([]byte(batchMagic))
	limits := BatchLimits{Files: 8, Bytes: 1 << 10}
	f.Fuzz(func(t *testing.T, body []byte) {
		files, err := ReadBatchTable(bytes.NewReader(body), limits)
		if err != nil {
			if _, ok := errors.AsType[*troy.Error](err); !ok {
				t.Fatalf("the error is not for people: %v", err)
			}
			return
		}
		var total int64
		for _, file := range files {
			if file.Size < 0 {
				t.Fatalf("a negative size: %v", file)
			}
			total += file.Size
		}
		if len(files) == 0 || len(files) > limits.Files || total > limits.Bytes {
			t.Fatalf("%d files with %d bytes", len(files), total)
		}
		if table := BatchTable(files); !bytes.HasPrefix(body, table) {
			t.Fatalf("%x became %x", body, table)
		}
	})
}
