// Package pack is the format of packs, files that hold many small files of a
// site. The local store writes them, and the edge reads them.
//
// A pack is a magic number, a record for each file, an index of the records and
// a footer. It is written once, by Writer, and never changed. A file's record
// says its digest and size as well, so that a pack whose index is damaged can
// be searched for its good files (Scan). Numbers are big-endian.
//
//	pack   = "troypak1" { record } { entry } footer
//	record = digest (32) size (4) bytes
//	entry  = digest (32) offset of the bytes (8) size (4), sorted by digest
//	footer = number of entries (4) SHA-256 of entries and number (32) "troyidx1"
package pack

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"
	"syscall"

	"github.com/troy-iaas/troy/site"
)

// MaxFile is the size in bytes of the largest file in a pack. Readers have a
// whole file in memory and verify it each time that they read it from disk.
const MaxFile = 64 << 10

// Suffix ends the name of every pack.
const Suffix = ".pack"

const (
	magic       = "troypak1"
	footerMagic = "troyidx1"
	digestSize  = sha256.Size
	recordSize  = digestSize + 4
	entrySize   = digestSize + 8 + 4
	footerSize  = 4 + digestSize + len(footerMagic)
)

// ErrDamaged means that a pack's bytes are not those that were written, or that
// the disk can't read them.
var ErrDamaged = errors.New("the pack is damaged")

// unreadable returns the error of a read, which is ErrDamaged if the disk failed.
func unreadable(err error) error {
	if errors.Is(err, syscall.EIO) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Entry is a file's place in a pack.
type Entry struct {
	Digest site.Digest
	Offset int64
	Size   int64
}

func compare(a, b Entry) int { return bytes.Compare(a.Digest[:], b.Digest[:]) }

// Writer writes a pack.
type Writer struct {
	w       buffered
	size    int64
	entries []Entry
}

// buffered is a writer that keeps what it gets until there is enough to write,
// or until Flush. It returns its first error again.
type buffered interface {
	io.Writer
	Flush() error
}

// NewWriter begins a pack. It buffers what it writes to w, unless w has a Flush.
func NewWriter(w io.Writer) *Writer {
	b, ok := w.(buffered)
	if !ok {
		b = bufio.NewWriterSize(w, 256<<10)
	}
	_, _ = b.Write([]byte(magic)) // Finish returns the error
	return &Writer{w: b, size: int64(len(magic))}
}

// Add appends a file, which the caller has verified.
func (w *Writer) Add(d site.Digest, data []byte) error {
	if len(data) > MaxFile {
		return fmt.Errorf("a file of %d bytes is too large for a pack", len(data))
	}
	var head [recordSize]byte
	copy(head[:], d[:])
	binary.BigEndian.PutUint32(head[digestSize:], uint32(len(data)))
	_, _ = w.w.Write(head[:])
	w.entries = append(w.entries, Entry{d, w.size + recordSize, int64(len(data))})
	w.size += recordSize + int64(len(data))
	_, err := w.w.Write(data)
	return err
}

// Len returns the number of files that were added.
func (w *Writer) Len() int { return len(w.entries) }

// Size returns the number of bytes so far, without the index.
func (w *Writer) Size() int64 { return w.size }

// Finish completes the pack. A file that was added twice is in its index once.
func (w *Writer) Finish() error {
	slices.SortStableFunc(w.entries, compare)
	w.entries = slices.CompactFunc(w.entries, func(a, b Entry) bool { return a.Digest == b.Digest })
	index := make([]byte, 0, len(w.entries)*entrySize+footerSize)
	for _, e := range w.entries {
		index = append(index, e.Digest[:]...)
		index = binary.BigEndian.AppendUint64(index, uint64(e.Offset))
		index = binary.BigEndian.AppendUint32(index, uint32(e.Size))
	}
	index = binary.BigEndian.AppendUint32(index, uint32(len(w.entries)))
	sum := sha256.Sum256(index)
	index = append(index, sum[:]...)
	_, _ = w.w.Write(append(index, footerMagic...))
	return w.w.Flush()
}

// Index reads a pack's index, sorted by digest. It returns ErrDamaged if the
// index is not whole.
func Index(f io.ReaderAt, size int64) ([]Entry, error) {
	most := size - int64(len(magic)) - int64(footerSize)
	if most < 0 {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrDamaged, size)
	}
	var footer [footerSize]byte
	if _, err := f.ReadAt(footer[:], size-int64(footerSize)); err != nil {
		return nil, unreadable(err)
	}
	n := int64(binary.BigEndian.Uint32(footer[:]))
	if string(footer[4+digestSize:]) != footerMagic || n*entrySize > most {
		return nil, fmt.Errorf("%w: it has no footer", ErrDamaged)
	}
	start := size - int64(footerSize) - n*entrySize
	index := make([]byte, n*entrySize+4)
	if _, err := f.ReadAt(index, start); err != nil {
		return nil, unreadable(err)
	}
	if sum := sha256.Sum256(index); !bytes.Equal(sum[:], footer[4:4+digestSize]) {
		return nil, fmt.Errorf("%w: its index has another checksum", ErrDamaged)
	}
	entries := make([]Entry, n)
	for i := range entries {
		b := index[i*entrySize:]
		e := Entry{site.Digest(b[:digestSize]), int64(binary.BigEndian.Uint64(b[digestSize:])), int64(binary.BigEndian.Uint32(b[digestSize+8:]))}
		first := int64(len(magic)) + recordSize
		if e.Offset < first || e.Offset > start || e.Size > MaxFile || e.Offset+e.Size > start || i > 0 && compare(entries[i-1], e) >= 0 {
			return nil, fmt.Errorf("%w: entry %d of its index is wrong", ErrDamaged, i)
		}
		entries[i] = e
	}
	return entries, nil
}

// Read reads a file and verifies its digest. It returns ErrDamaged if the bytes
// differ or can't be read.
func (e Entry) Read(f io.ReaderAt) ([]byte, error) {
	data := make([]byte, e.Size)
	if _, err := f.ReadAt(data, e.Offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, unreadable(err)
	}
	if sha256.Sum256(data) != e.Digest {
		return nil, fmt.Errorf("%w: the bytes of %s differ", ErrDamaged, e.Digest)
	}
	return data, nil
}

// Verify reports whether a file and the head of its record, which only Scan
// reads, are as they were written. err is nil if the disk can't read them.
func (e Entry) Verify(f io.ReaderAt) (bool, error) {
	var head [recordSize]byte
	_, err := f.ReadAt(head[:], e.Offset-recordSize)
	if err = unreadable(err); err == nil {
		if site.Digest(head[:digestSize]) != e.Digest || int64(binary.BigEndian.Uint32(head[digestSize:])) != e.Size {
			return false, nil
		}
		_, err = e.Read(f)
	}
	if errors.Is(err, ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

// Open opens a pack and reads its index.
func Open(name string) (*os.File, []Entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	var entries []Entry
	info, err := f.Stat()
	if err == nil {
		entries, err = Index(f, info.Size())
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read pack %s: %w", name, err), f.Close())
	}
	return f, entries, nil
}

// Scan finds the good files of a pack without its index: it follows the records
// from the start to the first that is not whole or can't be read, and verifies
// each file.
func Scan(f io.ReaderAt, size int64) ([]Entry, error) {
	head := make([]byte, recordSize)
	if size < int64(len(magic)) {
		return nil, nil
	}
	_, err := f.ReadAt(head[:len(magic)], 0)
	if errors.Is(err, syscall.EIO) || err == nil && string(head[:len(magic)]) != magic {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var good []Entry
	for at := int64(len(magic)); at+recordSize <= size; {
		if _, err := f.ReadAt(head, at); errors.Is(err, syscall.EIO) {
			break
		} else if err != nil {
			return good, err
		}
		e := Entry{site.Digest(head[:digestSize]), at + recordSize, int64(binary.BigEndian.Uint32(head[digestSize:]))}
		if e.Size > MaxFile || e.Offset+e.Size > size {
			break // the index begins here, or the pack is torn
		}
		_, err := e.Read(f)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return good, err
		}
		if err == nil {
			good = append(good, e)
		}
		at = e.Offset + e.Size
	}
	slices.SortStableFunc(good, compare)
	return slices.CompactFunc(good, func(a, b Entry) bool { return a.Digest == b.Digest }), nil
}

// place is a file's place in one of a table's packs.
type place struct {
	Entry
	pack int32
}

// mergeRuns sorts runs that are sorted, by merging neighbours. Among equals those
// of the earlier run come first.
func mergeRuns(places []place, ends []int) []place {
	merged := make([]place, 0, len(places))
	for len(ends) > 1 {
		from := 0
		var next []int
		for i := 0; i < len(ends); i += 2 {
			middle, end := ends[i], ends[min(i+1, len(ends)-1)]
			a, b := places[from:middle], places[middle:end]
			for len(a) > 0 && len(b) > 0 {
				if compare(a[0].Entry, b[0].Entry) <= 0 {
					merged, a = append(merged, a[0]), a[1:]
				} else {
					merged, b = append(merged, b[0]), b[1:]
				}
			}
			merged = append(append(merged, a...), b...)
			from = end
			next = append(next, end)
		}
		places, merged, ends = merged, places[:0], next
	}
	return places
}

// Table knows where the files in the packs of a folder are. It is immutable.
type Table struct {
	packs  []string
	places []place
}

// NewTable joins the indexes of packs. Of two packs with the same file the
// first counts.
func NewTable(packs []string, indexes [][]Entry) *Table {
	t := &Table{packs: packs}
	total := 0
	for _, entries := range indexes {
		total += len(entries)
	}
	t.places = make([]place, 0, total)
	ends := make([]int, len(indexes)) // of the packs' runs, each of which is sorted
	for i, entries := range indexes {
		for _, e := range entries {
			t.places = append(t.places, place{e, int32(i)})
		}
		ends[i] = len(t.places)
	}
	if len(indexes) > 1 {
		t.places = slices.Clip(slices.CompactFunc(mergeRuns(t.places, ends), func(a, b place) bool { return a.Digest == b.Digest }))
	}
	return t
}

// near is how far from its expected place Find first looks for a digest.
const near = 128

// Find returns the pack that has a file, and the file's place in it. Digests are
// spread evenly, so it looks near the place that a digest has in most tables
// before it looks farther away.
func (t *Table) Find(d site.Digest) (name string, e Entry, ok bool) {
	n := len(t.places)
	expected, _ := bits.Mul64(binary.BigEndian.Uint64(d[:8]), uint64(n))
	from, to := max(int(expected)-near, 0), min(int(expected)+near, n)
	for width := near; from > 0 && bytes.Compare(t.places[from].Digest[:], d[:]) > 0; width *= 2 {
		from, to = max(from-width, 0), from
	}
	for width := near; to < n && bytes.Compare(t.places[to].Digest[:], d[:]) <= 0; width *= 2 {
		from, to = to, min(to+width, n)
	}
	i, ok := slices.BinarySearchFunc(t.places[from:to], d, func(p place, d site.Digest) int { return bytes.Compare(p.Digest[:], d[:]) })
	if !ok {
		return "", e, false
	}
	found := t.places[from+i]
	return t.packs[found.pack], found.Entry, true
}

// Packs returns the packs' file names.
func (t *Table) Packs() []string { return t.packs }

// Bytes returns the approximate memory of the table.
func (t *Table) Bytes() int64 {
	const fixed, perPlace = 512, digestSize + 8 + 8 + 8
	return fixed + int64(len(t.packs))*128 + int64(len(t.places))*perPlace
}
