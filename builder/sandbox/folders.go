package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy/build"
)

// keptFolders is the folder of a dependency cache with the generator's folders.
const keptFolders = "folders"

// restoreFolders moves the generator's folders of the previous build into the
// repository, except for those that the repository has itself. They leave the
// cache: only a successful build returns them.
func (r *run) restoreFolders(cache *depCache, plan build.Plan) {
	r.ownFolders = map[string]bool{}
	r.moveFolders(cache, plan, "restored", func(kept, repo *os.Root, f build.CachedFolder) error {
		if _, err := repo.Lstat(f.Inside); !errors.Is(err, fs.ErrNotExist) || f.Published {
			r.ownFolders[f.Inside] = true
			return fs.ErrNotExist
		}
		return move(kept, f.Name, repo, f.Inside)
	})
}

// keepFolders moves the generator's folders of a successful build into the
// cache.
func (r *run) keepFolders(cache *depCache, plan build.Plan) {
	r.moveFolders(cache, plan, "kept", func(kept, repo *os.Root, f build.CachedFolder) error {
		if r.ownFolders == nil || r.ownFolders[f.Inside] {
			return fs.ErrNotExist
		}
		return move(repo, f.Inside, kept, f.Name)
	})
}

// moveFolders calls one for each of the generator's folders. A failure costs
// time alone, so it is logged.
func (r *run) moveFolders(cache *depCache, plan build.Plan, what string, one func(kept, repo *os.Root, f build.CachedFolder) error) {
	if !cache.kept {
		return
	}
	err := func() error {
		// A build can write there, also a link that leads elsewhere.
		whole, err := os.OpenRoot(cache.dir)
		if err != nil {
			return err
		}
		defer whole.Close()
		if err := whole.Mkdir(keptFolders, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		kept, err := whole.OpenRoot(keptFolders)
		if err != nil {
			return err
		}
		defer kept.Close()
		repo, err := os.OpenRoot(r.files.path("work", "repo"))
		if err != nil {
			return err
		}
		defer repo.Close()
		var moved []string
		for _, folder := range plan.CachedFolders() {
			if err = one(kept, repo, folder); err == nil {
				moved = append(moved, folder.Folder)
			} else if !errors.Is(err, fs.ErrNotExist) {
				r.slog.Debug("a generator's folder was not moved", "folder", folder.Inside, "error", err)
			}
		}
		if len(moved) > 0 {
			r.log.say("Cache of the generator %s: %s.", what, strings.Join(moved, ", "))
		}
		return nil
	}()
	if err != nil {
		r.slog.Warn("the generator's folders could not be moved", "error", err)
	}
}

// move renames a folder between two trees. Neither path leaves its tree, and
// links are not moved. It makes the folders above the new name.
func move(from *os.Root, name string, to *os.Root, newName string) error {
	info, err := from.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fs.ErrNotExist
	}
	if err := to.RemoveAll(newName); err != nil {
		return err
	}
	if err := makeFolders(to, path.Dir(newName)); err != nil {
		return err
	}
	source, err := from.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := to.Open(path.Dir(newName))
	if err != nil {
		return err
	}
	defer target.Close()
	return unix.Renameat(int(source.Fd()), path.Base(name), int(target.Fd()), path.Base(newName))
}

// makeFolders makes a folder and those above it, which belong to the owner of
// the tree: the build's user has to write to them.
func makeFolders(tree *os.Root, name string) error {
	info, err := tree.Stat(".")
	if err != nil {
		return err
	}
	owner := info.Sys().(*syscall.Stat_t)
	if name == "." {
		return nil
	}
	done := "."
	for part := range strings.SplitSeq(name, "/") {
		done = path.Join(done, part)
		if err := tree.Mkdir(done, 0o755); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := tree.Lchown(done, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return nil
}
