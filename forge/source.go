package forge

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/troy-iaas/troy"
)

// SourceConfig says how Source fetches what archives leave out. Its zero value
// is good.
type SourceConfig struct {
	// MaxBytes bounds what the whole source has on disk at once: the archive,
	// what git fetches, and the files of the repository, its submodules and
	// LFS that are put together; 0 means 4 GiB.
	MaxBytes int64
	// Dir is where temporary files are made; empty means the system's.
	Dir string
	// Submodules lists the repositories of the same host that every repository
	// may have as a submodule although they are private: "owner/name", or
	// "owner/*" for all of an owner's. Whoever can push a commit chooses its
	// submodules and reads them in the published site, so nothing else is
	// fetched with the installation's credentials.
	Submodules []string
}

// mayRead reports whether a private repository may be a submodule.
func (c SourceConfig) mayRead(name string) bool {
	owner, _, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(c.Submodules, func(listed string) bool {
		return strings.EqualFold(listed, name) || strings.EqualFold(listed, owner+"/*")
	})
}

// CheckSubmodules returns an Invalid error that names the first entry that
// SourceConfig.Submodules does not take.
func CheckSubmodules(list []string) error {
	for _, entry := range list {
		name, all := strings.CutSuffix(entry, "/*")
		if all {
			name += "/all"
		}
		if _, _, err := SplitName(name); err != nil {
			return troy.Errorf(troy.Invalid, "%q is not a repository, like team/theme, or all of an owner's, like team/*", entry)
		}
	}
	return nil
}

const (
	defaultMaxBytes = 4 << 30
	// maxScan is how much of an unpacked archive is looked at for submodules
	// and LFS. What has more is over every limit of a build.
	maxScan = 8 << 30
	// maxAttributes is how much of a .gitattributes is read.
	maxAttributes = 1 << 20
)

// Source returns the files of a commit, by its full id, as a tar with one top
// folder, plain or gzipped. It is the forge's archive where that is complete.
// For a repository with submodules or LFS files, and where the forge hands out
// no archive, it is put together by git, which has to be installed then. The
// bytes are a stranger's. The reader has a method Way() string, which says for
// people how they were fetched. Errors are as Forge has them. The caller closes it.
func Source(ctx context.Context, f Forge, r Repository, commit string, cfg SourceConfig) (io.ReadCloser, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	archive, err := f.Archive(ctx, r, commit)
	if errors.Is(err, ErrNoArchive) {
		return cloned(ctx, f, r, commit, cfg)
	}
	if err != nil {
		return nil, err
	}
	spooled, err := spool(ctx, archive, cfg)
	if err != nil {
		return nil, err
	}
	needs, err := incomplete(ctx, spooled)
	if err != nil {
		return nil, errors.Join(err, spooled.Close())
	}
	if !needs {
		return spooled, nil
	}
	if err := spooled.Close(); err != nil {
		return nil, err
	}
	return cloned(ctx, f, r, commit, cfg)
}

// temporary is a file that goes when it is closed.
type temporary struct {
	*os.File
	way string
}

func newTemporary(dir, way string) (temporary, error) {
	f, err := os.CreateTemp(dir, "troy-source-*")
	return temporary{f, way}, err
}

// Way says how the source was fetched.
func (t temporary) Way() string { return t.way }

// Close implements io.Closer.
func (t temporary) Close() error { return errors.Join(t.File.Close(), os.Remove(t.Name())) }

// spool copies an archive to a file, and closes it.
func spool(ctx context.Context, archive io.ReadCloser, cfg SourceConfig) (temporary, error) {
	f, err := newTemporary(cfg.Dir, "from the forge's archive")
	if err != nil {
		return f, errors.Join(fmt.Errorf("keep the archive: %w", err), archive.Close())
	}
	_, err = io.Copy(metered{f, newBudget(cfg.MaxBytes)}, canceled{ctx, archive})
	err = errors.Join(err, archive.Close())
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return f, errors.Join(err, f.Close())
	}
	return f, nil
}

// incomplete reports whether an archive is of a repository with submodules or
// LFS files, neither of which forges put into archives. It goes back to the
// archive's beginning. What can't be read as an archive is for the unpacking
// to refuse.
func incomplete(ctx context.Context, f temporary) (bool, error) {
	found, err := scan(ctx, bufio.NewReaderSize(f, 64<<10))
	var path *fs.PathError
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.As(err, &path):
		return false, fmt.Errorf("read the archive: %w", err)
	}
	_, err = f.Seek(0, io.SeekStart)
	return found, err
}

func scan(ctx context.Context, r *bufio.Reader) (bool, error) {
	var plain io.Reader = r
	if head, err := r.Peek(2); err == nil && bytes.Equal(head, []byte{0x1f, 0x8b}) { // RFC 1952 §2.3.1
		z, err := gzip.NewReader(r)
		if err != nil {
			return false, err
		}
		plain = z
	}
	archive := tar.NewReader(canceled{ctx, io.LimitReader(plain, maxScan)})
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return false, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		_, inside, _ := strings.Cut(strings.TrimPrefix(h.Name, "./"), "/")
		switch {
		case inside == ".gitmodules":
			return true, nil
		case path.Base(inside) == ".gitattributes":
			text, err := io.ReadAll(io.LimitReader(archive, maxAttributes))
			if err != nil {
				return false, err
			}
			if bytes.Contains(text, []byte("filter=lfs")) {
				return true, nil
			}
		}
	}
}
