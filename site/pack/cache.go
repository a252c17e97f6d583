package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
)

// Load reads the indexes of the packs in a folder, which need not exist. A pack
// that is removed meanwhile is left out. damaged is nil or called for each pack
// whose index is damaged, and which is left out; without it, Load returns the
// error.
func Load(dir string, damaged func(name string, err error)) (*Table, error) {
	return load(dir, Open, damaged)
}

type opener func(name string) (*os.File, []Entry, error)

func load(dir string, open opener, damaged func(name string, err error)) (*Table, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var packs []string
	var indexes [][]Entry
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), Suffix) {
			continue
		}
		name := filepath.Join(dir, entry.Name())
		f, index, err := open(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, ErrDamaged) && damaged != nil:
			damaged(name, err)
		case err != nil:
			return nil, err
		default:
			_ = f.Close()
			packs, indexes = append(packs, name), append(indexes, index)
		}
	}
	return NewTable(packs, indexes), nil
}

// settling exceeds the coarsest timestamp granularity of common file systems: a
// folder that was modified earlier has another time after its next change.
const settling = 2 * time.Second

// loaded is a folder's table and the state of the folder before it was read.
type loaded struct {
	*Table
	info    os.FileInfo // nil if the folder did not exist
	settled bool        // the folder changes if the table does
}

// current reports whether the folder has not changed since.
func (l *loaded) current(dir string) bool {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l.info == nil
	}
	return err == nil && l.info != nil && l.settled && os.SameFile(info, l.info) && info.ModTime().Equal(l.info.ModTime())
}

// Cache keeps the tables of the folders that were read last, up to a number of
// bytes.
type Cache struct {
	tables *lru.Cache[string, *loaded]
	flight singleflight.Group
	open   opener // Open, except in tests
	// damaged is called for a pack whose index is damaged. Its files are not
	// found.
	damaged func(name string, err error)
}

// NewCache returns a cache of at most so many bytes.
func NewCache(bytes int64, damaged func(name string, err error)) *Cache {
	return &Cache{tables: lru.New[string, *loaded](bytes), open: Open, damaged: damaged}
}

// Known is like Read, but does not look at the folder: it returns fs.ErrNotExist
// also for a file that Read would find.
func (c *Cache) Known(dir string, d site.Digest, size int64) ([]byte, error) {
	if t, ok := c.tables.Get(dir); ok {
		return t.Read(d, size)
	}
	return nil, fs.ErrNotExist
}

// Read returns the bytes of a file in a folder's packs. It verifies them. It
// returns an error that is fs.ErrNotExist if no pack has the file.
func (c *Cache) Read(dir string, d site.Digest, size int64) ([]byte, error) {
	if t, ok := c.tables.Get(dir); ok {
		data, err := t.Read(d, size)
		// Compaction may have moved the file, or an upload may have added it.
		if !errors.Is(err, fs.ErrNotExist) || t.current(dir) {
			return data, err
		}
	}
	for attempt := 0; ; attempt++ {
		v, err, _ := c.flight.Do(dir, func() (any, error) { return c.load(dir) })
		if err != nil {
			return nil, err
		}
		t := v.(*loaded) //nolint:forcetypeassert // load returns no other
		data, err := t.Read(d, size)
		// A shared load may have begun before this call, and a compaction may
		// have ended since.
		if !errors.Is(err, fs.ErrNotExist) || attempt > 0 {
			return data, err
		}
		if t.current(dir) {
			return nil, err
		}
	}
}

// Table returns the table of a folder, as Load does. It does not read the packs
// again if the folder has not changed.
func (c *Cache) Table(dir string) (*Table, error) {
	if t, ok := c.tables.Get(dir); ok && t.current(dir) {
		return t.Table, nil
	}
	// A load that it shared might have begun before the folder's last change.
	t, err := c.load(dir)
	if err != nil {
		return nil, err
	}
	return t.Table, nil
}

func (c *Cache) load(dir string) (*loaded, error) {
	l := &loaded{}
	info, err := os.Stat(dir)
	switch {
	case err == nil:
		l.info, l.settled = info, time.Since(info.ModTime()) > settling
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	l.Table, err = load(dir, c.open, func(name string, err error) {
		// A disk that fails may work again, without a change of the folder.
		l.settled = l.settled && !errors.Is(err, syscall.EIO)
		c.damaged(name, err)
	})
	if err != nil {
		return nil, err
	}
	if l.info != nil { // a site without packs needs no memory
		c.tables.Put(dir, l, l.Bytes())
	}
	return l, nil
}

// Read returns the bytes of a file and verifies them. It returns an error that is
// fs.ErrNotExist if no pack has the file, or its pack was removed.
func (t *Table) Read(d site.Digest, size int64) ([]byte, error) {
	name, e, ok := t.Find(d)
	if !ok || e.Size != size {
		return nil, fmt.Errorf("no pack has %s: %w", d, fs.ErrNotExist)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := e.Read(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, nil
}
