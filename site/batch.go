package site

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/troy-iaas/troy"
)

// A batch is a body with many files: a table, then the files' bytes.
//
//	8 bytes    "troyput1"
//	4 bytes    the number of files
//	40 bytes   for each file: its SHA-256, then its size in 8 bytes
//	           the bytes of the first file, of the second, and so on
//
// Numbers are big-endian. The whole body may be one stream of Zstandard.

const (
	batchMagic = "troyput1"
	// BatchEntry is the size of a file's entry in the table, in bytes.
	BatchEntry = 32 + 8
	// BatchWindow is the maximum size of the Zstandard window of a batch, in
	// bytes. It bounds the memory for reading one.
	BatchWindow = 4 << 20
)

// BatchLimits bounds a batch. Zero fields mean that batches are not possible.
type BatchLimits struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"` // of all its files, not compressed
}

// DefaultBatchLimits returns the limits of the server.
func DefaultBatchLimits() BatchLimits { return BatchLimits{Files: 4096, Bytes: 64 << 20} }

// MostBody returns the maximum size of the body of a batch, in bytes. What
// can't be compressed becomes slightly larger by compression.
func (l BatchLimits) MostBody() int64 {
	return int64(len(batchMagic)) + 4 + int64(l.Files)*BatchEntry + l.Bytes + l.Bytes/64 + 64<<10
}

// BatchTable returns the beginning of a batch with these files.
func BatchTable(files []File) []byte {
	b := make([]byte, 0, len(batchMagic)+4+len(files)*BatchEntry)
	b = append(b, batchMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(files)))
	for _, f := range files {
		b = append(b, f.SHA256[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(f.Size))
	}
	return b
}

// ReadBatchTable reads the beginning of a batch. The files have no paths. The
// error is Invalid for a malformed table and for a file that appears twice, and
// TooLarge beyond the limits.
func ReadBatchTable(r io.Reader, limits BatchLimits) ([]File, error) {
	var head [len(batchMagic) + 4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, tableError(err)
	}
	if string(head[:len(batchMagic)]) != batchMagic {
		return nil, troy.Errorf(troy.Invalid, "the body does not begin with %q; expected a batch of files", batchMagic)
	}
	n := binary.BigEndian.Uint32(head[len(batchMagic):])
	switch {
	case n == 0:
		return nil, troy.Errorf(troy.Invalid, "the batch has no files; expected 1 to %d", limits.Files).At("files")
	case int64(n) > int64(limits.Files):
		return nil, troy.Errorf(troy.TooLarge, "the batch has %d files; expected at most %d", n, limits.Files).At("files")
	}
	files := make([]File, 0, n)
	seen := make(map[Digest]struct{}, n)
	var total int64
	var entry [BatchEntry]byte
	for i := range int(n) {
		if _, err := io.ReadFull(r, entry[:]); err != nil {
			return nil, tableError(err)
		}
		f := File{SHA256: Digest(entry[:32])}
		size := binary.BigEndian.Uint64(entry[32:])
		if size > uint64(limits.Bytes-total) {
			return nil, troy.Errorf(troy.TooLarge, "the files have more than %d bytes in total", limits.Bytes).At(BatchField(i))
		}
		if _, again := seen[f.SHA256]; again {
			return nil, troy.Errorf(troy.Invalid, "the SHA-256 %s appears twice", f.SHA256).At(BatchField(i))
		}
		seen[f.SHA256] = struct{}{}
		f.Size = int64(size)
		total += f.Size
		files = append(files, f)
	}
	return files, nil
}

// BatchField names the i-th file of a batch in an error.
func BatchField(i int) string { return fmt.Sprintf("files[%d]", i) }

func tableError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return troy.Errorf(troy.Invalid, "the body ended within the table of files").At("files")
	}
	return err
}
