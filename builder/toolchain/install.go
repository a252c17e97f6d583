package toolchain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
)

// unpacked bounds a package's files.
var unpacked = build.SourceLimits{ArchiveBytes: maxArchive, TotalBytes: 2 << 30, Entries: 100_000}

// install puts a release into the store, unless another process does so first.
// digest is that of packageManager, or empty. The returned function releases
// the tool.
func (s *Store) install(ctx context.Context, tool string, c candidate, digest string) (installed bool, err error) {
	version := c.version.String()
	release, err := files.Lock(ctx, s.lockFile(tool, version), false)
	if err != nil {
		return false, err
	}
	defer release()
	r, err := s.check(tool, version)
	switch {
	case err == nil && (digest == "" || digest == r.Digest):
		return false, nil // another build was faster
	case err != nil && !errors.Is(err, errDamaged) && !errors.Is(err, fs.ErrNotExist):
		return false, err
	}
	free, err := disk.Free(s.dir)
	if err != nil {
		return false, err
	}
	if free < s.minFree+maxArchive {
		return false, troy.Errorf(troy.Unavailable, "the server's disk is nearly full, so %s %s can't be installed", build.ToolLabel(tool), version)
	}
	// The lock's name, so that sweep can tell whose folder it is.
	dir := filepath.Join(s.dir, "tmp", tool+"-"+version)
	if err := remove(ctx, dir); err != nil {
		return false, err
	}
	err = s.prepare(ctx, tool, c, digest, dir)
	if err == nil {
		err = s.place(ctx, dir, s.path(tool, version))
	}
	if err != nil {
		return false, errors.Join(err, remove(context.WithoutCancel(ctx), dir))
	}
	return true, nil
}

// place makes the prepared folder visible. It is durable then only if the system
// does not tell its boots apart; otherwise settle makes it so.
func (s *Store) place(ctx context.Context, dir, final string) error {
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return files.Error(err)
	}
	if s.boot == "" {
		if err := s.sync(dir); err != nil {
			return files.Error(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := remove(ctx, final); err != nil { // a damaged one
		return err
	}
	if err := os.Rename(dir, final); err != nil {
		return files.Error(err)
	}
	if s.boot == "" {
		return files.SyncFolder(filepath.Dir(final))
	}
	return nil
}

// prepare downloads, verifies and unpacks a release into dir.
func (s *Store) prepare(ctx context.Context, tool string, c candidate, digest, dir string) error {
	content := filepath.Join(dir, "package")
	// Other users do not see what is not verified.
	err := os.Mkdir(dir, 0o700)
	for _, d := range []string{content, filepath.Join(dir, "bin")} {
		if err == nil {
			err = os.Mkdir(d, 0o755)
		}
	}
	if err != nil {
		return files.Error(err)
	}
	r := record{Integrity: c.rel.Integrity, Digest: digest, Unsynced: s.boot, Tool: Tool{Name: tool, Version: c.version.String(), Package: c.rel.Package, Added: s.now().UTC()}}
	var h hash.Hash
	var want []byte
	within, cancel := context.WithTimeoutCause(ctx, s.downloadTime, fmt.Errorf("it took longer than %s", s.downloadTime))
	defer cancel()
	switch c.from.origin {
	case npmRegistry:
		if digest != "" {
			if h, want, err = digestOf(digest); err != nil {
				return err
			}
		}
		err = s.unpackPackage(within, c.rel, content, h)
	case viaMise:
		r.Integrity, err = s.mise.install(ctx, c.rel, filepath.Join(dir, "mise"), content)
	case goModules:
		r.Integrity, err = s.modules.unpack(within, c.rel, filepath.Join(dir, "archive.zip"), content)
	}
	if _, verdict := errors.AsType[*troy.Error](err); err != nil && !verdict && c.from.origin != viaMise && within.Err() != nil && ctx.Err() == nil {
		return &unreachable{fmt.Errorf("download %s %s: %w", build.ToolLabel(tool), r.Version, context.Cause(within))}
	}
	if err != nil {
		return err
	}
	if c.from.origin == viaMise {
		if r.Programs, r.Bin, err = programsIn(dir, tool); err != nil {
			err = &unreachable{err}
		}
	} else {
		r.Programs, err = s.linkAll(dir, tool, c)
	}
	if err != nil {
		return err
	}
	if h != nil && !slices.Equal(h.Sum(nil), want) {
		if err := matchProgram(dir, r.Programs, digest); err != nil {
			return troy.Errorf(troy.Invalid, "the package %s@%s has the wrong checksum and was discarded: packageManager in package.json says %.40s…, the package has %.16x…; correct packageManager, or remove the part after +", c.rel.Package, c.rel.Version, digest, h.Sum(nil))
		}
	}
	if r.Bytes, err = size(ctx, dir); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return files.Error(os.WriteFile(filepath.Join(dir, "tool.json"), data, 0o644))
}

// unpackPackage downloads a package of npm and unpacks it while it arrives. What
// is in content is verified only if the error is nil. h gets the archive's
// content.
func (s *Store) unpackPackage(ctx context.Context, rel release, content string, h hash.Hash) error {
	archive, arriving := io.Pipe()
	unpacking := make(chan error, 1)
	go func() {
		err := build.Unpack(ctx, archive, content, unpacked)
		_, _ = io.Copy(io.Discard, archive) // the checksum is that of everything
		unpacking <- err
	}()
	into := io.Writer(arriving)
	if h != nil {
		into = io.MultiWriter(arriving, h)
	}
	err := s.registry.download(ctx, rel, into)
	_ = arriving.CloseWithError(err) // never fails
	unpackErr := <-unpacking
	if err != nil {
		return err
	}
	if unpackErr != nil {
		return fmt.Errorf("unpack %s@%s: %w", rel.Package, rel.Version, files.Error(unpackErr))
	}
	return nil
}

// matchProgram compares the digest of packageManager with a program. Corepack
// hashes Yarn's program instead of its package.
func matchProgram(dir string, programs []checked, digest string) error {
	for _, p := range programs {
		h, want, err := digestOf(digest)
		if err != nil {
			return err
		}
		f, err := os.Open(filepath.Join(dir, p.Path))
		if err != nil {
			return err
		}
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if slices.Equal(h.Sum(nil), want) {
			return nil
		}
	}
	return errDamaged
}

// linkAll makes the programs of a package available in bin.
func (s *Store) linkAll(dir, tool string, c candidate) (all []checked, err error) {
	programs := c.from.programs
	if programs == nil {
		programs = c.rel.Programs
	}
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		p, err := s.link(dir, name, programs[name])
		if err != nil {
			return nil, troy.Errorf(troy.Invalid, "the package %s@%s has no usable program %.80q: %w", c.rel.Package, c.rel.Version, name, err)
		}
		all = append(all, p)
	}
	if !slices.Contains(slices.Collect(maps.Keys(programs)), Program(tool)) {
		return nil, troy.Errorf(troy.Invalid, "the package %s@%s has no program %s", c.rel.Package, c.rel.Version, Program(tool))
	}
	return all, nil
}

// link makes a program available in bin. It leaves the program's digest to settle
// if that will be called.
func (s *Store) link(dir, name, path string) (checked, error) {
	path = filepath.Clean(path)
	if name != filepath.Base(name) || name == "." || name == ".." || !filepath.IsLocal(path) {
		return checked{}, errors.New("its path leads out of the package")
	}
	inside := filepath.Join("package", path)
	p, err := inspect(dir, inside, s.boot == "")
	if err != nil {
		return p, err
	}
	if err := os.Chmod(filepath.Join(dir, inside), 0o755); err != nil {
		return p, err
	}
	return p, os.Symlink(filepath.Join("..", inside), filepath.Join(dir, "bin", name))
}

// size returns the size of a folder's files in bytes.
func size(ctx context.Context, dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	var total int64
	err = walk.Folder(ctx, root, walk.Limits{Entries: unpacked.Entries + 100, Path: 4096}, func(e walk.Entry) error {
		if e.IsDir() {
			return nil
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// remove removes a folder with its content, if it exists.
func remove(ctx context.Context, dir string) error {
	_, err := walk.Remove(ctx, dir)
	return ignoreMissing(err)
}
