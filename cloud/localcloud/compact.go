package localcloud

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/pack"
)

const (
	// smallPack is the size in bytes below which a pack is joined with others, if
	// there are more than mostSmallPacks.
	smallPack      = 4 << 20
	mostSmallPacks = 16
)

// collectPacks removes the packs without a needed file, or whose needed files
// are in other packs too, and returns those that are worth compacting: half of
// their bytes are not needed, or they are many small ones. It leaves damaged packs
// to repair.
func (s *store) collectPacks(ctx context.Context, pipeline uuid.UUID, needed map[site.Digest]struct{}) (sparse []string, err error) {
	var small, kept []string
	var indexes [][]pack.Entry // of kept
	seen := map[site.Digest]struct{}{}
	for _, dir := range []string{s.layout.Packs(pipeline), s.layout.Unsynced(pipeline)} {
		entries, err := readDir(dir)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if !strings.HasSuffix(entry.Name(), pack.Suffix) {
				continue
			}
			name := filepath.Join(dir, entry.Name())
			f, index, err := pack.Open(name)
			if errors.Is(err, pack.ErrDamaged) {
				continue
			}
			if err != nil {
				return nil, err
			}
			_ = f.Close()
			var live, all int64
			alone := false // it has a needed file that no pack before it has
			for _, e := range index {
				all += e.Size + 1
				if _, keep := needed[e.Digest]; keep {
					live += e.Size + 1
					_, again := seen[e.Digest]
					alone = alone || !again
				}
			}
			if live == 0 || !alone && copied(index, needed, pack.NewTable(kept, indexes)) {
				if err := os.Remove(name); err != nil {
					return nil, err
				}
				continue
			}
			kept, indexes = append(kept, name), append(indexes, index)
			for _, e := range index {
				seen[e.Digest] = struct{}{}
			}
			if dir != s.layout.Packs(pipeline) {
				continue
			}
			if live <= all/2 {
				sparse = append(sparse, name)
			} else if all < smallPack {
				small = append(small, name)
			}
		}
	}
	if len(small) > mostSmallPacks {
		sparse = append(sparse, small...)
	}
	return sparse, nil
}

// copied reports whether all needed files of an index are good in other packs.
func copied(index []pack.Entry, needed map[site.Digest]struct{}, others *pack.Table) bool {
	for _, e := range index {
		if _, keep := needed[e.Digest]; !keep {
			continue
		}
		if _, err := others.Read(e.Digest, e.Size); err != nil {
			return false
		}
	}
	return true
}

// compact moves the needed files of packs to new ones. It copies without the
// lock, so that it blocks neither readers nor uploads, and takes the lock to
// replace the packs. If a tree needs another file by then, it changes nothing. It
// leaves damaged packs to repair.
func (s *store) compact(ctx context.Context, pipeline uuid.UUID, packs []string) (err error) {
	needed, err := s.needed(ctx, pipeline)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a tree was sealed or removed meanwhile; the next Remove compacts
	}
	if err != nil {
		return err
	}
	c := compaction{s: s, pipeline: pipeline, moved: map[site.Digest]struct{}{}}
	defer c.discard()
	var replaced []string
	var indexes [][]pack.Entry
	for _, name := range packs {
		whole, err := verifyPack(ctx, name)
		if err == nil && whole {
			var index []pack.Entry
			index, err = c.copy(ctx, name, needed)
			replaced, indexes = append(replaced, name), append(indexes, index)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, cloud.ErrNotFound) {
			return nil // another Remove was faster
		}
		if err != nil {
			return err
		}
	}
	if err := c.finish(); err != nil {
		return err
	}
	release, err := s.lock(ctx, pipeline, false)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if needed, err = s.needed(ctx, pipeline); err != nil {
		return err
	}
	for i, index := range indexes {
		if _, err := os.Stat(replaced[i]); err != nil {
			return nil // another Remove was faster
		}
		for _, e := range index {
			_, keep := needed[e.Digest]
			if _, moved := c.moved[e.Digest]; keep && !moved {
				return nil
			}
		}
	}
	for _, w := range c.full {
		if err := renameInto(w.temp, filepath.Join(s.layout.Packs(pipeline), w.name)); err != nil {
			return files.Error(err)
		}
	}
	if err := files.SyncFolder(s.layout.Packs(pipeline)); err != nil {
		return err
	}
	for _, name := range replaced {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// compaction is the packs that a compact writes.
type compaction struct {
	s        *store
	pipeline uuid.UUID
	moved    map[site.Digest]struct{}
	current  *packWriter
	full     []*packWriter
}

// copy copies a pack's needed files, and returns its index.
func (c *compaction) copy(ctx context.Context, name string, needed map[site.Digest]struct{}) ([]pack.Entry, error) {
	f, index, err := pack.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, e := range index {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		_, keep := needed[e.Digest]
		if _, again := c.moved[e.Digest]; !keep || again {
			continue
		}
		data, err := e.Read(f)
		if err != nil {
			return nil, err
		}
		if c.current == nil {
			if c.current, err = c.s.newPack(c.pipeline); err != nil {
				return nil, err
			}
		}
		if err := c.current.Add(e.Digest, data); err != nil {
			return nil, files.Error(err)
		}
		c.moved[e.Digest] = struct{}{}
		if c.current.Size() >= maxPack {
			if err := c.finish(); err != nil {
				return nil, err
			}
		}
	}
	return index, nil
}

// finish completes the current pack and makes it durable.
func (c *compaction) finish() error {
	w := c.current
	if w == nil {
		return nil
	}
	c.current, c.full = nil, append(c.full, w)
	return files.Error(errors.Join(w.Finish(), w.file.Sync(), w.file.Close()))
}

// discard removes the packs that were not placed.
func (c *compaction) discard() {
	if c.current != nil {
		c.current.discard()
	}
	for _, w := range c.full {
		w.discard()
	}
}
