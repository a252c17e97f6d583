package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// batch makes files of these contents and the reader of their bytes.
func batch(contents ...string) (files []site.File, r io.Reader) {
	for i, c := range contents {
		files = append(files, file(fmt.Sprintf("%03d.txt", i), c))
	}
	return files, strings.NewReader(strings.Join(contents, ""))
}

// wantStored checks the result of a PutAll: the number of stored files, what
// Begin still misses, and the bytes of those stored.
func wantStored(t *testing.T, e Env, tree site.Tree, files []site.File, contents []string, stored, want int) {
	t.Helper()
	if stored != want {
		t.Fatalf("PutAll stored %d files, want %d", stored, want)
	}
	missing := begin(t, e, tree, files...)
	for i, f := range files[:want] {
		if slices.Contains(missing, f) {
			t.Fatalf("file %d is missing after PutAll counted it", i)
		}
		got, err := e.Cloud.Store.Read(t.Context(), tree, f)
		if err != nil || string(got) != contents[i] {
			t.Fatalf("Read of file %d: %q, %v; want %q", i, got, err, contents[i])
		}
	}
}

func putAllTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"store/put all": func(t *testing.T, e Env) {
			large := strings.Repeat("0123456789abcdef", 20<<10)
			contents := []string{"one", "", "two", large, "", "three", large + "!"}
			for n := range 100 {
				contents = append(contents, fmt.Sprintf("small file %d", n))
			}
			tree := newTree()
			files, r := batch(contents...)
			begin(t, e, tree, files...)
			const more = "more"
			rest := io.MultiReader(r, strings.NewReader(more))
			stored, err := e.Cloud.Store.PutAll(t.Context(), tree, files, rest)
			if err != nil {
				t.Fatal(err)
			}
			wantStored(t, e, tree, files, contents, stored, len(files))
			if left, err := io.ReadAll(rest); err != nil || string(left) != more {
				t.Fatalf("after PutAll %q is left in the reader (%v), want %q", left, err, more)
			}
			seal(t, e, tree)
			wantManifest(t, e, tree, manifest(files...))
			for i, f := range files {
				if got, err := e.Cloud.Store.Read(t.Context(), tree, f); err != nil || string(got) != contents[i] {
					t.Fatalf("Read of the sealed file %d: %d bytes, %v", i, len(got), err)
				}
			}
		},
		"store/put all of no files": func(t *testing.T, e Env) {
			tree := newTree()
			begin(t, e, tree, file("a.txt", "a"))
			if stored, err := e.Cloud.Store.PutAll(t.Context(), tree, nil, strings.NewReader("")); stored != 0 || err != nil {
				t.Fatalf("PutAll of nothing: %d, %v", stored, err)
			}
		},
		"store/put all of files that the store has": func(t *testing.T, e Env) {
			contents := []string{"first", "same", "same", "last", "same"}
			tree := newTree()
			files, _ := batch(contents...)
			begin(t, e, tree, files...)
			put(t, e, tree, files[0], "first")
			for range 2 {
				_, r := batch(contents...)
				stored, err := e.Cloud.Store.PutAll(t.Context(), tree, files, r)
				if err != nil {
					t.Fatal(err)
				}
				wantStored(t, e, tree, files, contents, stored, len(files))
			}
			seal(t, e, tree)
		},
		"store/put all that is cut continues": func(t *testing.T, e Env) {
			contents := []string{"one", "two", "three", "four"}
			for name, c := range map[string]struct {
				bytes, want int
				end         io.Reader
			}{
				"in a file":              {8, 2, brokenReader{}},
				"at a file's end":        {6, 2, brokenReader{}},
				"at once":                {0, 0, brokenReader{}},
				"in a file, silently":    {8, 2, strings.NewReader("")},
				"between files silently": {6, 2, strings.NewReader("")},
			} {
				tree := newTree()
				files, _ := batch(contents...)
				begin(t, e, tree, files...)
				all := strings.Join(contents, "")
				stored, err := e.Cloud.Store.PutAll(t.Context(), tree, files, io.MultiReader(strings.NewReader(all[:c.bytes]), c.end))
				if _, silent := c.end.(*strings.Reader); silent {
					wrong, ok := errors.AsType[*cloud.DigestError](err)
					if !ok || wrong.Declared != files[c.want].SHA256 {
						t.Fatalf("%s: PutAll: %v, want a DigestError of file %d", name, err, c.want)
					}
				} else if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%s: PutAll: %v, want the reader's error", name, err)
				}
				wantStored(t, e, tree, files, contents, stored, c.want)
				equal(t, name+": missing", paths(begin(t, e, tree, files...)), paths(files[c.want:]))
				stored, err = e.Cloud.Store.PutAll(t.Context(), tree, files[c.want:], strings.NewReader(strings.Join(contents[c.want:], "")))
				if err != nil || stored != len(files)-c.want {
					t.Fatalf("%s: PutAll of the rest: %d, %v", name, stored, err)
				}
				seal(t, e, tree)
			}
		},
		"store/put all with wrong bytes in the middle": func(t *testing.T, e Env) {
			contents := []string{"one", "two", "three"}
			tree := newTree()
			files, _ := batch(contents...)
			begin(t, e, tree, files...)
			stored, err := e.Cloud.Store.PutAll(t.Context(), tree, files, strings.NewReader("oneTWOthree"))
			wrong, ok := errors.AsType[*cloud.DigestError](err)
			if !ok || wrong.Declared != files[1].SHA256 || wrong.Got != file("", "TWO").SHA256 {
				t.Fatalf("PutAll: %v, want a DigestError with both digests", err)
			}
			wantStored(t, e, tree, files, contents, stored, 1)
			wantMissing(t, e, tree, files[1].Path, files[2].Path)
		},
		"store/put all without a tree is ErrNotFound": func(t *testing.T, e Env) {
			tree := newTree()
			files, r := batch("a", "b")
			stored, err := e.Cloud.Store.PutAll(t.Context(), tree, files, r)
			wantNotFound(t, "PutAll", err)
			begin(t, e, tree, files...)
			other, err := e.Cloud.Store.PutAll(t.Context(), another(tree), files, r)
			wantNotFound(t, "PutAll into another tree", err)
			if stored != 0 || other != 0 {
				t.Fatalf("PutAll stored %d and %d files without a tree", stored, other)
			}
		},
		"store/put all that is cancelled keeps a prefix": func(t *testing.T, e Env) {
			contents := []string{"one", "two", "three"}
			tree := newTree()
			files, _ := batch(contents...)
			begin(t, e, tree, files...)
			ctx, cancel := context.WithCancel(t.Context())
			stored, err := e.Cloud.Store.PutAll(ctx, tree, files, io.MultiReader(strings.NewReader("onetw"), cancelReader(cancel), strings.NewReader("othree")))
			if !errors.Is(err, context.Canceled) || stored == len(files) {
				t.Fatalf("PutAll: %d, %v; want context.Canceled and a part of the files", stored, err)
			}
			wantStored(t, e, tree, files, contents, stored, stored)
		},
	}
}

// cancelReader calls its function when it is read and is then at its end.
type cancelReader func()

func (c cancelReader) Read([]byte) (int, error) { c(); return 0, io.EOF }
