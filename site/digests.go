package site

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// digestsForm begins each file of digests. Its number changes with the form.
	digestsForm   = "troy digests 2\n"
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

// stamp is what a file's inode says. It changes with the file's content. No file
// has the zero stamp.
type stamp struct{ size, modified, changed, inode int64 }

func (s stamp) known() bool { return s != stamp{} }

// digests remembers a folder's files with their digests, so that a file that did
// not change and has no secret is not read again, and that others know what
// changed. It never trusts a file that may have changed after it was read,
// within the granularity of its times ("racily clean" in Git's documentation,
// racy-git).
type digests struct {
	file   string
	now    func() time.Time
	unused bool // the run's files don't go live

	remembered
	index map[string]int32 // of the remembered files
	// places has, for each remembered file, one more than the position of the file
	// with its path in this run's list, or 0.
	places  []int32
	trusted []bool // the remembered files that did not change

	// read has the stamps of those of the run's sorted files that were read and are
	// to be remembered, and zero stamps for the others; nil if none was read.
	read  []stamp
	saved chan struct{} // nil, or closed after save has ended
}

// remembered is a list of a folder's files, sorted by path.
type remembered struct {
	files  []File
	stamps []stamp // of the files; zero for one that is to be read again
	digest Digest  // of the list, as of a manifest; zero if files are missing in it, or did not go live
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
	d := &digests{file: filepath.Join(dir, fmt.Sprintf("%x%s", name[:16], digestsSuffix)), now: now}
	f, err := os.Open(d.file)
	if err != nil {
		return d
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > maxDigests {
		return d
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return d
	}
	d.remembered = decodeDigests(content, now())
	d.index = make(map[string]int32, len(d.files))
	for i, f := range d.files {
		d.index[f.Path] = int32(i)
	}
	d.places, d.trusted = make([]int32, len(d.files)), make([]bool, len(d.files))
	return d
}

// find returns the file with a path, at this position in the run's list. It has
// a digest if it did not change since an earlier run.
func (d *digests) find(path string, info fs.FileInfo, position int) File {
	f := File{Path: path, Size: info.Size()}
	if d == nil {
		return f
	}
	i, found := d.index[path]
	if !found || d.places[i] > 0 {
		return f
	}
	d.places[i] = int32(position) + 1
	known := d.files[i]
	f.Path = known.Path // frees the memory of its copy
	if s, ok := stampOf(info); ok && s == d.stamps[i] {
		f.SHA256 = known.SHA256
		d.trusted[i] = true
	}
	return f
}

// sort sorts the run's list by path. It returns the remembered list itself if
// that is the same.
func (d *digests) sort(files []File) []File {
	byPath := func(a, b File) int { return strings.Compare(a.Path, b.Path) }
	if d == nil || len(d.files) == 0 {
		slices.SortFunc(files, byPath)
		return files
	}
	if len(files) == len(d.files) && !slices.Contains(d.trusted, false) {
		return d.files
	}
	old := make([]File, 0, len(files))
	for _, place := range d.places {
		if place > 0 {
			f := &files[place-1]
			old = append(old, *f)
			f.Path = "" // it is in old
		}
	}
	rest := slices.DeleteFunc(files, func(f File) bool { return f.Path == "" })
	if len(rest) == 0 {
		return old
	}
	slices.SortFunc(rest, byPath)
	sorted := make([]File, 0, len(old)+len(rest))
	for len(old) > 0 && len(rest) > 0 {
		if byPath(old[0], rest[0]) <= 0 {
			sorted, old = append(sorted, old[0]), old[1:]
		} else {
			sorted, rest = append(sorted, rest[0]), rest[1:]
		}
	}
	return append(append(sorted, old...), rest...)
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

// add remembers the digest of the i-th file, which has no secret, with its stamp
// before it was read, and the time then.
func (d *digests) add(i int, s stamp, read time.Time) {
	if max(s.modified, s.changed) < read.Add(-coarsest).UnixNano() {
		d.read[i] = s
	}
}

// save stores the run's list, sorted and with all digests, for the next run. It
// does so concurrently; wait waits for it. Without the list the next run only
// takes longer, so a failure is not an error.
func (d *digests) save(files []File) {
	if d == nil {
		return
	}
	now := d.now()
	if !slices.ContainsFunc(d.read, stamp.known) && slices.Equal(files, d.files) && (d.unused || d.digest != Digest{}) {
		_ = os.Chtimes(d.file, now, now)
		return
	}
	d.saved = make(chan struct{})
	go func() {
		defer close(d.saved)
		d.write(files, now)
	}()
}

// wait waits until the list is stored.
func (d *digests) wait() {
	if d != nil && d.saved != nil {
		<-d.saved
	}
}

func (d *digests) write(files []File, now time.Time) {
	dir := filepath.Dir(d.file)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(dir, "new-*"+digestsSuffix)
	if err != nil {
		return
	}
	digest := Manifest{Files: files}.Digest()
	if d.unused && digest != d.digest {
		digest = Digest{} // Before would not be live
	}
	_, err = f.Write(encodeDigests(remembered{files, d.stampsOf(files), digest}, now))
	if closeErr := f.Close(); err != nil || closeErr != nil || os.Rename(f.Name(), d.file) != nil {
		_ = os.Remove(f.Name())
		return
	}
	pruneDigests(dir)
}

// stampsOf returns the stamps of the run's files.
func (d *digests) stampsOf(files []File) []stamp {
	stamps := make([]stamp, len(files))
	for i, f := range files {
		if d.read != nil && d.read[i].known() {
			stamps[i] = d.read[i]
		} else if at, ok := d.index[f.Path]; ok && d.trusted[at] {
			stamps[i] = d.stamps[at]
		}
	}
	return stamps
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

func encodeDigests(r remembered, now time.Time) []byte {
	const fixed = binary.MaxVarintLen64 + 4*8 + len(Digest{})
	size := len(digestsHead()) + 8 + len(Digest{}) + crc32.Size
	for i, f := range r.files {
		if size += fixed + len(f.Path); size > maxDigests {
			r.files, r.digest = r.files[:i], Digest{}
			break
		}
	}
	b := append(make([]byte, 0, size), digestsHead()...)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixNano()))
	b = append(b, r.digest[:]...)
	for i, f := range r.files {
		b = binary.AppendUvarint(b, uint64(len(f.Path)))
		b = append(b, f.Path...)
		b = binary.BigEndian.AppendUint64(b, uint64(f.Size))
		for _, n := range []int64{r.stamps[i].modified, r.stamps[i].changed, r.stamps[i].inode} {
			b = binary.BigEndian.AppendUint64(b, uint64(n))
		}
		b = append(b, f.SHA256[:]...)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

// castagnoli is the polynomial of CRC-32C, which CPUs compute. It detects damage;
// who can write the file can write to the site as well.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func decodeDigests(b []byte, now time.Time) (r remembered) {
	end := len(b) - crc32.Size
	head := digestsHead()
	if end < len(head)+8+len(r.digest) || !bytes.HasPrefix(b, head) || crc32.Checksum(b[:end], castagnoli()) != binary.BigEndian.Uint32(b[end:]) {
		return r
	}
	b = b[len(head):end]
	if int64(binary.BigEndian.Uint64(b)) > now.UnixNano() {
		return r
	}
	r.digest = Digest(b[8:])
	b = b[8+len(r.digest):]
	const fixed = 4*8 + len(Digest{})
	text := string(b) // of all paths
	r.files, r.stamps = make([]File, 0, len(b)/(2*fixed)), make([]stamp, 0, len(b)/(2*fixed))
	for at := 0; at < len(b); {
		length, n := binary.Uvarint(b[at:])
		if n <= 0 || length > MaxPath || len(b)-at < n+int(length)+fixed {
			return remembered{}
		}
		path := text[at+n : at+n+int(length)]
		at += n + int(length)
		number := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[at+8*i:])) }
		s := stamp{number(0), number(1), number(2), number(3)}
		if s.modified == 0 && s.changed == 0 && s.inode == 0 {
			s = stamp{}
		}
		if last := len(r.files) - 1; last >= 0 && r.files[last].Path >= path {
			return remembered{}
		}
		r.files = append(r.files, File{Path: path, Size: number(0), SHA256: Digest(b[at+4*8:])})
		r.stamps = append(r.stamps, s)
		at += fixed
	}
	return r
}
