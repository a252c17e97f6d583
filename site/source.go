package site

import (
	"context"
	"crypto/sha256"
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

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

// Source is a folder or an archive opened as the files of a site.
type Source struct {
	// Files is what the site has, sorted by path and hashed.
	Files []File
	// Stripped is the archive's only top folder, left out of the paths because
	// it holds the site's index.html. It is empty when nothing was left out.
	Stripped string
	// LeftOut lists up to a thousand of the files and folders that LeavingOut
	// left out; a folder ends with a slash and stands for all that is in it.
	// Omitted is how many there are.
	LeftOut []string
	Omitted int
	// Leaks lists the files that FindingLeaks or FindingPublishedLeaks found,
	// by path. FindingLeaks takes those found by their names out of Files.
	Leaks []Leak

	tree      tree
	temporary string // removed by Close
}

// tree is where a source's files come from. Its paths are the site's.
type tree interface {
	// list returns the files with the sizes that they claim.
	list(ctx context.Context, limits Limits, part *sieve) ([]File, error)
	open(path string) (io.ReadCloser, error)
	io.Closer
}

// SourceOption changes how OpenSource works.
type SourceOption func(*sourceOptions)

type sourceOptions struct {
	progress  func(files int, bytes int64)
	temporary string
	sieve     sieve
	published bool            // FindingPublishedLeaks
	allowed   map[string]bool // its paths
}

// LeavingOut leaves out what no site needs: files and folders whose names
// begin with a dot, .well-known excepted, node_modules and its like, and what
// the rules and then the source's IgnoreFile say. A rule that begins with !
// takes something in again.
func LeavingOut(rules ...string) SourceOption {
	return func(o *sourceOptions) {
		o.sieve.leaveOut = true
		o.sieve.rules = parseRules(strings.Join(rules, "\n"))
	}
}

// FindingLeaks looks for secrets, by the names of files and in what they
// hold, while they are read. What IgnoreFile leaves out is not looked at. The
// allowed paths are published whatever they hold.
func FindingLeaks(allowed ...string) SourceOption {
	return func(o *sourceOptions) {
		o.sieve.findLeaks = true
		o.sieve.allowed = map[string]bool{}
		for _, p := range allowed {
			o.sieve.allowed[path.Clean(p)] = true
		}
	}
}

// FindingPublishedLeaks looks for secrets as FindingLeaks does, in what a build
// made. Files that are left out anyway are not looked at, not even by their
// names, since a repository may hold them. The allowed paths are not looked at.
func FindingPublishedLeaks(allowed ...string) SourceOption {
	return func(o *sourceOptions) {
		o.published = true
		o.allowed = map[string]bool{}
		for _, p := range allowed {
			o.allowed[path.Clean(p)] = true
		}
	}
}

// Temporary has Close remove a folder, which the source lies in. When
// OpenSource fails, the folder stays.
func Temporary(dir string) SourceOption {
	return func(o *sourceOptions) { o.temporary = dir }
}

// WithProgress has f called after each file that was hashed, with how many
// there are so far and their bytes; one call at a time.
func WithProgress(f func(files int, bytes int64)) SourceOption {
	return func(o *sourceOptions) { o.progress = f }
}

// OpenSource lists and hashes the files of a folder or an archive: a zip, or a
// tar that may be compressed with gzip or Zstandard. Files and folders named
// .git, .DS_Store, __MACOSX and ._* are left out. Symbolic links are followed
// to files inside the source and, in a folder, to folders, by relative targets;
// those that lead out of it or in a circle are refused. What a site
// may not be is a *troy.Error of kind Invalid or TooLarge that quotes the path.
// It ends with its context, and then returns the cause.
func OpenSource(ctx context.Context, name string, limits Limits, options ...SourceOption) (s *Source, err error) {
	limits = limits.orDefault()
	var o sourceOptions
	for _, option := range options {
		option(&o)
	}
	s, err = openTree(ctx, name, limits)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer func() {
		if err == nil {
			s.temporary = o.temporary
		}
	}()
	if err = s.read(ctx, limits, &o); err == nil {
		err = s.hash(ctx, limits, &o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), s.Close())
	}
	return s, nil
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
		return nil, troy.Errorf(troy.NotFound, "there is no such folder or archive")
	case err != nil:
		return nil, err
	case info.IsDir():
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, err
		}
		return &Source{tree: folder{root}}, nil
	case !info.Mode().IsRegular():
		return nil, troy.Errorf(troy.Invalid, "it is neither a folder nor an archive")
	}
	return openArchive(ctx, name, info.Size(), limits)
}

// Open reads a file of the source. Its bytes may have changed since it was
// hashed: who sends them on compares the digest.
func (s *Source) Open(path string) (io.ReadCloser, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	r, err := s.tree.open(path)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	return r, nil
}

// Close gives back what the source holds open.
func (s *Source) Close() error {
	err := s.tree.Close()
	if s.temporary != "" {
		_, removeErr := walk.Remove(context.Background(), s.temporary)
		err = errors.Join(err, removeErr)
	}
	return err
}

// Bytes is the size of all files together.
func (s *Source) Bytes() int64 {
	var total int64
	for _, f := range s.Files {
		total += f.Size
	}
	return total
}

// hash fills in digests and true sizes. The claimed sizes are checked first,
// so that too large a site is refused before it is read.
func (s *Source) hash(ctx context.Context, limits Limits, o *sourceOptions) error {
	slices.SortFunc(s.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if err := s.check(limits, false); err != nil {
		return err
	}
	var (
		done  sync.Mutex
		files int
		bytes int64
	)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range s.Files {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			f := &s.Files[i]
			published := o.published && !o.allowed[f.Path]
			leak, err := s.hashFile(ctx, f, limits, published || o.sieve.findLeaks && !o.sieve.allowed[f.Path])
			if err != nil {
				return fmt.Errorf("hash %q: %w", f.Path, err)
			}
			if published && leak == "" {
				leak = NamedLeak(f.Path)
			}
			done.Lock()
			defer done.Unlock()
			if leak != "" {
				s.Leaks = append(s.Leaks, Leak{f.Path, leak})
			}
			files, bytes = files+1, bytes+f.Size
			if o.progress != nil {
				o.progress(files, bytes)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	slices.SortFunc(s.Leaks, func(a, b Leak) int { return strings.Compare(a.Path, b.Path) })
	return s.check(limits, true)
}

// hashFile also looks for secrets in the same pass, if asked.
func (s *Source) hashFile(ctx context.Context, f *File, limits Limits, findLeaks bool) (leak string, err error) {
	r, err := s.tree.open(f.Path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	var to io.Writer = h
	var scanner *leakScanner
	if findLeaks {
		scanner = &leakScanner{}
		to = io.MultiWriter(h, scanner)
	}
	if f.Size, err = io.Copy(to, canceled{ctx, io.LimitReader(r, limits.FileBytes+1)}); err != nil {
		return "", err
	}
	f.SHA256 = Digest(h.Sum(nil))
	if scanner == nil {
		return "", nil
	}
	return scanner.end(), nil
}

// check is checkFiles without a Field: the reader of this error has a folder,
// not a list.
func (s *Source) check(limits Limits, hashed bool) error {
	switch {
	case len(s.Files) > 0:
	case len(s.Leaks) > 0:
		return nil // the caller has to say something about them first
	case s.Omitted > 0:
		return troy.Errorf(troy.Invalid, "nothing is left of it: %s was left out, as was all else", s.LeftOut[0])
	default:
		return troy.Errorf(troy.Invalid, "it is empty: a site has at least one file")
	}
	files := s.Files
	if !hashed {
		// Without digests, files of different sizes would look like one
		// digest with two sizes.
		files = slices.Clone(files)
		for i := range files {
			files[i].SHA256 = Digest{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		}
	}
	if len(files) == 0 {
		return nil
	}
	if _, e := checkFiles(files, limits); e != nil {
		return e.At("")
	}
	return nil
}

// canceled is a reader that ends with its context.
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
// site: git's, and what macOS leaves behind.
func skipped(name string) bool {
	return name == ".git" || name == ".DS_Store" || name == "__MACOSX" || strings.HasPrefix(name, "._")
}
