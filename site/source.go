package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

// Source is an open folder or archive with the files of a site.
type Source struct {
	// Files are the site's files, sorted by path and hashed.
	Files []File
	// Stripped is the archive's only top folder, if it was removed from the
	// paths because it contains the site's index.html.
	Stripped string
	// LeftOut lists up to a thousand of the files and folders that LeavingOut
	// left out. A folder ends with a slash and stands for its whole content.
	// Omitted is the number of all left-out paths.
	LeftOut []string
	Omitted int
	// Leaks lists the files that FindingLeaks or FindingPublishedLeaks found,
	// by path. FindingLeaks removes files with secret names from Files.
	Leaks []Leak

	tree      tree
	digests   *digests // nil without RememberingDigests
	contents  contents
	temporary string // removed by Close
}

// tree is the origin of a source's files. Its paths are the site's.
type tree interface {
	// list returns the files with their declared sizes.
	list(ctx context.Context, limits Limits, part *sieve) ([]File, error)
	open(path string) (io.ReadCloser, error)
	io.Closer
}

// SourceOption is an option of OpenSource.
type SourceOption func(*sourceOptions)

type sourceOptions struct {
	progress  func(files int, bytes int64)
	temporary string
	sieve     sieve
	published bool            // FindingPublishedLeaks
	allowed   map[string]bool // its paths
	anywhere  bool            // FollowingLinksOut
	digests   string          // the folder of RememberingDigests
	unused    bool            // NotGoingLive
	keep      int64           // KeepingContents
	now       func() time.Time
}

// LeavingOut leaves out files that no site needs: files and folders whose names
// begin with a dot (except .well-known), node_modules and similar folders, and
// what the rules and then the source's IgnoreFile exclude. A rule that begins
// with ! includes again.
func LeavingOut(rules ...string) SourceOption {
	return func(o *sourceOptions) {
		o.sieve.leaveOut = true
		o.sieve.rules = parseRules(strings.Join(rules, "\n"))
	}
}

// FindingLeaks searches for secrets, by the files' names and in their content,
// while the files are read. It skips what IgnoreFile leaves out. The allowed
// paths are published whatever they contain.
func FindingLeaks(allowed ...string) SourceOption {
	return func(o *sourceOptions) {
		o.sieve.findLeaks = true
		o.sieve.allowed = map[string]bool{}
		for _, p := range allowed {
			o.sieve.allowed[path.Clean(p)] = true
		}
	}
}

// FindingPublishedLeaks searches for secrets like FindingLeaks, in a build's
// output. It skips files that are left out anyway, even their names, because a
// repository may contain them. It skips the allowed paths.
func FindingPublishedLeaks(allowed ...string) SourceOption {
	return func(o *sourceOptions) {
		o.published = true
		o.allowed = map[string]bool{}
		for _, p := range allowed {
			o.allowed[path.Clean(p)] = true
		}
	}
}

// Temporary makes Close remove dir, a folder that contains the source. If
// OpenSource fails, the folder stays.
func Temporary(dir string) SourceOption {
	return func(o *sourceOptions) { o.temporary = dir }
}

// FollowingLinksOut follows a folder's links wherever they lead, except to a
// folder that contains them. The limits apply to what they lead to as well.
func FollowingLinksOut() SourceOption {
	return func(o *sourceOptions) { o.anywhere = true }
}

// RememberingDigests keeps the digests of a folder's files in dir. A file that
// has not changed since an earlier run, and in which FindingLeaks found no
// secret then, is not read again.
func RememberingDigests(dir string) SourceOption {
	return func(o *sourceOptions) { o.digests = dir }
}

// NotGoingLive says that the run's files don't become the live ones, so they are
// not the next run's Before.
func NotGoingLive() SourceOption {
	return func(o *sourceOptions) { o.unused = true }
}

// KeepingContents keeps up to this many bytes of the files that are read, so
// that Open does not read them again.
func KeepingContents(bytes int64) SourceOption {
	return func(o *sourceOptions) { o.keep = bytes }
}

// WithProgress calls f after each hashed file with the number of files so far
// and their bytes. Calls don't overlap.
func WithProgress(f func(files int, bytes int64)) SourceOption {
	return func(o *sourceOptions) { o.progress = f }
}

// OpenSource lists and hashes the files of a folder or an archive: a zip, or a
// tar that may be compressed with gzip or Zstandard. It skips files and folders
// named .git, .DS_Store, __MACOSX and ._*. It follows relative symbolic links
// to files inside the source and, in a folder, to folders; it refuses links
// that lead outside or form a cycle. If the source is not a valid site, the
// error is a *troy.Error of kind Invalid or TooLarge that quotes the path. If
// ctx is done, OpenSource returns its cause.
func OpenSource(ctx context.Context, name string, limits Limits, options ...SourceOption) (s *Source, err error) {
	return openWith(ctx, name, limits, options, func(limits Limits) (*Source, error) { return openTree(ctx, name, limits) })
}

// OpenArchive is OpenSource for an archive that is open, read from its
// beginning. It closes the file, or Close of the source does. The file's name
// may have been removed.
func OpenArchive(ctx context.Context, file *os.File, limits Limits, options ...SourceOption) (*Source, error) {
	return openWith(ctx, "the archive", limits, options, func(limits Limits) (*Source, error) { return openArchive(ctx, file, limits) })
}

func openWith(ctx context.Context, name string, limits Limits, options []SourceOption, open func(Limits) (*Source, error)) (s *Source, err error) {
	limits = limits.orDefault()
	o := sourceOptions{now: time.Now}
	for _, option := range options {
		option(&o)
	}
	s, err = open(limits)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() {
		if err == nil {
			s.temporary = o.temporary
		}
	}()
	f, ok := s.tree.(folder)
	if ok && o.anywhere {
		f.anywhere = true
		s.tree = f
	}
	if ok && o.digests != "" {
		s.digests = openDigests(o.digests, name, o.now)
		if s.digests != nil {
			s.digests.unused = o.unused
		}
		f.digests = s.digests
		s.tree = f
	}
	if err = s.read(ctx, limits, &o); err == nil {
		err = s.hash(ctx, limits, &o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), s.Close())
	}
	return s, nil
}

// OpenListed opens a folder inside dir with the files that OpenSource found in
// it, without reading them. Links can't lead out of dir. It ignores all options
// except Temporary.
func OpenListed(dir, name string, files []File, options ...SourceOption) (*Source, error) {
	var o sourceOptions
	for _, option := range options {
		option(&o)
	}
	outer, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	defer outer.Close()
	root, err := outer.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", name, dir, err)
	}
	return &Source{Files: files, tree: newFolder(root), temporary: o.temporary}, nil
}

// read lists the files.
func (s *Source) read(ctx context.Context, limits Limits, o *sourceOptions) error {
	if o.sieve.leaveOut {
		if err := o.sieve.readRules(s.tree); err != nil {
			return err
		}
	}
	files, err := s.tree.list(ctx, limits, &o.sieve)
	slices.Sort(o.sieve.leftOut)
	s.Files, s.LeftOut, s.Omitted, s.Leaks = files, o.sieve.leftOut, o.sieve.omitted, o.sieve.leaks
	return err
}

func openTree(ctx context.Context, name string, limits Limits) (*Source, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, troy.Errorf(troy.NotFound, "the folder or archive does not exist")
	case err != nil:
		return nil, err
	case info.IsDir():
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return &Source{tree: newFolder(root)}, nil
	case !info.Mode().IsRegular():
		return nil, troy.Errorf(troy.Invalid, "it is neither a folder nor an archive")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return openArchive(ctx, file, limits)
}

// Open opens a file of the source. Its content may have changed since it was
// hashed, so a caller that sends it compares the digest. The content that
// KeepingContents kept has not.
func (s *Source) Open(path string) (io.ReadCloser, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	if content, kept := s.contents.find(path); kept {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	r, err := s.tree.open(path)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	return r, nil
}

// Close releases the source's files.
func (s *Source) Close() error {
	s.digests.wait()
	err := s.tree.Close()
	if s.temporary != "" {
		_, removeErr := walk.Remove(context.Background(), s.temporary)
		err = errors.Join(err, removeErr)
	}
	return err
}

// Before returns the files of the run before that remembered digests of the
// folder. If they are the same, they are the slice s.Files. It returns false if
// they are not known.
func (s *Source) Before() (Manifest, bool) {
	if s.digests == nil || len(s.digests.files) == 0 || s.digests.digest == (Digest{}) {
		return Manifest{}, false
	}
	return Manifest{Files: s.digests.files}.withDigest(s.digests.digest), true
}

// Bytes returns the size of all files together.
func (s *Source) Bytes() int64 {
	var total int64
	for _, f := range s.Files {
		total += f.Size
	}
	return total
}

// hash computes digests and actual sizes. It first checks the declared sizes,
// so that a site over the limits is refused before it is read.
func (s *Source) hash(ctx context.Context, limits Limits, o *sourceOptions) error {
	s.Files = s.digests.sort(s.Files)
	remembered := func(f File) bool { return s.digests != nil && f.SHA256 != Digest{} }
	if slices.ContainsFunc(s.Files, func(f File) bool { return !remembered(f) }) || len(s.Files) == 0 {
		if err := s.check(limits, false); err != nil {
			return err
		}
	}
	var (
		done  sync.Mutex
		files int
		bytes int64
	)
	count := func(f *File) {
		files, bytes = files+1, bytes+f.Size
		if o.progress != nil {
			o.progress(files, bytes)
		}
	}
	var unread []int
	for i := range s.Files {
		if f := &s.Files[i]; remembered(*f) {
			count(f)
		} else {
			unread = append(unread, i)
		}
	}
	s.contents.begin(s.Files, o.keep)
	if s.digests != nil && len(unread) > 0 {
		s.digests.read = make([]stamp, len(s.Files))
	}
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(unread)) {
		group.Go(func() error {
			h := hasher{source: s, limits: limits, options: o}
			for i := next.Add(1) - 1; i < int64(len(unread)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				f := &s.Files[unread[i]]
				leak, err := h.hash(ctx, unread[i])
				if err != nil {
					return err
				}
				done.Lock()
				if leak != "" {
					s.Leaks = append(s.Leaks, Leak{f.Path, leak})
				}
				count(f)
				done.Unlock()
			}
			return context.Cause(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	slices.SortFunc(s.Leaks, func(a, b Leak) int { return strings.Compare(a.Path, b.Path) })
	// The digests of a list that an earlier run checked and stored are checked.
	if err := s.check(limits, s.digests == nil || !Same(s.Files, s.digests.files)); err != nil {
		return err
	}
	s.digests.save(s.Files)
	return nil
}

// check is checkFiles without a Field, because the user passed a folder, not a
// list.
func (s *Source) check(limits Limits, hashed bool) error {
	switch {
	case len(s.Files) > 0:
	case len(s.Leaks) > 0:
		return nil // the caller has to report the leaks first
	case s.Omitted > 0:
		return troy.Errorf(troy.Invalid, "every file is left out, including %s", s.LeftOut[0])
	default:
		return troy.Errorf(troy.Invalid, "it is empty; expected at least one file")
	}
	if len(s.Files) == 0 {
		return nil
	}
	if _, e := checkFiles(s.Files, limits, hashed); e != nil {
		return e.At("")
	}
	return nil
}

// canceled is a reader that fails when its context is done.
type canceled struct {
	ctx context.Context
	r   io.Reader
}

func (c canceled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// skipped reports whether files and folders of this name are never part of a
// site: git's, and those that macOS leaves behind.
func skipped(name string) bool {
	return name == ".git" || name == ".DS_Store" || name == "__MACOSX" || strings.HasPrefix(name, "._")
}
