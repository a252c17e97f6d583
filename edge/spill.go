package edge

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
)

// errSpill means that an index's file can't be read, so the manifest has to be
// read again.
var errSpill = errors.New("can't read the file with a site's file list")

const (
	// spillFactor is the ratio of the limit on disk to the limit in memory.
	spillFactor = 16
	// mostSpilled is the maximum number of these files.
	mostSpilled = 1024
	// recordBytes is the size of a file's record in a spilled table besides its
	// path: the end of the path, the digest, the size, and the end of its time.
	recordBytes = 4 + 32 + 8 + 8
)

// spill is an unlinked file with the tables of one index: the records of a
// table, then its paths. The page cache keeps the parts in use in memory.
type spill struct {
	file   *os.File
	failed atomic.Bool
}

// retire closes the file. Requests that still use it read the manifest again.
func (s *spill) retire() {
	s.failed.Store(true)
	_ = s.file.Close()
}

func (s *spill) read(p []byte, at int64) bool {
	if _, err := s.file.ReadAt(p, at); err != nil {
		s.failed.Store(true)
		return false
	}
	return true
}

// spilled is a table in a file.
type spilled struct {
	in             *spill
	records, paths int64 // their offsets
	length         int
}

// entry returns the start and end of a path among the paths, and the file's
// entry. It returns zero values if the file can't be read.
func (t *spilled) entry(i int) (start, end uint32, f file, until int64) {
	var both [2 * recordBytes]byte
	before, record := both[:recordBytes], both[recordBytes:]
	var ok bool
	if i == 0 {
		ok = t.in.read(record, t.records)
	} else {
		ok = t.in.read(both[:], t.records+int64(i-1)*recordBytes)
		start = binary.LittleEndian.Uint32(before)
	}
	end = binary.LittleEndian.Uint32(record)
	if !ok || end < start {
		return 0, 0, file{}, 0
	}
	copy(f.digest[:], record[4:36])
	f.size = int64(binary.LittleEndian.Uint64(record[36:]))
	return start, end, f, int64(binary.LittleEndian.Uint64(record[44:]))
}

func (t *spilled) path(i int) string {
	start, end, _, _ := t.entry(i)
	path := make([]byte, end-start)
	if !t.in.read(path, t.paths+int64(start)) {
		return ""
	}
	return string(path)
}

// spillTo writes the index to a file in dir. It returns an index that reads
// from that file, and the file's size in bytes.
func (x *index) spillTo(dir string) (*index, int64, error) {
	f, err := os.CreateTemp(cmp.Or(dir, os.Getenv("TMPDIR"), "/var/tmp"), "troy-edge-")
	if err != nil {
		return nil, 0, err
	}
	in := &spill{file: f}
	if err := os.Remove(f.Name()); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	out := &index{slash: x.slash, notFound: x.notFound, deepest: x.deepest, rules: x.rules, spill: in}
	w := bufio.NewWriterSize(f, 1<<20)
	var size int64
	out.files.spilled, size = x.files.spillTo(w, in, 0)
	if x.carried != nil {
		out.carried = &table{}
		out.carried.spilled, size = x.carried.spillTo(w, in, size)
	}
	// w keeps its first error.
	if err := w.Flush(); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return out, size, nil
}

func (t *table) spillTo(w *bufio.Writer, in *spill, at int64) (*spilled, int64) {
	for i := range t.ends {
		var until int64
		if t.until != nil {
			until = t.until[i]
		}
		var record [recordBytes]byte
		binary.LittleEndian.PutUint32(record[:], t.ends[i])
		copy(record[4:], t.files[i].digest[:])
		binary.LittleEndian.PutUint64(record[36:], uint64(t.files[i].size))
		binary.LittleEndian.PutUint64(record[44:], uint64(until))
		_, _ = w.Write(record[:])
	}
	_, _ = w.WriteString(t.paths)
	s := &spilled{in: in, records: at, paths: at + int64(len(t.ends))*recordBytes, length: len(t.ends)}
	return s, s.paths + int64(len(t.paths))
}
