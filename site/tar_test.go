package site

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
)

type tarEntry struct {
	tar.Header
	text string
}

func tarText(name, text string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}, text}
}

func tarLink(name, target string, kind byte) tarEntry {
	return tarEntry{Header: tar.Header{Name: name, Linkname: target, Typeflag: kind, Mode: 0o777}}
}

func tarFolder(name string) tarEntry {
	return tarEntry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func tarOf(content map[string]string) []tarEntry {
	var entries []tarEntry
	for _, name := range slices.Sorted(maps.Keys(content)) {
		entries = append(entries, tarText(name, content[name]))
	}
	return entries
}

func makeTar(t testing.TB, entries []tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeTemporary(t testing.TB, name string, data []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func tarFile(t testing.TB, entries []tarEntry) string {
	t.Helper()
	return writeTemporary(t, "site.tar", makeTar(t, entries))
}

// compressed compresses data with the format's own program.
func compressed(t testing.TB, format string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if format == "zstd" {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTar(t *testing.T) {
	t.Parallel()
	index := tarText("./index.html", "<h1>")
	for name, test := range map[string]struct {
		entries  []tarEntry
		stripped string
		want     map[string]string
	}{
		"as tar -C site . writes it": {[]tarEntry{tarFolder("./"), index, tarFolder("./a/"), tarText("./a/b.txt", "b"), tarText("./.git/x", "x"), tarText("./._a", "x")},
			"", map[string]string{"index.html": "<h1>", "a/b.txt": "b"}},
		"one top folder": {[]tarEntry{tarFolder("dist/"), tarText("dist/index.html", "<h1>"), tarText("dist/a.txt", "a"), tarText("._dist", "x")},
			"dist", map[string]string{"index.html": "<h1>", "a.txt": "a"}},
		"one top folder without an index": {[]tarEntry{tarText("docs/a.html", "a")}, "", map[string]string{"docs/a.html": "a"}},
		"links": {[]tarEntry{index, tarLink("a/up.html", "../index.html", tar.TypeSymlink), tarLink("b.html", "a/up.html", tar.TypeSymlink),
			tarLink("hard.html", "./index.html", tar.TypeLink), tarLink("latest", "v2", tar.TypeSymlink), tarText("v2/x", "x"), tarLink("x", "latest/x", tar.TypeSymlink), tarText("latest", "a file now")},
			"", map[string]string{"index.html": "<h1>", "a/up.html": "<h1>", "b.html": "<h1>", "hard.html": "<h1>", "latest": "a file now", "v2/x": "x"}},
		"through a folder": {[]tarEntry{tarText("index.html", "<h1>"), tarText("v2/x", "x"), tarLink("v2/y", "../v2/./x", tar.TypeSymlink)},
			"", map[string]string{"index.html": "<h1>", "v2/x": "x", "v2/y": "x"}},
		"the last counts": {[]tarEntry{index, tarText("index.html", "<h2>")}, "", map[string]string{"index.html": "<h2>"}},
		"a long name":     {[]tarEntry{tarText(strings.Repeat("long/", 60)+"x", "x")}, "", map[string]string{strings.Repeat("long/", 60) + "x": "x"}},
		"of git archive": {[]tarEntry{{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "x"}}}, index},
			"", map[string]string{"index.html": "<h1>"}},
	} {
		if name == "links" { // x leads through a path that is a file now
			test.entries = slices.DeleteFunc(test.entries, func(e tarEntry) bool { return e.Name == "x" })
		}
		for _, format := range []string{"", "gzip", "zstd"} {
			t.Run(name+" "+format, func(t *testing.T) {
				t.Parallel()
				data := makeTar(t, test.entries)
				if format != "" {
					data = compressed(t, format, data)
				}
				s := openSource(t, writeTemporary(t, "site", data), Limits{})
				if s.Stripped != test.stripped {
					t.Errorf("stripped is %q, want %q", s.Stripped, test.stripped)
				}
				wantFiles(t, s, test.want)
			})
		}
	}
}

func TestTarRefuses(t *testing.T) {
	t.Parallel()
	index := tarText("index.html", "<h1>")
	link := func(target string) []tarEntry { return []tarEntry{index, tarLink("the-link", target, tar.TypeSymlink)} }
	chain := []tarEntry{index}
	for i := range 60 {
		chain = append(chain, tarLink(strings.Repeat("l", i+1), strings.Repeat("l", i+2), tar.TypeSymlink))
	}
	for name, test := range map[string]struct {
		entries []tarEntry
		limits  Limits
		kind    troy.ErrorKind
		says    []string
	}{
		"absolute":          {[]tarEntry{tarText("/etc/passwd", "x")}, Limits{}, troy.Invalid, []string{"absolute"}},
		"up":                {[]tarEntry{tarText("./../x", "x")}, Limits{}, troy.Invalid, []string{`".."`}},
		"a backslash":       {[]tarEntry{tarText(`a\b`, "x")}, Limits{}, troy.Invalid, []string{"backslash"}},
		"a link out":        {link("../x"), Limits{}, troy.Invalid, []string{`"the-link"`, "is outside"}},
		"an absolute link":  {link("/etc/passwd"), Limits{}, troy.Invalid, []string{`"the-link" is an absolute link`}},
		"a link to itself":  {link("the-link"), Limits{}, troy.Invalid, []string{`"the-link"`}},
		"a link to nothing": {link("nowhere"), Limits{}, troy.Invalid, []string{`"the-link"`, `"nowhere"`}},
		"endless links":     {chain, Limits{}, troy.Invalid, []string{"link"}},
		"a hard link out":   {[]tarEntry{index, tarLink("hard", "../x", tar.TypeLink)}, Limits{}, troy.Invalid, []string{`"hard"`, "not an earlier file"}},
		"a long link":       {link(strings.Repeat("a/", 600)), Limits{}, troy.Invalid, []string{`"the-link"`, "1024"}},
		"a pipe":            {[]tarEntry{index, tarLink("pipe", "", tar.TypeFifo)}, Limits{}, troy.Invalid, []string{`"pipe"`, "devices"}},
		"a device":          {[]tarEntry{index, tarLink("sda", "", tar.TypeBlock)}, Limits{}, troy.Invalid, []string{`"sda"`}},
		"empty":             {nil, Limits{}, troy.Invalid, []string{"empty"}},
		"entries":           {[]tarEntry{index, tarFolder("a/"), tarFolder("b/")}, Limits{Entries: 2}, troy.TooLarge, []string{"2 entries"}},
		"files":             {[]tarEntry{index, tarText("a", "")}, Limits{Files: 1}, troy.TooLarge, []string{"2 files"}},
		"too large":         {[]tarEntry{index, tarText("a", "aaaaaa")}, Limits{FileBytes: 5}, troy.TooLarge, []string{`"a"`}},
		"too much":          {[]tarEntry{index, tarText("a", "aaaa")}, Limits{TotalBytes: 7}, troy.TooLarge, []string{"7 bytes"}},
		"file and folder":   {[]tarEntry{index, tarText("a", ""), tarText("a/b", "")}, Limits{}, troy.Invalid, []string{"folder"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, tarFile(t, test.entries), test.limits, test.kind, test.says...)
		})
	}
	fine := makeTar(t, []tarEntry{index, tarText("a", made(1, 5000, alnum))})
	bomb := makeTar(t, []tarEntry{index, tarText(".git/bomb", strings.Repeat("\x00", ratioGrace+1<<20))})
	flipped := func(data []byte, fromEnd int) []byte {
		data[len(data)-fromEnd] ^= 1
		return data
	}
	for name, test := range map[string]struct {
		data []byte
		kind troy.ErrorKind
		says string
	}{
		"cut off":           {fine[:4000], troy.Invalid, "truncated"},
		"between files":     {fine[:2*512], troy.Invalid, "truncated"},
		"the same, gzip":    {compressed(t, "gzip", fine[:2*512]), troy.Invalid, "truncated"},
		"no checksum, gzip": {compressed(t, "gzip", fine)[:len(compressed(t, "gzip", fine))-8], troy.Invalid, "truncated"},
		"a checksum, gzip":  {flipped(compressed(t, "gzip", fine), 8), troy.Invalid, "checksum"},
		"a checksum, zstd":  {flipped(compressed(t, "zstd", fine), 1), troy.Invalid, "CRC check failed"},
		"cut off, gzip":     {compressed(t, "gzip", fine)[:2000], troy.Invalid, "truncated"},
		"cut off, zstd":     {compressed(t, "zstd", fine)[:2000], troy.Invalid, "truncated"},
		"damaged, gzip":     {append(compressed(t, "gzip", fine)[:2000], compressed(t, "gzip", fine)[1000:]...), troy.Invalid, "not a readable tar"},
		"no tar in it":      {compressed(t, "gzip", []byte(strings.Repeat("<h1>", 300))), troy.Invalid, "not a readable tar"},
		"nothing in it":     {compressed(t, "gzip", nil), troy.Invalid, "empty"},
		"a bomb, gzip":      {compressed(t, "gzip", bomb), troy.TooLarge, "times its size"},
		"a bomb, zstd":      {compressed(t, "zstd", bomb), troy.TooLarge, "times its size"},
		"a window of 1 GiB": {append([]byte("\x28\xb5\x2f\xfd\x00\xa0"), make([]byte, 64)...), troy.Invalid, "unpacked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, writeTemporary(t, "site.tgz", test.data), Limits{}, test.kind, test.says)
		})
	}
}

// TestEndsOfTars opens tars as programs end them.
func TestEndsOfTars(t *testing.T) {
	t.Parallel()
	content := map[string]string{"index.html": "<h1>", "zeros": strings.Repeat("\x00", 512)}
	whole := makeTar(t, tarOf(content))
	for name, data := range map[string][]byte{
		"one block of zeros": whole[:len(whole)-512],
		"records":            slices.Concat(whole, make([]byte, 20*512)),
		"text behind it":     append(compressed(t, "gzip", whole), "text behind it"...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantFiles(t, openSource(t, writeTemporary(t, "site.tar", data), Limits{}), content)
		})
	}
}

// TestTarLeavesNothing checks that no temporary files remain.
func TestTarLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	good := writeTemporary(t, "good.tar", makeTar(t, []tarEntry{tarText("index.html", "<h1>")}))
	bad := writeTemporary(t, "bad.tar", makeTar(t, []tarEntry{tarText("index.html", "<h1>"), tarText("../x", "x")}))
	s, err := OpenSource(t.Context(), good, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wantRefused(t, bad, Limits{}, troy.Invalid, "..")
	if left, err := filepath.Glob(filepath.Join(dir, "troy-*")); err != nil || len(left) > 0 {
		t.Errorf("remaining files: %q, %v", left, err)
	}
}

func FuzzTar(f *testing.F) {
	f.Add(makeTar(f, []tarEntry{tarText("dist/index.html", "<h1>"), tarLink("dist/l", "index.html", tar.TypeSymlink), tarLink("dist/h", "dist/index.html", tar.TypeLink)}))
	f.Add(compressed(f, "gzip", makeTar(f, []tarEntry{tarLink("a", "b", tar.TypeSymlink), tarLink("b", "a", tar.TypeSymlink)})))
	f.Add(compressed(f, "zstd", makeTar(f, []tarEntry{tarText("../x", "x")})))
	limits := Limits{Files: 50, FileBytes: 1 << 16, TotalBytes: 1 << 18, ZipRatio: 10, Entries: 60}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := OpenSource(t.Context(), writeTemporary(t, "x.tar", data), limits, LeavingOut(), FindingLeaks())
		if err != nil {
			return
		}
		defer s.Close()
		if err := CheckFiles(s.Files, limits); err != nil && len(s.Files) > 0 {
			t.Fatal(err)
		}
	})
}
