package site

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
)

// wholeFile is the size up to which a file of a folder is hashed from one read.
const wholeFile = 256 << 10

// hasher hashes the files of a source, one after another.
type hasher struct {
	source  *Source
	limits  Limits
	options *sourceOptions
	buffer  []byte // of one byte more than wholeFile
	kept    []byte // the free rest of a chunk
}

// hash sets the size and the digest of the i-th file and, if secrets are to be
// found, searches it for them in the same pass.
func (h *hasher) hash(ctx context.Context, i int) (leak string, err error) {
	f := &h.source.Files[i]
	published := h.options.published && !h.options.allowed[f.Path]
	find := published || h.options.sieve.findLeaks && !h.options.sieve.allowed[f.Path]
	leak, whole := h.hashWhole(i, find)
	if !whole {
		leak, err = h.hashParts(ctx, i, find)
	}
	if _, ok := h.source.tree.(folder); ok && errors.Is(err, fs.ErrNotExist) {
		return "", vanished(f.Path)
	}
	if err != nil {
		return "", fmt.Errorf("hash %q: %w", f.Path, err)
	}
	if published && leak == "" {
		leak = NamedLeak(f.Path)
	}
	return leak, nil
}

// hashWhole hashes a small file of a folder. It returns false if it can't.
func (h *hasher) hashWhole(i int, find bool) (leak string, whole bool) {
	f := &h.source.Files[i]
	tree, ok := h.source.tree.(folder)
	if !ok || f.Size > min(wholeFile, h.limits.FileBytes) {
		return "", false
	}
	if h.buffer == nil {
		h.buffer = make([]byte, wholeFile+1)
	}
	read := h.source.digests.time()
	n, before, ok := tree.readWhole(f.Path, h.buffer)
	if !ok || int64(n) > min(wholeFile, h.limits.FileBytes) {
		return "", false
	}
	content := h.buffer[:n]
	f.Size, f.SHA256 = int64(n), sha256.Sum256(content)
	h.keep(i, content)
	if !find {
		return "", true
	}
	if leak = leakIn(content); leak == "" && h.source.digests != nil && before.size == f.Size {
		h.source.digests.add(i, before, read)
	}
	return leak, true
}

// hashParts hashes a file of any source and size.
func (h *hasher) hashParts(ctx context.Context, i int, find bool) (leak string, err error) {
	s, f := h.source, &h.source.Files[i]
	r, err := s.tree.open(f.Path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	if h.buffer == nil {
		h.buffer = make([]byte, wholeFile+1)
	}
	read, before, remember := s.digests.begin(r)
	sum := sha256.New()
	var to io.Writer = sum
	var scanner *leakScanner
	if find {
		scanner = &leakScanner{}
		to = io.MultiWriter(sum, scanner)
	}
	if f.Size, err = io.CopyBuffer(to, canceled{ctx, io.LimitReader(r, h.limits.FileBytes+1)}, h.buffer); err != nil {
		return "", err
	}
	f.SHA256 = Digest(sum.Sum(nil))
	if scanner == nil {
		return "", nil
	}
	if leak = scanner.end(); leak == "" && remember && before.size == f.Size {
		s.digests.add(i, before, read)
	}
	return leak, nil
}

// keep keeps the i-th file's content if there is room.
func (h *hasher) keep(i int, content []byte) {
	if !h.source.contents.room(len(content)) {
		return
	}
	if len(h.kept) < len(content) {
		h.kept = make([]byte, max(wholeFile, len(content)))
	}
	n := copy(h.kept, content)
	h.source.contents.bytes[i] = h.kept[:n:n]
	h.kept = h.kept[n:]
}

// contents has the content of files, within a limit on their bytes.
type contents struct {
	files []File
	bytes [][]byte // of the files; nil for one that was not kept
	left  atomic.Int64
}

// begin prepares for the content of files, which are sorted by path.
func (c *contents) begin(files []File, most int64) {
	if c.left.Store(most); most > 0 {
		c.files, c.bytes = files, make([][]byte, len(files))
	}
}

// room takes room for n bytes.
func (c *contents) room(n int) bool {
	return n > 0 && c.left.Load() >= int64(n) && c.left.Add(-int64(n)) >= 0
}

func (c *contents) find(path string) ([]byte, bool) {
	i, ok := slices.BinarySearchFunc(c.files, path, func(f File, path string) int { return strings.Compare(f.Path, path) })
	if !ok || c.bytes[i] == nil {
		return nil, false
	}
	return c.bytes[i], true
}
