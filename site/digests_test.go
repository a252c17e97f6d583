//go:build linux || darwin

package site

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// remembering opens folders with remembered digests, on a clock that is ahead
// of the file system's, so that new files are old enough.
type remembering struct {
	dir   string
	ahead time.Duration
}

func (r *remembering) open(t *testing.T, folder string, options ...SourceOption) *Source {
	t.Helper()
	r.ahead += time.Second
	s := openSource(t, folder, Limits{}, append([]SourceOption{LeavingOut(), FindingLeaks(), RememberingDigests(r.dir), func(o *sourceOptions) {
		o.now = func() time.Time { return time.Now().Add(r.ahead) }
	}}, options...)...)
	s.digests.wait()
	return s
}

// same reports whether a source has the files of the run before.
func same(s *Source) bool {
	before, known := s.Before()
	return known && slices.Equal(before.Files, s.Files) && before.Digest() == Manifest{Files: s.Files}.Digest()
}

func (r *remembering) files(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// lie replaces all remembered digests, so that a source shows which of its
// files were not read.
func (r *remembering) lie(t *testing.T) {
	t.Helper()
	for _, name := range r.files(t) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Add(r.ahead)
		known := decodeDigests(b, now)
		for i := range known.files {
			known.files[i].SHA256 = lie(known.files[i].Size)
		}
		known.digest = Manifest{Files: known.files}.Digest()
		if err := os.WriteFile(name, encodeDigests(known, now), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func lie(size int64) Digest { return Digest{1, byte(size)} }

func wantRead(t *testing.T, s *Source, path, content string) {
	t.Helper()
	for _, f := range s.Files {
		if f.Path == path && f.SHA256 != sha256.Sum256([]byte(content)) {
			t.Errorf("%s has the remembered digest, want that of its content", path)
		}
	}
}

// TestFilesThatDoNotGoLive checks that they are not the next run's Before, and are
// not read again.
func TestFilesThatDoNotGoLive(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	r := remembering{dir: t.TempDir(), ahead: time.Hour}
	writeFiles(t, folder, map[string]string{"index.html": "index"})
	r.open(t, folder)
	if s := r.open(t, folder, NotGoingLive()); !same(s) {
		t.Error("the files before are not known")
	}
	if s := r.open(t, folder); !same(s) {
		t.Error("a run that changed nothing made the live files unknown")
	}
	writeFiles(t, folder, map[string]string{"new.html": "new"})
	r.open(t, folder, NotGoingLive())
	s := r.open(t, folder)
	if before, known := s.Before(); known {
		t.Errorf("files that did not go live count as live: %v", before.Files)
	}
	if len(s.digests.read) > 0 {
		t.Errorf("unchanged files were read again: %v", s.digests.read)
	}
	if s := r.open(t, folder); !same(s) {
		t.Error("the files that went live are not known")
	}
}

func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	content := map[string]string{"index.html": "index", "a/b.html": "b"}
	writeFiles(t, folder, content)
	if err := os.Symlink("a", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	r := remembering{dir: filepath.Join(t.TempDir(), "new"), ahead: time.Hour}
	content["link/b.html"] = "b"
	first, second := r.open(t, folder), r.open(t, folder)
	wantFiles(t, first, content)
	wantFiles(t, second, content)
	if same(first) || !same(second) {
		t.Errorf("the same: %t at first and %t again", same(first), same(second))
	}
	r.lie(t)
	s := r.open(t, folder)
	for _, f := range s.Files {
		if f.SHA256 != lie(f.Size) {
			t.Errorf("%s was read again", f.Path)
		}
	}
	if len(s.Files) != 3 || !same(s) {
		t.Fatalf("the files are %v", s.Files)
	}
	writeFiles(t, folder, map[string]string{"new.html": "new"})
	if s := r.open(t, folder); same(s) || len(s.Files) != 4 {
		t.Errorf("with another file they are %v", s.Files)
	}
	if err := os.Remove(filepath.Join(folder, "new.html")); err != nil {
		t.Fatal(err)
	}
	if s := r.open(t, folder); same(s) || len(s.Files) != 3 {
		t.Errorf("without a file they are %v", s.Files)
	}
	if !same(r.open(t, folder)) {
		t.Error("the list without the file is not remembered")
	}
}

func TestChangedFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(r *remembering, folder, file string) error{
		"same size and time": func(_ *remembering, _, file string) error {
			info, err := os.Stat(file)
			if err == nil {
				err = os.WriteFile(file, []byte("other"), 0o644)
			}
			if err == nil {
				err = os.Chtimes(file, info.ModTime(), info.ModTime())
			}
			return err
		},
		"another file": func(_ *remembering, folder, file string) error {
			err := os.WriteFile(filepath.Join(folder, "new"), []byte("other"), 0o644)
			if err == nil {
				err = os.Rename(filepath.Join(folder, "new"), file)
			}
			return err
		},
		"size": func(_ *remembering, _, file string) error { return os.WriteFile(file, []byte("longer"), 0o644) },
		"from the future": func(r *remembering, _, _ string) error {
			r.ahead -= 10 * time.Second
			return nil
		},
		"damaged": func(r *remembering, folder, _ string) error {
			return edit(r.dir, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"torn": func(r *remembering, _, _ string) error {
			return edit(r.dir, func(b []byte) []byte { return b[:len(b)-40] })
		},
		"empty": func(r *remembering, _, _ string) error {
			return edit(r.dir, func([]byte) []byte { return nil })
		},
		"a lying length": func(r *remembering, _, _ string) error {
			return edit(r.dir, func(b []byte) []byte {
				at := len(digestsHead()) + 8 + len(Digest{})
				return summed(append(b[:at:at], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f))
			})
		},
		"another scanner": func(r *remembering, _, _ string) error {
			return edit(r.dir, func(b []byte) []byte {
				at := len(digestsForm)
				b[at]++
				return summed(b[:len(b)-crc32.Size])
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			file := filepath.Join(folder, "index.html")
			writeFiles(t, folder, map[string]string{"index.html": "index"})
			r := &remembering{dir: t.TempDir(), ahead: time.Hour}
			r.open(t, folder)
			r.lie(t)
			if err := change(r, folder, file); err != nil {
				t.Fatal(err)
			}
			now, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			wantRead(t, r.open(t, folder), "index.html", string(now))
			r.lie(t)
			r.ahead += time.Minute
			if s := r.open(t, folder); s.Files[0].SHA256 != lie(s.Files[0].Size) {
				t.Error("the file was not remembered then")
			}
		})
	}
}

func summed(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

// edit changes the files of digests.
func edit(dir string, f func([]byte) []byte) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 1 {
		return fmt.Errorf("%d files: %w", len(names), err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		return err
	}
	return os.WriteFile(names[0], f(bytes.Clone(b)), 0o600)
}

func TestFilesThatAreNotRemembered(t *testing.T) {
	t.Parallel()
	type file struct {
		age                  time.Duration // when it is read
		remembered           bool
		unsearched, approved bool
	}
	// The time of the last modification can be set, that of the last change can't.
	for set, modified := range map[string]time.Duration{"an early time": -time.Hour, "a late time": time.Hour} {
		folder := t.TempDir()
		writeFiles(t, folder, map[string]string{"index.html": "index"})
		name, at := filepath.Join(folder, "index.html"), time.Now().Add(modified)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		stamp, _ := stampOf(info)
		for name, test := range map[string]file{
			"old enough":                {age: coarsest + 1, remembered: true},
			"modified a moment ago":     {age: coarsest},
			"modified in the future":    {age: -time.Minute},
			"not searched for secrets":  {age: time.Hour, unsearched: true},
			"published though a secret": {age: time.Hour, approved: true},
		} {
			t.Run(name+", "+set, func(t *testing.T) {
				t.Parallel()
				r := remembering{dir: t.TempDir(), ahead: 2 * time.Hour}
				r.open(t, folder, func(o *sourceOptions) {
					o.now = func() time.Time { return time.Unix(0, max(stamp.modified, stamp.changed)).Add(test.age) }
					o.sieve.findLeaks = !test.unsearched
					o.sieve.allowed["index.html"] = test.approved
				})
				r.lie(t)
				s := r.open(t, folder)
				if len(s.Files) != 1 || (s.Files[0].SHA256 == lie(s.Files[0].Size)) != test.remembered {
					t.Fatalf("%v; remembered: want %t", s.Files, test.remembered)
				}
			})
		}
	}
}

// TestTouchedFilesAreReadOnce changes a file's times and nothing else.
func TestTouchedFilesAreReadOnce(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writeFiles(t, folder, map[string]string{"index.html": "index"})
	r := remembering{dir: t.TempDir(), ahead: time.Hour}
	r.open(t, folder)
	early := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(folder, "index.html"), early, early); err != nil {
		t.Fatal(err)
	}
	if !same(r.open(t, folder)) {
		t.Error("the files are not the same")
	}
	r.lie(t)
	if s := r.open(t, folder); s.Files[0].SHA256 != lie(s.Files[0].Size) {
		t.Error("the file was read again")
	}
}

// TestFoldersThatAreExchanged puts another folder in a folder's place, which
// changes no file's times, and back.
func TestFoldersThatAreExchanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder, other, aside := filepath.Join(dir, "site"), filepath.Join(dir, "other"), filepath.Join(dir, "aside")
	writeFiles(t, folder, map[string]string{"index.html": "site!"})
	writeFiles(t, other, map[string]string{"index.html": "other"})
	exchange := func() {
		t.Helper()
		for _, move := range [][2]string{{folder, aside}, {other, folder}, {aside, other}} {
			if err := os.Rename(move[0], move[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := remembering{dir: t.TempDir(), ahead: time.Hour}
	wantFiles(t, r.open(t, folder), map[string]string{"index.html": "site!"})
	exchange()
	// It is too young to be remembered.
	late := time.Now().Add(2 * time.Hour)
	if err := os.Chtimes(filepath.Join(folder, "index.html"), late, late); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, r.open(t, folder), map[string]string{"index.html": "other"})
	exchange()
	wantFiles(t, r.open(t, folder), map[string]string{"index.html": "site!"})
}

func TestFilesWithSecretsAreFoundAgain(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writeFiles(t, folder, map[string]string{"index.html": "index", "app.js": "t='ghp_" + "w1x2Y3z4A5b6C7d8E9f0" + "G1h2I3j4K5l6M7n8'"})
	r := remembering{dir: t.TempDir(), ahead: time.Hour}
	for range 3 {
		if s := r.open(t, folder); len(s.Leaks) != 1 || s.Leaks[0].Path != "app.js" {
			t.Fatalf("the leaks are %v", s.Leaks)
		}
		if s := r.open(t, folder, FindingLeaks("app.js")); len(s.Leaks) != 0 {
			t.Fatalf("the leaks are %v, want none: the file is allowed", s.Leaks)
		}
	}
}

func TestDigestsOutOfOrderDoNotCount(t *testing.T) {
	t.Parallel()
	for want, files := range [][]File{{{Path: "b"}, {Path: "a"}}, {{Path: "a"}}, {{Path: "a"}, {Path: "b"}}} {
		b := encodeDigests(remembered{files: files, stamps: make([]stamp, len(files))}, time.Now())
		if read := decodeDigests(b, time.Now()); len(read.files) != want {
			t.Errorf("of %v %d are remembered, want %d", files, len(read.files), want)
		}
	}
}

func TestStampsOfFilesDiffer(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	writeFiles(t, folder, map[string]string{"a": "1", "b": "2"})
	var inodes []int64
	for _, name := range []string{"a", "b"} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		stamp, _ := stampOf(info)
		inodes = append(inodes, stamp.inode)
	}
	if inodes[0] == inodes[1] {
		t.Error("two files of the same moment and size have the same stamp")
	}
}

func TestDigestsAreBounded(t *testing.T) {
	t.Parallel()
	r := remembering{dir: t.TempDir(), ahead: time.Hour}
	folder := ""
	for i := range maxDigestFiles + 3 {
		folder = filepath.Join(t.TempDir(), fmt.Sprint(i))
		writeFiles(t, folder, map[string]string{"index.html": "index"})
		r.open(t, folder)
	}
	if n := len(r.files(t)); n != maxDigestFiles {
		t.Fatalf("there are %d files, want %d", n, maxDigestFiles)
	}
	r.lie(t)
	if s := r.open(t, folder); s.Files[0].SHA256 != lie(s.Files[0].Size) {
		t.Error("the newest was removed")
	}
	if err := os.WriteFile(r.files(t)[0], make([]byte, maxDigests+1), 0o600); err != nil {
		t.Fatal(err)
	}
	known := remembered{digest: Digest{1}}
	for i := range maxDigests / 1000 {
		known.files = append(known.files, File{Path: fmt.Sprintf("%01000d", i)})
	}
	known.stamps = make([]stamp, len(known.files))
	b := encodeDigests(known, time.Now())
	if len(b) > maxDigests {
		t.Errorf("a file has %d bytes, want at most %d", len(b), maxDigests)
	}
	read := decodeDigests(b, time.Now())
	if len(read.files) == 0 || len(read.files) >= len(known.files) || read.digest != (Digest{}) {
		t.Errorf("%d of %d files are remembered, with the digest %s of all", len(read.files), len(known.files), read.digest)
	}
	if m, known := (&Source{digests: &digests{remembered: read}}).Before(); known {
		t.Errorf("a part of a list counts as one of %d files", len(m.Files))
	}
}
