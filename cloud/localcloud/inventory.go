package localcloud

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

// packCache is how many bytes of packs' indexes a store keeps for Read.
const packCache = 8 << 20

// processID replaces the machine's boot id where there is none.
var processID = uuid.NewString()

func newStore(layout site.Layout, limits site.Limits) *store {
	// Check reports damaged packs. Until then their files count as missing, and
	// uploads send them again.
	ignore := func(string, error) {}
	return &store{layout: layout, limits: limits, packs: pack.NewCache(packCache, ignore), trees: lru.New[site.Tree, *readTree](mostManifests), holdings: lru.New[uuid.UUID, *holding](mostManifests), boot: bootID(), sync: files.SyncFileSystem}
}

// inventory is what a pipeline's store has. It is valid while the site's lock is
// held.
type inventory struct {
	packs [2]*pack.Table
	blobs map[site.Digest]string // their files
}

// inventory lists what the pipeline has and can be trusted. The caller holds the
// lock exclusively.
func (s *store) inventory(ctx context.Context, pipeline uuid.UUID) (*inventory, error) {
	if err := s.verifyUnsynced(ctx, pipeline); err != nil {
		return nil, err
	}
	have := &inventory{blobs: map[site.Digest]string{}}
	for i, dir := range []string{s.layout.Packs(pipeline), s.layout.Unsynced(pipeline)} {
		var err error
		if have.packs[i], err = s.packs.Table(dir); err != nil {
			return nil, err
		}
	}
	add := func(dir, prefix string) error {
		entries, err := readDir(dir)
		for _, entry := range entries {
			name, ok := strings.CutPrefix(entry.Name(), prefix)
			if d, err := site.ParseDigest(name); ok && err == nil {
				have.blobs[d] = filepath.Join(dir, entry.Name())
			}
		}
		return err
	}
	root := filepath.Join(s.layout.Site(pipeline), "blobs")
	folders, err := readDir(root)
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		if err := add(filepath.Join(root, folder.Name()), ""); err != nil {
			return nil, err
		}
	}
	return have, add(s.layout.Unsynced(pipeline), s.boot+".")
}

// holds reports whether the pipeline has the bytes of f.
func (i *inventory) holds(f site.File) (bool, error) {
	if _, ok := i.pack(f); ok {
		return true, nil
	}
	return i.blob(f)
}

// pack returns the name of a pack that has the bytes of f.
func (i *inventory) pack(f site.File) (string, bool) {
	for _, t := range i.packs {
		if name, e, ok := t.Find(f.SHA256); ok && e.Size == f.Size {
			return packName(name), true
		}
	}
	return "", false
}

// blob reports whether the bytes of f are in a file of their own.
func (i *inventory) blob(f site.File) (bool, error) {
	name, ok := i.blobs[f.SHA256]
	if !ok {
		return false, nil
	}
	return holds(name, f)
}

// verifyUnsynced looks at what an earlier start of the machine did not sync: a
// power cut may have replaced its bytes by zeros. What is whole stays; a damaged
// pack or blob is removed, and its sender sends it again.
func (s *store) verifyUnsynced(ctx context.Context, pipeline uuid.UUID) error {
	entries, err := readDir(s.layout.Unsynced(pipeline))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		boot, name, _ := strings.Cut(entry.Name(), ".")
		if boot == s.boot {
			continue
		}
		old := filepath.Join(s.layout.Unsynced(pipeline), entry.Name())
		var good bool
		if strings.HasSuffix(name, pack.Suffix) {
			good, err = verifyPack(ctx, old)
		} else {
			good, err = verifyBlob(ctx, old, name)
		}
		if err != nil {
			return err
		}
		if good {
			err = os.Rename(old, s.unsynced(pipeline, name))
		} else {
			err = os.Remove(old)
		}
		if err != nil {
			return files.Error(err)
		}
	}
	return nil
}

// verifyBlob reports whether a file has the digest that its name says. A file that
// the disk can't read has not.
func verifyBlob(ctx context.Context, file, name string) (bool, error) {
	want, err := site.ParseDigest(name)
	if err != nil {
		return false, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, &contextReader{ctx, f})
	if errors.Is(err, syscall.EIO) {
		return false, nil
	}
	return site.Digest(h.Sum(nil)) == want, err
}

// verifyPack reports whether all of a pack is good.
func verifyPack(ctx context.Context, file string) (bool, error) {
	f, entries, err := pack.Open(file)
	if errors.Is(err, pack.ErrDamaged) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if good, err := e.Verify(f); err != nil || !good {
			return false, err
		}
	}
	return true, nil
}

// publish makes all uploads of a pipeline durable and gives them their names for
// good. The caller holds the lock exclusively.
func (s *store) publish(pipeline uuid.UUID) error {
	dir := s.layout.Site(pipeline)
	if err := s.sync(dir); err != nil {
		return err
	}
	entries, err := readDir(s.layout.Unsynced(pipeline))
	if err != nil {
		return err
	}
	moved := false
	for _, entry := range entries {
		boot, name, _ := strings.Cut(entry.Name(), ".")
		if boot != s.boot {
			continue // another process wrote it, and this system has no boot id
		}
		to := filepath.Join(s.layout.Packs(pipeline), name)
		if d, err := site.ParseDigest(name); err == nil {
			to = s.layout.Blob(pipeline, d)
		}
		if err := renameInto(s.unsynced(pipeline, name), to); err != nil {
			return err
		}
		moved = true
	}
	if moved {
		return s.sync(dir) // the names
	}
	return nil
}

// renameInto renames a file, and creates the folder of its new name if
// necessary.
func renameInto(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		err = os.Rename(from, to)
	}
	return err
}
