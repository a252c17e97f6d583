package site

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy"
)

// A manifest is stored as lines of text under zstd, so that zstdcat shows it:
//
//	troy manifest 1
//	trailing_slash always
//	rules 17
//	<17 bytes of JSON>
//	files 2
//	<sha256> <size> <path>
//	<sha256> <size> <path>
//	carried 1
//	<sha256> <size> <until> <path>
//
// Paths contain no control characters and come last, so nothing is escaped.
// SlashAuto has no trailing_slash line, and a site without rules no rules line.
const (
	manifestHeader = "troy manifest 1"
	slashLine      = "trailing_slash "
	rulesLine      = "rules "
	// maxRules is the maximum size of the rules in bytes.
	maxRules = 32 << 20
)

// maxLine is the maximum length of a line: a digest, two numbers, a path and
// the spaces.
const maxLine = 64 + 20 + 20 + MaxPath + 4

// EncodeManifest returns the stored form of m. Equal manifests have equal
// encodings, in whatever order their files are. It returns an Invalid error for
// a path or a size that DecodeManifest would refuse.
//
// The lines before the files, the files and the carried files are frames of
// their own, so that those of the files can be used again.
func EncodeManifest(m Manifest) ([]byte, error) {
	encoded, err := encodeManifest(m.Sorted())
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return encoded, nil
}

func encodeManifest(m Manifest) ([]byte, error) {
	policy, err := ParseTrailingSlash(string(m.TrailingSlash))
	if err != nil {
		return nil, err
	}
	if len(m.Rules) > maxRules {
		return nil, troy.Errorf(troy.Invalid, "the site's rules have %d bytes; expected at most %d", len(m.Rules), maxRules)
	}
	head := []byte(manifestHeader + "\n")
	if policy != SlashAuto {
		head = fmt.Appendf(head, "%s%s\n", slashLine, policy)
	}
	if len(m.Rules) > 0 {
		head = fmt.Appendf(head, "%s%d\n%s\n", rulesLine, len(m.Rules), m.Rules)
	}
	head = fmt.Appendf(head, "files %d\n", len(m.Files))
	tail := fmt.Appendf(nil, "carried %d\n", len(m.Carried))
	for i, c := range m.Carried {
		if err := checkLine(c.File, i > 0 && m.Carried[i-1].Path == c.Path); err != nil {
			return nil, fmt.Errorf("carried: %w", err)
		}
		tail = append(appendNumbers(tail, c.File), ' ')
		tail = strconv.AppendInt(tail, c.Until, 10)
		tail = append(append(append(tail, ' '), c.Path...), '\n')
	}
	files := m.encodeFiles
	if m.known() {
		files = m.list.encoded
	}
	lines, err := files()
	if err != nil {
		return nil, err
	}
	compressor, err := newCompressor(1)
	if err != nil {
		return nil, err
	}
	encoded := compressor.EncodeAll(head, make([]byte, 0, len(head)+len(lines)+len(tail)))
	return compressor.EncodeAll(tail, append(encoded, lines...)), nil
}

// newCompressor returns a compressor whose window has some thousand lines: paths
// are like those near them, and a larger one costs more memory than it saves.
func newCompressor(concurrency int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(concurrency), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(256<<10))
}

// filesInFrame is how many files are compressed together.
const filesInFrame = 16_384

// encodeFiles returns the frames of the files, which are sorted.
func (m Manifest) encodeFiles() ([]byte, error) {
	compressor, err := newCompressor(runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	frames := make([][]byte, (len(m.Files)+filesInFrame-1)/filesInFrame)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range frames {
		from := i * filesInFrame
		group.Go(func() (err error) {
			frames[i], err = encodeFrame(compressor, m.Files[from:min(from+filesInFrame, len(m.Files))], from > 0 && m.Files[from-1].Path == m.Files[from].Path)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return bytes.Join(frames, nil), nil
}

func encodeFrame(compressor *zstd.Encoder, files []File, again bool) ([]byte, error) {
	size := 0
	for _, f := range files {
		size += len(f.Path) + 2*len(f.SHA256) + 3 + len("1234567")
	}
	lines := make([]byte, 0, size)
	for i, f := range files {
		if err := checkLine(f, again || i > 0 && files[i-1].Path == f.Path); err != nil {
			return nil, err
		}
		again = false
		lines = append(appendFile(lines, f), '\n')
	}
	return compressor.EncodeAll(lines, make([]byte, 0, len(lines)/2)), nil
}

// list is what is known of a list of files that does not change any more.
type list struct {
	files   []File
	digest  func() Digest
	encoded func() ([]byte, error) // as encodeFiles
	checked atomic.Pointer[Limits] // with which Checked found no error
}

// Fixed returns m, sorted, for a list of files that does not change any more. The
// list is checked and encoded, and its digest is computed, only once, also if the
// rest of m changes.
func (m Manifest) Fixed() Manifest {
	m = m.Sorted()
	if !m.known() {
		files := Manifest{Files: m.Files}
		m.list = &list{files: m.Files, digest: sync.OnceValue(files.Digest), encoded: sync.OnceValues(files.encodeFiles)}
	}
	return m
}

// Prepare begins to encode the files of a manifest that is Fixed, and returns at
// once. EncodeManifest waits for it.
func (m Manifest) Prepare() {
	go func() { _, _ = m.list.encoded() }()
}

func (m Manifest) withDigest(d Digest) Manifest {
	m.list = &list{files: m.Files, digest: func() Digest { return d }, encoded: Manifest{Files: m.Files}.encodeFiles}
	return m
}

// known reports whether m.list is what is known of m.Files.
func (m Manifest) known() bool { return m.list != nil && Same(m.list.files, m.Files) }

// Same reports whether two lists share their memory. It says that they are equal
// if neither changes.
func Same(a, b []File) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Digest returns the SHA-256 of the lines of m.Files in EncodeManifest's form.
// Carried files, rules and the trailing slash policy don't affect it.
func (m Manifest) Digest() Digest {
	if m.known() {
		return m.list.digest()
	}
	return digestOf(m.Sorted().Files)
}

func digestOf(sorted []File) Digest {
	h := sha256.New()
	lines := make([]byte, 0, 64<<10)
	for _, f := range sorted {
		if lines = append(appendFile(lines, f), '\n'); len(lines) > cap(lines)-maxLine {
			h.Write(lines)
			lines = lines[:0]
		}
	}
	h.Write(lines)
	return Digest(h.Sum(nil))
}

// Sorted returns m with its files and carried files sorted by path. It does not
// change those of m.
func (m Manifest) Sorted() Manifest {
	byPath := func(a, b File) int { return strings.Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(m.Files, byPath) {
		m.Files = slices.SortedStableFunc(slices.Values(m.Files), byPath)
	}
	carriedByPath := func(a, b Carried) int { return strings.Compare(a.Path, b.Path) }
	if !slices.IsSortedFunc(m.Carried, carriedByPath) {
		m.Carried = slices.SortedStableFunc(slices.Values(m.Carried), carriedByPath)
	}
	return m
}

func checkLine(f File, again bool) error {
	if err := CheckPath(f.Path); err != nil {
		return err
	}
	if f.Size < 0 {
		return troy.Errorf(troy.Invalid, "the size of %q is negative", f.Path)
	}
	if again {
		return troy.Errorf(troy.Invalid, "the path %q appears twice", f.Path)
	}
	return nil
}

func appendFile(b []byte, f File) []byte {
	b = append(appendNumbers(b, f), ' ')
	return append(b, f.Path...)
}

func appendNumbers(b []byte, f File) []byte {
	b = append(hex.AppendEncode(b, f.SHA256[:]), ' ')
	return strconv.AppendInt(b, f.Size, 10)
}

// DecodeManifest decodes the output of EncodeManifest. It never holds more than
// limits.Files files and as many carried ones, and refuses the paths that
// CheckPath refuses.
func DecodeManifest(r io.Reader, limits Limits) (Manifest, error) {
	limits = limits.orDefault()
	// EncodeManifest's window is 256 KiB, that of earlier versions 4 MiB; a larger
	// one than 8 MiB is not Troy's.
	decompressor, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w", err)
	}
	defer decompressor.Close()
	d := lineReader{r: bufio.NewReaderSize(decompressor, 1<<16)}
	m, err := d.manifest(limits.Files)
	if err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: line %d: %w", d.line, err)
	}
	return m, nil
}

type lineReader struct {
	r    *bufio.Reader
	line int
}

func (d *lineReader) manifest(most int) (Manifest, error) {
	var m Manifest
	header, err := d.next()
	if err != nil {
		return m, err
	}
	if string(header) != manifestHeader {
		return m, fmt.Errorf("begins with %q, expected %q", troy.Clip(string(header)), manifestHeader)
	}
	if m.TrailingSlash, err = d.policy(); err != nil {
		return m, err
	}
	if m.Rules, err = d.rules(); err != nil {
		return m, err
	}
	n, err := d.count("files", most)
	if err != nil {
		return m, err
	}
	m.Files = make([]File, 0, min(n, 4096))
	for range n {
		f, _, err := d.file(false)
		if err != nil {
			return m, err
		}
		if last := len(m.Files) - 1; last >= 0 && m.Files[last].Path >= f.Path {
			return m, fmt.Errorf("the path %q is out of order", f.Path)
		}
		m.Files = append(m.Files, f)
	}
	if n, err = d.count("carried", most); err != nil {
		return m, err
	}
	for range n {
		f, until, err := d.file(true)
		if err != nil {
			return m, err
		}
		if last := len(m.Carried) - 1; last >= 0 && m.Carried[last].Path >= f.Path {
			return m, fmt.Errorf("the path %q is out of order", f.Path)
		}
		m.Carried = append(m.Carried, Carried{File: f, Until: until})
	}
	if _, err := d.r.ReadByte(); err != io.EOF {
		return m, fmt.Errorf("unexpected data after the manifest")
	}
	return m, nil
}

// next returns a line without its end. The bytes are valid until the next call.
func (d *lineReader) next() ([]byte, error) {
	d.line++
	line, err := d.r.ReadSlice('\n')
	if err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	if len(line) > maxLine {
		return nil, fmt.Errorf("has %d bytes; expected at most %d", len(line), maxLine)
	}
	return line[:len(line)-1], nil
}

// policy reads the optional line trailing_slash.
func (d *lineReader) policy() (TrailingSlash, error) {
	// If Peek fails, reading the next line reports the error.
	if next, _ := d.r.Peek(len(slashLine)); string(next) != slashLine {
		return "", nil
	}
	line, err := d.next()
	if err != nil {
		return "", err
	}
	return ParseTrailingSlash(string(line[len(slashLine):]))
}

// rules reads the optional rules.
func (d *lineReader) rules() ([]byte, error) {
	if next, _ := d.r.Peek(len(rulesLine)); string(next) != rulesLine {
		return nil, nil
	}
	n, err := d.count("rules", maxRules)
	if err != nil || n == 0 {
		return nil, err
	}
	d.line++
	data := bytes.NewBuffer(make([]byte, 0, min(n+1, 1<<16)))
	if _, err := io.CopyN(data, d.r, int64(n)+1); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	all := data.Bytes()
	if all[n] != '\n' {
		return nil, fmt.Errorf("the rules have more than %d bytes", n)
	}
	return all[:n:n], nil
}

func (d *lineReader) count(word string, most int) (int, error) {
	line, err := d.next()
	if err != nil {
		return 0, err
	}
	number, found := bytes.CutPrefix(line, []byte(word+" "))
	n, err := strconv.ParseUint(string(number), 10, 31)
	if !found || err != nil {
		return 0, fmt.Errorf("is %q, expected %q and a number", troy.Clip(string(line)), word)
	}
	if int(n) > most {
		return 0, fmt.Errorf("has %d %s; expected at most %d", n, word, most)
	}
	return int(n), nil
}

func (d *lineReader) file(carried bool) (f File, until int64, err error) {
	line, err := d.next()
	if err != nil {
		return f, 0, err
	}
	digest, rest, _ := bytes.Cut(line, []byte{' '})
	if len(digest) != hex.EncodedLen(len(f.SHA256)) {
		return f, 0, fmt.Errorf("the SHA-256 has %d characters; expected 64 hexadecimal digits", len(digest))
	}
	if _, err := hex.Decode(f.SHA256[:], digest); err != nil {
		return f, 0, err
	}
	size, rest, found := bytes.Cut(rest, []byte{' '})
	if f.Size, err = strconv.ParseInt(string(size), 10, 64); err != nil || f.Size < 0 || !found {
		return f, 0, fmt.Errorf("%q is not a size", troy.Clip(string(size)))
	}
	if carried {
		var number []byte
		number, rest, _ = bytes.Cut(rest, []byte{' '})
		if until, err = strconv.ParseInt(string(number), 10, 64); err != nil {
			return f, 0, fmt.Errorf("%q is not a time", troy.Clip(string(number)))
		}
	}
	f.Path = string(rest)
	return f, until, CheckPath(f.Path)
}
