package forge

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/troy-iaas/troy"
)

// SourceConfig configures how Source fetches what archives leave out. Its zero
// value is valid.
type SourceConfig struct {
	// MaxBytes bounds the disk space of a source: the archive, git's fetch, and
	// the assembled files of the repository, its submodules and LFS; 0 means 4
	// GiB.
	MaxBytes int64
	// Dir is the folder for temporary files; empty means the system's.
	Dir string
	// Submodules lists private repositories of the same host that every
	// repository may have as a submodule: "owner/name", or "owner/*" for all of
	// an owner's. A committer chooses the submodules and can read them in the
	// published site, so nothing else is fetched with the installation's
	// credentials.
	Submodules []string
}

// mayRead reports whether a private repository may be a submodule.
func (c SourceConfig) mayRead(name string) bool {
	owner, _, _ := strings.Cut(name, "/")
	return slices.ContainsFunc(c.Submodules, func(listed string) bool {
		return strings.EqualFold(listed, name) || strings.EqualFold(listed, owner+"/*")
	})
}

// CheckSubmodules returns an Invalid error that names the first invalid entry
// of SourceConfig.Submodules.
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
	// maxScan is how much of an unpacked archive is searched for submodules and
	// LFS. A larger one exceeds every limit of a build.
	maxScan = 8 << 30
	// maxAttributes is how much of a .gitattributes is read.
	maxAttributes = 1 << 20
)

// Source returns the files of a commit, by its full id, as a tar with one top
// folder, plain or gzipped. It returns the forge's archive if that is complete.
// For a repository with submodules or LFS files, or if the forge offers no
// archive, it uses git, which then has to be installed. The bytes are
// untrusted. The reader has a method Way() string that describes how they were
// fetched. Its errors are those of Forge. The caller closes it.
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

// temporary is a file that is removed when it is closed.
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

// spool copies an archive to a file and closes it.
func spool(ctx context.Context, archive io.ReadCloser, cfg SourceConfig) (temporary, error) {
	f, err := newTemporary(cfg.Dir, "from the forge's archive")
	if err != nil {
		return f, errors.Join(fmt.Errorf("store the archive: %w", err), archive.Close())
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

// incomplete reports whether an archive's repository has submodules or LFS
// files, which forges leave out of archives. It seeks back to the archive's
// beginning. It leaves unreadable archives to the unpacking.
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
