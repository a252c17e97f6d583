package walk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
)

// Remove deletes a file, or a folder with all of its content, and returns the
// number of deleted entries that were not folders. A missing path is not an
// error. Remove does not follow links, and it overrides modes that forbid the
// deletion to the owner. No process may write to the folder meanwhile.
//
// It moves deep folders up before it empties them, so that depth costs neither
// descriptors nor time. If its context is done, Remove returns an error, and
// another call continues.
func Remove(ctx context.Context, name string) (files int, err error) {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !info.IsDir() {
		return 1, os.Remove(name)
	}
	r := remover{ctx: ctx, prefix: ".removed-" + rand.Text() + "-"}
	if err := r.all(name, info); err != nil {
		return r.files, fmt.Errorf("remove %s: %w", name, err)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r.files, err
	}
	return r.files, nil
}

// deepest is the maximum number of nested folders that are open at once.
const deepest = 32

type remover struct {
	ctx    context.Context
	top    *os.Root
	prefix string // of the new names of folders that are moved up
	moved  int
	files  int
}

func (r *remover) all(name string, info fs.FileInfo) error {
	if info.Mode()&0o700 != 0o700 {
		if err := os.Chmod(name, 0o700); err != nil {
			return err
		}
	}
	var err error
	if r.top, err = os.OpenRoot(name); err != nil {
		return err
	}
	defer r.top.Close()
	return r.empty(r.top, ".", 0)
}

// empty removes the content of a folder with the path name below the top.
func (r *remover) empty(folder *os.Root, name string, depth int) error {
	for {
		n, err := r.each(folder, func(entry fs.DirEntry) error {
			switch {
			case !entry.IsDir():
				return r.file(folder, entry.Name())
			case depth < deepest:
				return r.folder(folder, name, entry.Name(), depth)
			}
			return r.up(folder, name, entry.Name())
		})
		// Another round finds the folders that were moved up, and names that
		// some file systems skip while others are removed.
		if err != nil || n == 0 {
			return err
		}
	}
}

// each calls f for the content of a folder, in batches, and returns the number
// of entries.
func (r *remover) each(folder *os.Root, f func(fs.DirEntry) error) (int, error) {
	d, err := folder.Open(".")
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for n := 0; ; {
		entries, err := d.ReadDir(batch)
		for _, entry := range entries {
			if r.ctx.Err() != nil {
				return n, context.Cause(r.ctx)
			}
			err := f(entry)
			switch {
			case err == nil:
				n++
			case !errors.Is(err, fs.ErrNotExist):
				return n, err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (r *remover) file(folder *os.Root, name string) error {
	err := folder.Remove(name)
	if err == nil {
		r.files++
	}
	return err
}

// folder removes a folder in another one with all of its content.
func (r *remover) folder(in *os.Root, name, inside string, depth int) error {
	if err := writable(in, inside); err != nil {
		return err
	}
	folder, err := in.OpenRoot(inside)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := r.empty(folder, path.Join(name, inside), depth+1); err != nil {
		return err
	}
	return in.Remove(inside)
}

// up moves a folder in another one to the top.
func (r *remover) up(in *os.Root, name, inside string) error {
	// Moving a folder changes its entry "..", which requires permission to
	// write to it (rename(2)).
	if err := writable(in, inside); err != nil {
		return err
	}
	r.moved++
	return r.top.Rename(path.Join(name, inside), r.prefix+strconv.Itoa(r.moved))
}

// writable gives a folder's owner all permissions.
func writable(in *os.Root, name string) error {
	info, err := in.Lstat(name)
	if err != nil || info.Mode()&0o700 == 0o700 {
		return err
	}
	return in.Chmod(name, 0o700)
}
