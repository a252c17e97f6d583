package build_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
)

func archive(t testing.TB, zipped bool, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	var out io.WriteCloser = nopCloser{&b}
	if zipped {
		out = gzip.NewWriter(&b)
	}
	w := tar.NewWriter(out)
	for _, h := range entries {
		content := "content of " + h.Name
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestUnpack(t *testing.T) {
	t.Parallel()
	for _, zipped := range []bool{false, true} {
		dir := t.TempDir()
		data := archive(t, zipped,
			tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "0123"}},
			tar.Header{Typeflag: tar.TypeDir, Name: "octo-site-0123/", Mode: 0o775},
			tar.Header{Name: "octo-site-0123/bin/run", Mode: 0o4775},
			tar.Header{Name: "octo-site-0123/a.html", Mode: 0o600},
			tar.Header{Typeflag: tar.TypeSymlink, Name: "octo-site-0123/bin/link", Linkname: "../a.html"},
			tar.Header{Typeflag: tar.TypeSymlink, Name: "octo-site-0123/nowhere", Linkname: "later/x"},
			tar.Header{Typeflag: tar.TypeLink, Name: "octo-site-0123/hard", Linkname: "octo-site-0123/a.html"},
		)
		if err := build.Unpack(t.Context(), bytes.NewReader(data), dir, build.SourceLimits{}); err != nil {
			t.Fatal(err)
		}
		for name, mode := range map[string]os.FileMode{"bin/run": 0o755, "a.html": 0o644, "hard": 0o644} {
			info, err := os.Lstat(filepath.Join(dir, name))
			if err != nil || info.Mode() != mode {
				t.Fatalf("%s: %v, %v", name, info, err)
			}
		}
		text, err := os.ReadFile(filepath.Join(dir, "bin/link"))
		if err != nil || string(text) != "content of octo-site-0123/a.html" {
			t.Fatalf("through the link: %q, %v", text, err)
		}
	}
}

// Links are created whatever their targets: the sandbox may follow them, and
// Troy's readers can't leave the folder.
func TestUnpackLeavesLinks(t *testing.T) {
	t.Parallel()
	links := map[string]string{
		"result": "/nix/store/abc", "up": "../../x", "a/b": "../../../../etc/passwd", "self": "self", "x": "y", "y": "x", "package.json": "/etc/passwd",
	}
	headers := []tar.Header{{Name: "r/index.html"}}
	for name, target := range links {
		headers = append(headers, tar.Header{Typeflag: tar.TypeSymlink, Name: "r/" + name, Linkname: target})
	}
	dir := t.TempDir()
	if err := build.Unpack(t.Context(), bytes.NewReader(archive(t, true, headers...)), dir, build.SourceLimits{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range links {
		if target, err := os.Readlink(filepath.Join(dir, name)); err != nil || target != want {
			t.Errorf("%s leads to %q, %v; want %q", name, target, err, want)
		}
	}
	_, err := build.Decide(rootFS(t, dir), build.Settings{})
	if troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), "package.json can't be read") {
		t.Errorf("Decide with a package.json that leads out: %v", err)
	}
}

// Names in other encodings than UTF-8 are unpacked unchanged.
func TestUnpackLatin1(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := archive(t, false, tar.Header{Name: "r/old/caf\xe9.txt", Format: tar.FormatGNU}, tar.Header{Name: "r/d\xff/a", Format: tar.FormatGNU})
	if err := build.Unpack(t.Context(), bytes.NewReader(data), dir, build.SourceLimits{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old/caf\xe9.txt", "d\xff/a"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	link := func(name, target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
	}
	for name, test := range map[string]struct {
		entries []tar.Header
		limits  build.SourceLimits
		kind    troy.ErrorKind
		words   string
	}{
		"path leads out":       {entries: []tar.Header{{Name: "r/../../evil"}}, words: "leads out of it"},
		"absolute path":        {entries: []tar.Header{{Name: "/etc/evil"}}, words: "leads out of it"},
		"through a link":       {entries: []tar.Header{link("r/d", "e"), {Name: "r/e/a"}, {Name: "r/d/evil"}}, words: `behind the link "d"`},
		"through a link out":   {entries: []tar.Header{link("r/d", "../.."), {Name: "r/d/evil"}}, words: `behind the link "d"`},
		"deep through a link":  {entries: []tar.Header{link("r/d", "/tmp"), {Name: "r/d/a/b/evil"}}, words: `behind the link "d"`},
		"folder over a link":   {entries: []tar.Header{link("r/d", "/tmp"), {Typeflag: tar.TypeDir, Name: "r/d/"}}, words: `behind the link "d"`},
		"file over a link":     {entries: []tar.Header{link("r/d", "../evil"), {Name: "r/d"}}, words: "can't create"},
		"link over a folder":   {entries: []tar.Header{{Name: "r/d/a"}, link("r/d", "/tmp"), {Name: "r/d/evil"}}, words: "can't create"},
		"hard link leads out":  {entries: []tar.Header{{Typeflag: tar.TypeLink, Name: "r/a", Linkname: "../etc/passwd"}}, words: "leads out of it"},
		"hard link by a link":  {entries: []tar.Header{link("r/d", "/etc"), {Typeflag: tar.TypeLink, Name: "r/a", Linkname: "r/d/passwd"}}, words: `behind the link "d"`},
		"device":               {entries: []tar.Header{{Typeflag: tar.TypeBlock, Name: "r/sda"}}, words: "not a file, folder or link"},
		"pipe":                 {entries: []tar.Header{{Typeflag: tar.TypeFifo, Name: "r/p"}}, words: "not a file, folder or link"},
		"twice":                {entries: []tar.Header{{Name: "r/a"}, {Name: "r/a"}}, words: "can't create"},
		"file and folder":      {entries: []tar.Header{{Name: "r/a"}, {Name: "r/a/b"}}, words: `"a" is both a folder and something else`},
		"two tops":             {entries: []tar.Header{{Name: "r/a"}, {Name: "s/a"}}, words: "at the top; expected one folder"},
		"nothing":              {words: "is empty"},
		"too many entries":     {entries: []tar.Header{{Name: "r/a"}, {Name: "r/b"}, {Name: "r/c"}}, limits: build.SourceLimits{Entries: 2}, kind: troy.TooLarge, words: "the limit of 2 files"},
		"too many bytes":       {entries: []tar.Header{{Name: "r/a"}, {Name: "r/b"}}, limits: build.SourceLimits{TotalBytes: 20}, kind: troy.TooLarge, words: "the limit of 20 bytes"},
		"too large an archive": {entries: []tar.Header{{Name: "r/a"}, {Name: "r/b"}}, limits: build.SourceLimits{ArchiveBytes: 700}, kind: troy.TooLarge, words: "the limit of 700 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := t.TempDir()
			dir := filepath.Join(above, "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			kind := test.kind
			if kind == "" {
				kind = troy.Invalid
			}
			err := build.Unpack(t.Context(), bytes.NewReader(archive(t, false, test.entries...)), dir, test.limits)
			if troy.KindOf(err) != kind || !strings.Contains(err.Error(), test.words) {
				t.Fatalf("Unpack: %v, want %q", err, test.words)
			}
			if entries, err := os.ReadDir(above); err != nil || len(entries) != 1 {
				t.Fatalf("beside the folder: %v, %v", entries, err)
			}
		})
	}
}

func TestUnpackDamaged(t *testing.T) {
	t.Parallel()
	whole := archive(t, true, tar.Header{Name: "r/a"}, tar.Header{Name: "r/b"})
	for n := range len(whole) - 30 {
		err := build.Unpack(t.Context(), bytes.NewReader(whole[:n]), t.TempDir(), build.SourceLimits{})
		if troy.KindOf(err) != troy.Invalid {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(whole), err)
		}
	}
	// A broken connection is not the archive's fault.
	broken := errors.New("connection reset")
	err := build.Unpack(t.Context(), io.MultiReader(bytes.NewReader(whole[:40]), failing{broken}), t.TempDir(), build.SourceLimits{})
	if !errors.Is(err, broken) || troy.KindOf(err) != troy.Internal {
		t.Fatalf("a broken connection: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := build.Unpack(ctx, bytes.NewReader(whole), t.TempDir(), build.SourceLimits{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, false, tar.Header{Name: "r/a"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "r/b", Linkname: "a"}))
	f.Add(archive(f, true, tar.Header{Name: "r/a"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		above := t.TempDir()
		dir := filepath.Join(above, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := build.Unpack(t.Context(), bytes.NewReader(data), dir, build.SourceLimits{TotalBytes: 1 << 20, Entries: 100})
		if entries, readErr := os.ReadDir(above); readErr != nil || len(entries) != 1 {
			t.Fatalf("after %v, beside the folder: %v, %v", err, entries, readErr)
		}
	})
}

// TestUnpackDeep unpacks paths with more folders than allowed, and with the
// maximum.
func TestUnpackDeep(t *testing.T) {
	t.Parallel()
	for depth, allowed := range map[int]bool{500: true, 512: true, 513: false, 2000: false} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		name := "r/" + strings.Repeat("d/", depth-1) + "f"
		if err := errors.Join(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}), w.Close()); err != nil {
			t.Fatal(err)
		}
		err := build.Unpack(t.Context(), &archive, t.TempDir(), build.SourceLimits{})
		if allowed && err != nil || !allowed && troy.KindOf(err) != troy.TooLarge {
			t.Errorf("%d folders: %v", depth, err)
		}
	}
}

// TestUnpackTruncated unpacks archives that a copy cut off, or that are damaged
// behind their last entry.
func TestUnpackTruncated(t *testing.T) {
	t.Parallel()
	const block = 512
	entries := []tar.Header{{Name: "r/a"}, {Name: "r/b"}} // a block of header and one of content each
	plain, zipped := archive(t, false, entries...), archive(t, true, entries...)
	var between bytes.Buffer
	z := gzip.NewWriter(&between)
	if _, err := z.Write(plain[:2*block]); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(zipped)
	wrong[len(wrong)-8] ^= 1 // its checksum
	for name, test := range map[string]struct {
		data  []byte
		whole bool
	}{
		"in an entry":               {data: plain[:3*block]},
		"between entries":           {data: plain[:2*block]},
		"between entries, gzipped":  {data: between.Bytes()},
		"behind the last entry":     {data: plain[:4*block]},
		"in the checksum":           {data: zipped[:len(zipped)-6]},
		"with a wrong checksum":     {data: wrong},
		"with one block of zeros":   {data: plain[:5*block], whole: true},
		"with text behind the gzip": {data: append(bytes.Clone(zipped), "text behind it"...), whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := build.Unpack(t.Context(), bytes.NewReader(test.data), t.TempDir(), build.SourceLimits{})
			if test.whole && err != nil || !test.whole && (troy.KindOf(err) != troy.Invalid || !strings.Contains(err.Error(), "damaged or truncated")) {
				t.Fatalf("Unpack: %v", err)
			}
		})
	}
}
