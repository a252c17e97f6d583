package site

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

func writeFiles(t *testing.T, dir string, content map[string]string) {
	t.Helper()
	for name, text := range content {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func openSource(t *testing.T, name string, limits Limits, options ...SourceOption) *Source {
	t.Helper()
	s, err := OpenSource(t.Context(), name, limits, options...)
	if err != nil {
		t.Fatalf("OpenSource: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// wantFiles compares a source's files, in order, with want, including digests
// and bytes.
func wantFiles(t *testing.T, s *Source, want map[string]string) {
	t.Helper()
	if len(s.Files) != len(want) || !slices.IsSortedFunc(s.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) }) {
		t.Fatalf("the files are %v, want %d sorted", s.Files, len(want))
	}
	for _, f := range s.Files {
		text, ok := want[f.Path]
		if !ok || f.SHA256 != sha256.Sum256([]byte(text)) || f.Size != int64(len(text)) {
			t.Errorf("%s is %d bytes with %s", f.Path, f.Size, f.SHA256)
		}
		r, err := s.Open(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || string(data) != text {
			t.Errorf("%s reads as %q, %v", f.Path, data, err)
		}
		r.Close()
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	content := map[string]string{"index.html": "<h1>", "assets/app.js": "app", "empty": "", "日本/ü.txt": "ü"}
	writeFiles(t, dir, content)
	writeFiles(t, dir, map[string]string{".git/config": "x", "sub/.git": "x", ".DS_Store": "x", "assets/.DS_Store": "x"})
	for link, target := range map[string]string{"link.html": "index.html", "assets/up.html": "../index.html"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
		content[link] = "<h1>"
	}
	var calls int
	var bytes int64
	s := openSource(t, dir, Limits{}, WithProgress(func(files int, n int64) {
		calls++
		if files != calls {
			t.Errorf("call %d reported %d files", calls, files)
		}
		bytes = n
	}))
	wantFiles(t, s, content)
	if calls != len(content) || bytes != s.Bytes() {
		t.Errorf("progress ended at %d files and %d bytes, of %d and %d", calls, bytes, len(content), s.Bytes())
	}
	for _, p := range []string{"../x", "/etc/passwd", "nowhere"} {
		if r, err := s.Open(p); err == nil {
			r.Close()
			t.Errorf("%s was opened", p)
		}
	}
}

// Linked folders appear under the links' names, as in versioned documentation
// where latest is a link to 2.0.
func TestLinkedFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := map[string]string{"index.html": "i", "2.0/index.html": "two", "2.0/a/b.txt": "b"}
	writeFiles(t, dir, want)
	writeFiles(t, dir, map[string]string{"2.0/.git/config": "x"})
	for _, l := range []struct{ link, target string }{
		{"latest", "2.0"}, {"stable", "latest"}, {"de/aktuell", "../2.0/"}, {"2.0/home.html", "../index.html"}, {"empty", "nothing"},
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(l.link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(l.target, filepath.Join(dir, l.link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "nothing"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"2.0", "latest", "stable", "de/aktuell"} {
		want[folder+"/index.html"], want[folder+"/a/b.txt"], want[folder+"/home.html"] = "two", "b", "i"
	}
	wantFiles(t, openSource(t, dir, Limits{}), want)
}

func TestNamesThatDifferInCase(t *testing.T) {
	t.Parallel()
	want := map[string]string{"tag/Go/index.html": "Go", "tag/go/index.html": "go", "keyword.Self.html": "Self", "keyword.self.html": "self"}
	dir := t.TempDir()
	writeFiles(t, dir, want)
	if names, err := os.ReadDir(filepath.Join(dir, "tag")); err != nil || len(names) != 2 {
		t.Skipf("the disk ignores case: %v, %v", names, err)
	}
	wantFiles(t, openSource(t, dir, Limits{}), want)
	var entries []entry
	for name, text := range want {
		entries = append(entries, plainEntry(name, text))
	}
	s := openSource(t, zipFile(t, makeZip(t, entries...)), Limits{})
	wantFiles(t, s, want)
	if twins := CaseTwins(s.Files); len(twins) != 2 {
		t.Errorf("CaseTwins: %q", twins)
	}
}

func TestFolderRefuses(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "secret")
	writeFiles(t, filepath.Dir(outside), map[string]string{"secret": "s"})
	link := func(target string) func(string) error {
		return func(dir string) error { return os.Symlink(target, filepath.Join(dir, "the-link")) }
	}
	for name, test := range map[string]struct {
		make   func(dir string) error
		limits Limits
		kind   troy.ErrorKind
		says   []string
	}{
		"a link out, absolute": {link(outside), Limits{}, troy.Invalid, []string{`"the-link" is an absolute link, to `, "expected a relative link"}},
		"a link inside, absolute": {func(dir string) error {
			return os.Symlink(filepath.Join(dir, "index.html"), filepath.Join(dir, "the-link"))
		}, Limits{}, troy.Invalid, []string{`"the-link" is an absolute link, to `, "expected a relative link"}},
		"a link out, relative": {link("../../../../../../etc/passwd"), Limits{}, troy.Invalid, []string{`"the-link"`, "is outside"}},
		"a link to nowhere":    {link("nowhere"), Limits{}, troy.Invalid, []string{`"the-link"`, "does not exist"}},
		"a link to its folder": {link("."), Limits{}, troy.Invalid, []string{`"the-link"`, "form a cycle"}},
		"a link to a pipe": {func(dir string) error {
			return errors.Join(syscall.Mkfifo(filepath.Join(dir, "folder", ".git"), 0o644), os.Symlink("folder/.git", filepath.Join(dir, "the-link")))
		}, Limits{}, troy.Invalid, []string{`"the-link"`, "neither a file nor a folder"}},
		"a folder out":       {link("../"), Limits{}, troy.Invalid, []string{`"the-link"`, "is outside"}},
		"a folder, absolute": {link("/usr"), Limits{}, troy.Invalid, []string{`"the-link" is an absolute link`}},
		"two folders in a cycle": {func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "other"), 0o755), os.Symlink("../other", filepath.Join(dir, "folder", "l")), os.Symlink("../folder", filepath.Join(dir, "other", "l")))
		}, Limits{}, troy.Invalid, []string{"form a cycle"}},
		"folders that multiply": {func(dir string) error {
			for i := range 20 {
				in, next := filepath.Join(dir, fmt.Sprint(i)), fmt.Sprintf("../%d", i+1)
				if err := errors.Join(os.Mkdir(in, 0o755), os.Symlink(next, filepath.Join(in, "a")), os.Symlink(next, filepath.Join(in, "b"))); err != nil {
					return err
				}
			}
			return os.Mkdir(filepath.Join(dir, "20"), 0o755)
		}, Limits{Entries: 1000}, troy.TooLarge, []string{"the limit of 1000 files and folders"}},
		"a link to itself": {link("the-link"), Limits{}, troy.Invalid, []string{`"the-link"`}},
		"a pipe": {func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644) },
			Limits{}, troy.Invalid, []string{`"pipe" is a pipe, which can't be published; remove it`}},
		"a backslash": {func(dir string) error { return os.WriteFile(filepath.Join(dir, `a\b`), nil, 0o644) },
			Limits{}, troy.Invalid, []string{"backslash"}},
		"a name that is not valid UTF-8": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "caf\xe9\x80 ü"), nil, 0o644) },
			Limits{}, troy.Invalid, []string{`"caf\xe9\x80 ü" is not valid UTF-8; rename it, such as to "café_ ü"`}},
		"nothing":   {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "index.html")) }, Limits{}, troy.Invalid, []string{"empty"}},
		"too many":  {func(dir string) error { return nil }, Limits{Files: 1}, troy.TooLarge, []string{"1 files"}},
		"too large": {func(dir string) error { return nil }, Limits{FileBytes: 3}, troy.TooLarge, []string{`"index.html"`, "3"}},
		"too much":  {func(dir string) error { return nil }, Limits{TotalBytes: 5}, troy.TooLarge, []string{"5"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{"index.html": "<h1>"})
			if name != "nothing" {
				writeFiles(t, dir, map[string]string{"folder/a.txt": "abc"})
			}
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			wantRefused(t, dir, test.limits, test.kind, test.says...)
		})
	}
}

func TestDenied(t *testing.T) {
	t.Parallel()
	in := &fs.PathError{Op: "openat", Path: "b", Err: fs.ErrPermission}
	for name, test := range map[string]struct {
		err  error
		want string
		ok   bool
	}{
		"a file":        {fmt.Errorf("open dist: %w", in), "b", true},
		"a folder":      {fmt.Errorf("open dist: %w", &walk.FolderError{Op: "open", Path: "a/b", Err: in}), "a/b", true},
		"another error": {&fs.PathError{Op: "open", Path: "b", Err: fs.ErrNotExist}, "", false},
		"none":          {nil, "", false},
	} {
		if got, ok := Denied(test.err); got != test.want || ok != test.ok {
			t.Errorf("%s: Denied: %q, %v; want %q, %v", name, got, ok, test.want, test.ok)
		}
	}
}

func wantRefused(t *testing.T, name string, limits Limits, kind troy.ErrorKind, says ...string) {
	t.Helper()
	s, err := OpenSource(t.Context(), name, limits)
	if err == nil {
		s.Close()
	}
	if err == nil || troy.KindOf(err) != kind {
		t.Fatalf("OpenSource: %v, want %s", err, kind)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not contain %s", err, part)
		}
	}
}

func TestNoSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"page.html": "<h1>"})
	wantRefused(t, filepath.Join(dir, "nowhere"), Limits{}, troy.NotFound, "nowhere")
	wantRefused(t, filepath.Join(dir, "page.html"), Limits{}, troy.Invalid, "one page", "index.html")
	wantRefused(t, "/dev/null", Limits{}, troy.Invalid, "neither a folder nor an archive")
	for content, says := range map[string]string{
		"BZh91AY&SY": "bzip2", "\xfd7zXZ\x00": "xz", "7z\xbc\xaf\x27\x1c": "7z", "Rar!\x1a\x07\x01\x00": "RAR", "hello": "neither", "": "neither",
	} {
		writeFiles(t, dir, map[string]string{"site.bin": content})
		wantRefused(t, filepath.Join(dir, "site.bin"), Limits{}, troy.Invalid, says, ".tar.zst")
	}
}

type entry struct {
	header zip.FileHeader
	text   string
	raw    bool // text is the entry's raw content in the form that the header declares
}

func plainEntry(name, text string) entry {
	return entry{header: zip.FileHeader{Name: name, Method: zip.Deflate}, text: text}
}

func makeZip(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		create := w.CreateHeader
		if e.raw {
			create = w.CreateRaw
		}
		f, err := create(&e.header)
		if err == nil && e.text != "" {
			_, err = io.WriteString(f, e.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipFile(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "site.zip")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestZip(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		entries  []entry
		stripped string
		want     map[string]string
	}{
		"plain": {[]entry{plainEntry("b/", ""), plainEntry("b/c.txt", "c"), plainEntry("index.html", "<h1>"), plainEntry("__MACOSX/x", "x"), plainEntry("b/.DS_Store", "x")},
			"", map[string]string{"b/c.txt": "c", "index.html": "<h1>"}},
		"one top folder": {[]entry{plainEntry("dist/", ""), plainEntry("dist/index.html", "<h1>"), plainEntry("dist/a/b.txt", "b"), plainEntry("__MACOSX/dist/x", "x")},
			"dist", map[string]string{"index.html": "<h1>", "a/b.txt": "b"}},
		"one top folder without an index": {[]entry{plainEntry("docs/a.html", "a"), plainEntry("docs/b/index.html", "b")},
			"", map[string]string{"docs/a.html": "a", "docs/b/index.html": "b"}},
		"./ before names": {[]entry{plainEntry("./", ""), plainEntry("./index.html", "<h1>"), plainEntry("./a/", ""), plainEntry("././a/b.txt", "b"), plainEntry("index.html", "<h1>")},
			"", map[string]string{"index.html": "<h1>", "a/b.txt": "b"}},
		"./ and one top folder": {[]entry{plainEntry("./dist/index.html", "<h1>"), plainEntry("./dist/b.txt", "b"), plainEntry("./._dist", "x")},
			"dist", map[string]string{"index.html": "<h1>", "b.txt": "b"}},
		"links": {[]entry{plainEntry("index.html", "<h1>"), zipLink("a/up.html", "../index.html"), zipLink("b.html", "a/up.html")},
			"", map[string]string{"index.html": "<h1>", "a/up.html": "<h1>", "b.html": "<h1>"}},
		"backslashes of Windows": {[]entry{plainEntry("index.html", "<h1>"), plainEntry(`css\`, ""), plainEntry(`css\a\main.css`, "c")},
			"", map[string]string{"index.html": "<h1>", "css/a/main.css": "c"}},
		"backslashes and one top folder": {[]entry{plainEntry(`dist\index.html`, "<h1>"), plainEntry(`dist\a.css`, "c")},
			"dist", map[string]string{"index.html": "<h1>", "a.css": "c"}},
		"two top folders": {[]entry{plainEntry("a/index.html", "a"), plainEntry("b/index.html", "b")},
			"", map[string]string{"a/index.html": "a", "b/index.html": "b"}},
		"a folder and an index": {[]entry{plainEntry("a/b.html", "a"), plainEntry("index.html", "i")},
			"", map[string]string{"a/b.html": "a", "index.html": "i"}},
		"one file": {[]entry{plainEntry("page.html", "p")}, "", map[string]string{"page.html": "p"}},
		"stored":   {[]entry{{header: zip.FileHeader{Name: "a.txt", Method: zip.Store}, text: "a"}}, "", map[string]string{"a.txt": "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openSource(t, zipFile(t, makeZip(t, test.entries...)), Limits{})
			if s.Stripped != test.stripped {
				t.Errorf("stripped is %q, want %q", s.Stripped, test.stripped)
			}
			wantFiles(t, s, test.want)
		})
	}
}

func zipLink(name, target string) entry {
	e := entry{header: zip.FileHeader{Name: name, Method: zip.Deflate}, text: target}
	e.header.SetMode(fs.ModeSymlink | 0o777)
	return e
}

func TestZipRefuses(t *testing.T) {
	t.Parallel()
	symlink := zipLink("the-link", "/etc/passwd")
	device := entry{header: zip.FileHeader{Name: "device"}}
	device.header.SetMode(fs.ModeDevice | 0o644)
	locked := entry{header: zip.FileHeader{Name: "locked", Flags: encrypted, CompressedSize64: 3, UncompressedSize64: 3}, text: "abc", raw: true}
	odd := entry{header: zip.FileHeader{Name: "odd", Method: 12, CompressedSize64: 3, UncompressedSize64: 3}, text: "abc", raw: true}
	// It declares 3 bytes and unpacks to 5.
	liar := entry{header: zip.FileHeader{Name: "liar", Method: zip.Deflate, CRC32: crc32.ChecksumIEEE([]byte("abcde")), CompressedSize64: 10, UncompressedSize64: 3},
		text: "\x01\x05\x00\xfa\xffabcde", raw: true}
	damaged := entry{header: zip.FileHeader{Name: "damaged", Method: zip.Store, CRC32: 1, CompressedSize64: 3, UncompressedSize64: 3}, text: "abc", raw: true}
	huge := entry{header: zip.FileHeader{Name: "huge", Method: zip.Deflate, CompressedSize64: 3, UncompressedSize64: 5 << 40}, text: "abc", raw: true}
	bomb := plainEntry("bomb", strings.Repeat("\x00", ratioGrace+1<<20))
	fine := plainEntry("index.html", "<h1>")
	for name, test := range map[string]struct {
		entries []entry
		limits  Limits
		kind    troy.ErrorKind
		says    []string
	}{
		"absolute":           {[]entry{plainEntry("/etc/passwd", "x")}, Limits{}, troy.Invalid, []string{`"/etc/passwd"`, "absolute"}},
		"up":                 {[]entry{fine, plainEntry("../../x", "x")}, Limits{}, troy.Invalid, []string{`"../../x"`}},
		"an upward folder":   {[]entry{fine, plainEntry("../", "")}, Limits{}, troy.Invalid, []string{`".."`}},
		"backslashes up":     {[]entry{plainEntry(`a\..\b`, "x")}, Limits{}, troy.Invalid, []string{`".."`}},
		"backslashes above":  {[]entry{plainEntry(`..\b`, "x")}, Limits{}, troy.Invalid, []string{`".."`}},
		"a mix of slashes":   {[]entry{plainEntry(`a\b`, "x"), plainEntry("c/d", "x")}, Limits{}, troy.Invalid, []string{`"a\\b"`, "backslash"}},
		"a drive":            {[]entry{plainEntry(`C:\b`, "x")}, Limits{}, troy.Invalid, []string{"drive"}},
		"a drive, slashed":   {[]entry{plainEntry(`c:/b`, "x")}, Limits{}, troy.Invalid, []string{"drive"}},
		"a share":            {[]entry{plainEntry(`\\host\share\b`, "x")}, Limits{}, troy.Invalid, []string{"absolute"}},
		"from the root":      {[]entry{plainEntry(`\b`, "x")}, Limits{}, troy.Invalid, []string{"absolute"}},
		"./ and up":          {[]entry{plainEntry("./../b", "x")}, Limits{}, troy.Invalid, []string{`".."`}},
		"./ and absolute":    {[]entry{plainEntry(".//../b", "x")}, Limits{}, troy.Invalid, []string{`".."`}},
		"a name in CP437":    {[]entry{fine, {header: zip.FileHeader{Name: "gr\x81n.txt", NonUTF8: true}}}, Limits{}, troy.Invalid, []string{"not valid UTF-8", "7-Zip"}},
		"a link":             {[]entry{fine, symlink}, Limits{}, troy.Invalid, []string{`"the-link" is an absolute link`}},
		"a link up":          {[]entry{fine, zipLink("the-link", "../x")}, Limits{}, troy.Invalid, []string{`"the-link"`, "is outside"}},
		"a link to a folder": {[]entry{fine, plainEntry("a/b", "x"), zipLink("the-link", "a")}, Limits{}, troy.Invalid, []string{`"the-link"`, "expected a link to a file"}},
		"a link in the way":  {[]entry{fine, plainEntry("a", "x"), zipLink("a", "index.html")}, Limits{}, troy.Invalid, []string{`"a"`, "twice"}},
		"a long link":        {[]entry{fine, zipLink("the-link", strings.Repeat("a", 2000))}, Limits{}, troy.Invalid, []string{`"the-link"`, "1024"}},
		"a device":           {[]entry{fine, device}, Limits{}, troy.Invalid, []string{`"device"`}},
		"encrypted":          {[]entry{fine, locked}, Limits{}, troy.Invalid, []string{`"locked"`, "encrypted"}},
		"an odd method":      {[]entry{fine, odd}, Limits{}, troy.Invalid, []string{`"odd"`, "method 12"}},
		"twice":              {[]entry{fine, plainEntry("./index.html", "<h2>")}, Limits{}, troy.Invalid, []string{`"index.html"`, "twice"}},
		"file and folder":    {[]entry{plainEntry("a", "x"), plainEntry("a/b", "x")}, Limits{}, troy.Invalid, []string{"folder"}},
		"empty":              {nil, Limits{}, troy.Invalid, []string{"empty"}},
		"folders only":       {[]entry{plainEntry("a/", "")}, Limits{}, troy.Invalid, []string{"empty"}},
		"more than declared": {[]entry{fine, liar}, Limits{}, troy.Invalid, []string{`"liar"`, "larger than"}},
		"damaged":            {[]entry{fine, damaged}, Limits{}, troy.Invalid, []string{`"damaged"`, "checksum"}},
		"declared too large": {[]entry{fine, huge}, Limits{}, troy.TooLarge, []string{`"huge"`}},
		"entries":            {[]entry{fine, plainEntry("a", ""), plainEntry("b", "")}, Limits{Entries: 2}, troy.TooLarge, []string{"3 entries", "2"}},
		"files":              {[]entry{fine, plainEntry("a", "")}, Limits{Files: 1}, troy.TooLarge, []string{"2 files"}},
		"total":              {[]entry{fine, plainEntry("a", "aaaa")}, Limits{TotalBytes: 7}, troy.TooLarge, []string{"7 bytes"}},
		"ratio":              {[]entry{bomb}, Limits{}, troy.TooLarge, []string{"times its size", "200"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, zipFile(t, makeZip(t, test.entries...)), test.limits, test.kind, test.says...)
		})
	}
	t.Run("a directory beyond the entries", func(t *testing.T) {
		t.Parallel()
		many := make([]entry, 3000)
		for i := range many {
			many[i] = plainEntry(fmt.Sprintf("%s%d", strings.Repeat("a", 900), i), "")
		}
		wantRefused(t, zipFile(t, makeZip(t, many...)), Limits{Entries: 1}, troy.TooLarge, "directory")
	})
	t.Run("cut off", func(t *testing.T) {
		t.Parallel()
		data := makeZip(t, fine)
		wantRefused(t, zipFile(t, data[:len(data)-30]), Limits{}, troy.Invalid)
	})
}

// TestOverlappingEntries reads a zip whose entries share one body, as in a zip
// bomb without nesting.
func TestOverlappingEntries(t *testing.T) {
	t.Parallel()
	data := makeZip(t, plainEntry("kernel", strings.Repeat("\x00", 4<<20)))
	end := len(data) - 22
	start := int(binary.LittleEndian.Uint32(data[end+16:]))
	record := data[start:end]
	body := slices.Clone(data[:start])
	const copies = 64
	for range copies {
		body = append(body, record...)
	}
	tail := slices.Clone(data[end:])
	binary.LittleEndian.PutUint16(tail[8:], copies)
	binary.LittleEndian.PutUint16(tail[10:], copies)
	binary.LittleEndian.PutUint32(tail[12:], uint32(copies*len(record)))
	wantRefused(t, zipFile(t, append(body, tail...)), Limits{}, troy.TooLarge, "times its size")
}

func FuzzZip(f *testing.F) {
	f.Add(makeZip(f, plainEntry("dist/index.html", "<h1>"), plainEntry("dist/a.txt", strings.Repeat("a", 300))))
	f.Add(makeZip(f, plainEntry("../x", "x")))
	link := entry{header: zip.FileHeader{Name: "l"}, text: "/etc"}
	link.header.SetMode(fs.ModeSymlink)
	f.Add(makeZip(f, link))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	limits := Limits{Files: 50, FileBytes: 1 << 16, TotalBytes: 1 << 18, ZipRatio: 10, Entries: 60}
	f.Fuzz(func(t *testing.T, data []byte) {
		z, err := readZip(t.Context(), bytes.NewReader(data), int64(len(data)), limits)
		if err != nil {
			return
		}
		s := &Source{tree: z}
		if s.Files, err = z.list(t.Context(), limits, &sieve{}); err != nil || s.hash(t.Context(), limits, &sourceOptions{}) != nil {
			return
		}
		if err := CheckFiles(s.Files, limits); err != nil {
			t.Fatal(err)
		}
		for _, file := range s.Files {
			r, err := s.Open(file.Path)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, r)
			if err != nil || n != file.Size {
				t.Fatalf("%q has %d bytes, then %d, %v", file.Path, file.Size, n, err)
			}
		}
	})
}
