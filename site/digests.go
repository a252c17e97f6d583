package site

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// digestsForm begins each file of digests. Its number changes with the form.
	digestsForm   = "troy digests 1\n"
	digestsSuffix = ".digests"
	// maxDigests is the maximum size of a file of digests in bytes: about half
	// a million files.
	maxDigests = 64 << 20
	// maxDigestFiles and maxDigestBytes bound all files of digests together.
	// The longest unused ones are removed.
	maxDigestFiles = 32
	maxDigestBytes = 256 << 20
	// coarsest is the granularity of the coarsest clock of a file system: FAT's.
	coarsest = 2 * time.Second
)

// stamp is what a file's inode says. It changes with the file's content.
type stamp struct{ size, modified, changed, inode int64 }

// digests remembers the digests of a folder's files that contain no secret, so
// that an unchanged file is not read again. It never trusts a file that may
// have changed after it was read, within the granularity of its times ("racily
// clean" in Git's documentation, racy-git).
type digests struct {
	file string
	now  func() time.Time

	mu    sync.Mutex
	known map[string]knownDigest // of earlier runs
	valid map[string]knownDigest // of this run
	fresh bool                   // valid has what known has not
}

type knownDigest struct {
	stamp
	digest Digest
}

// openDigests reads what earlier runs stored in dir about the folder. A file
// that is damaged, of another form or from the future counts as empty.
func openDigests(dir, folder string, now func() time.Time) *digests {
	folder, err := filepath.Abs(folder)
	if err == nil {
		folder, err = filepath.EvalSymlinks(folder)
	}
	if err != nil {
		return nil
	}
	name := sha256.Sum256([]byte(folder))
	d := &digests{
		file: filepath.Join(dir, fmt.Sprintf("%x%s", name[:16], digestsSuffix)), now: now,
		known: map[string]knownDigest{}, valid: map[string]knownDigest{},
	}
	f, err := os.Open(d.file)
	if err != nil {
		return d
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() <= maxDigests {
		content := make([]byte, info.Size())
		if _, err := io.ReadFull(f, content); err == nil {
			d.known = decodeDigests(content, now())
			d.valid = make(map[string]knownDigest, len(d.known))
		}
	}
	return d
}

// find returns the digest of a file that did not change since an earlier run.
func (d *digests) find(path string, info fs.FileInfo) (Digest, bool) {
	if d == nil {
		return Digest{}, false
	}
	known, found := d.known[path]
	if s, ok := stampOf(info); !found || !ok || s != known.stamp {
		return Digest{}, false
	}
	d.valid[path] = known
	return known.digest, true
}

func (d *digests) time() time.Time {
	if d == nil {
		return time.Time{}
	}
	return d.now()
}

// begin returns the time and the stamp of an open file, before it is read.
func (d *digests) begin(file io.Reader) (at time.Time, s stamp, ok bool) {
	if d == nil {
		return at, s, false
	}
	at = d.time()
	f, ok := file.(fs.File)
	if !ok {
		return at, s, false
	}
	info, err := f.Stat()
	if err != nil {
		return at, s, false
	}
	s, ok = stampOf(info)
	return at, s, ok
}

// add remembers the digest of a file that has no secret, with its stamp before
// it was read, and the time then.
func (d *digests) add(path string, s stamp, read time.Time, digest Digest) {
	if max(s.modified, s.changed) >= read.Add(-coarsest).UnixNano() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.valid[path] = knownDigest{s, digest}
	d.fresh = true
}

// unchanged reports whether this run found what the run before stored.
func (d *digests) unchanged() bool {
	return !d.fresh && len(d.valid) == len(d.known)
}

// save stores the digests. Without them the next run only takes longer, so a
// failure is not an error.
func (d *digests) save() {
	now := d.now()
	if d.unchanged() {
		_ = os.Chtimes(d.file, now, now)
		return
	}
	dir := filepath.Dir(d.file)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(dir, "new-*"+digestsSuffix)
	if err != nil {
		return
	}
	_, err = f.Write(encodeDigests(d.valid, now))
	if closeErr := f.Close(); err != nil || closeErr != nil || os.Rename(f.Name(), d.file) != nil {
		_ = os.Remove(f.Name())
		return
	}
	pruneDigests(dir)
}

// pruneDigests removes the longest unused files of digests over the limits.
func pruneDigests(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "*"+digestsSuffix))
	var files []fs.FileInfo
	for _, name := range names {
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	var total int64
	for i, info := range files {
		if total += info.Size(); i >= maxDigestFiles || total > maxDigestBytes {
			_ = os.Remove(filepath.Join(dir, info.Name()))
		}
	}
}

// digestsHead is the beginning of a file of digests. Files of another form or
// of another scanner for secrets have another one.
func digestsHead() []byte { return append([]byte(digestsForm), leakVersion()...) }

func encodeDigests(files map[string]knownDigest, now time.Time) []byte {
	b := binary.BigEndian.AppendUint64(digestsHead(), uint64(now.UnixNano()))
	for path, f := range files {
		if len(b)+len(path)+binary.MaxVarintLen64+4*8+2*sha256.Size > maxDigests {
			break
		}
		b = binary.AppendUvarint(b, uint64(len(path)))
		b = append(b, path...)
		for _, n := range []int64{f.size, f.modified, f.changed, f.inode} {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
		b = append(b, f.digest[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func decodeDigests(b []byte, now time.Time) map[string]knownDigest {
	files := map[string]knownDigest{}
	end := len(b) - sha256.Size
	head := digestsHead()
	if end < len(head)+8 || sha256.Sum256(b[:end]) != [sha256.Size]byte(b[end:]) || !bytes.HasPrefix(b, head) {
		return files
	}
	b = b[len(head):end]
	if int64(binary.BigEndian.Uint64(b)) > now.UnixNano() {
		return files
	}
	const fixed = 4*8 + len(Digest{})
	files = make(map[string]knownDigest, len(b)/(2*fixed))
	for b = b[8:]; len(b) > 0; {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > MaxPath || len(b) < n+int(length)+fixed {
			return map[string]knownDigest{}
		}
		path, rest := string(b[n:n+int(length)]), b[n+int(length):]
		number := func(i int) int64 { return int64(binary.BigEndian.Uint64(rest[8*i:])) }
		files[path] = knownDigest{stamp{number(0), number(1), number(2), number(3)}, Digest(rest[4*8 : fixed])}
		b = rest[fixed:]
	}
	return files
}
