package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy/internal/lru"
	"github.com/troy-iaas/troy/site"
)

// errNoSite means that no enabled distribution serves a host.
var errNoSite = errors.New("no site at this host")

// live is the state of a host at one moment. It is immutable; a flip creates a
// new one.
type live struct {
	*sources
	host       string
	access     *access // nil if everyone may see the site
	tree       site.Tree
	deployment string // "" if nothing is live
	index      *index // nil if nothing is live
	// manifest is the info of the file that index was made from, and settled
	// has the same meaning as for watched files.
	manifest fs.FileInfo
	settled  bool
}

// sources are the files that decide what is live at a host.
type sources struct {
	record, distribution, pointer *watched
	// seen is the stamp at which they were last known to be unchanged.
	seen atomic.Uint64
}

// fresh reports whether the files are known to be unchanged at a stamp, which
// costs no system call.
func (s *sources) fresh(stamp uint64) bool { return stamp != 0 && s.seen.Load() == stamp }

// current reports whether a new lookup of the host would give the same result.
// The stamp must have been taken before the call.
func (s *sources) current(stamp uint64) bool {
	if s.fresh(stamp) {
		return true
	}
	if !s.record.current() || !s.distribution.current() || !s.pointer.current() {
		return false
	}
	s.seen.Store(stamp)
	return true
}

// catalog knows the state of each host. It keeps the most recently requested
// hosts in memory, up to a number of bytes.
type catalog struct {
	clock  *clock
	layout site.Layout
	limits site.Limits
	hosts  *lru.Cache[string, *live]
	// onDisk has the file lists of sites that were evicted from hosts.
	onDisk   *lru.Cache[site.Tree, *onDisk]
	spillDir string
	noDisk   sync.Once // logs only once that the disk is not writable
	log      *slog.Logger
	flight   singleflight.Group
	loads    atomic.Int64 // number of manifests read
}

// onDisk is an index in a file, the manifest that it was made from, and how
// many bytes it takes in memory.
type onDisk struct {
	index    *index
	manifest fs.FileInfo
	bytes    int64
}

// minSpill is the size in bytes of the smallest index that is written to disk.
// Reading the manifest of a smaller one costs less than a file.
const minSpill = 64 << 10

// siteWeight is the approximate memory of a site besides its files, in bytes.
const siteWeight = 4 << 10

// cached returns the state of a host if it is still current. The host need not
// be normalized, because all keys are.
func (c *catalog) cached(host string) (*live, bool) {
	stamp := c.clock.stamp()
	l, ok := c.hosts.Get(host)
	return l, ok && !l.index.broken() && l.current(stamp)
}

// find looks up a normalized host. It returns errNoSite if nothing serves the
// host. The result was valid at some moment after the call began.
func (c *catalog) find(host string) (*live, error) {
	for attempt := 0; ; attempt++ {
		led := false
		v, err, _ := c.flight.Do(host, func() (any, error) {
			led = true
			return c.refresh(host)
		})
		// A shared lookup may have read before this call began, and so before a
		// flip that the caller knows of. The second lookup began after the
		// first had ended.
		if led || attempt > 0 {
			l, _ := v.(*live)
			return l, err
		}
		if l, ok := c.cached(host); ok {
			return l, nil
		}
	}
}

func (c *catalog) refresh(host string) (*live, error) {
	stamp := c.clock.stamp()
	before, _ := c.hosts.Get(host)
	l, err := c.load(host, before)
	if errors.Is(err, fs.ErrNotExist) {
		// The tree was removed between reading the pointer and reading the
		// tree. The pointer names another tree by now.
		l, err = c.load(host, before)
	}
	if err != nil {
		c.hosts.Remove(host)
		return nil, err
	}
	l.seen.Store(stamp)
	weight := int64(siteWeight)
	if l.index != nil {
		weight += l.index.bytes()
	}
	for _, gone := range c.hosts.Put(host, l, weight) {
		c.spill(gone)
	}
	return l, nil
}

// spill writes the file list of an evicted site to disk, so that the next
// request does not have to read the manifest.
func (c *catalog) spill(l *live) {
	if l.index == nil || l.index.spill != nil || !l.settled || l.index.bytes() < minSpill {
		return
	}
	// Rules stay in memory, so those of the sites on disk must be small.
	if l.index.rules != nil && l.index.rules.Bytes() > minSpill {
		return
	}
	x, size, err := l.index.spillTo(c.spillDir)
	if err != nil {
		c.noDisk.Do(func() {
			c.log.Warn("can't write file lists that don't fit in memory to disk; each request reads them again", "error", err)
		})
		return
	}
	for _, gone := range c.onDisk.Put(l.tree, &onDisk{x, l.manifest, l.index.bytes()}, size+c.onDisk.Max()/mostSpilled) {
		gone.index.spill.retire()
	}
}

func (c *catalog) load(host string, before *live) (*live, error) {
	l := &live{sources: &sources{}, host: host}
	var record site.Record
	var err error
	if l.record, err = read(c.layout.Record(host), &record); err != nil {
		return nil, fmt.Errorf("read the record of %s: %w", host, err)
	}
	id, _, _ := strings.Cut(record.Target, ".")
	if record.Host != host || !safeName(id) || record.Target != site.DistributionDomain(id) {
		return nil, fmt.Errorf("the record of %s names host %q and target %q", host, record.Host, record.Target)
	}
	var distribution site.DistributionFile
	if l.distribution, err = read(c.layout.Distribution(id), &distribution); err != nil {
		return nil, fmt.Errorf("read distribution %s of %s: %w", id, host, err)
	}
	if !distribution.Enabled || distribution.Host != host {
		return nil, errNoSite
	}
	if l.access, err = newAccess(host, id, distribution.Protection); err != nil {
		return nil, fmt.Errorf("read distribution %s of %s: %w", id, host, err)
	}
	var pointer site.Pointer
	if l.pointer, err = read(c.layout.Pointer(id), &pointer); errors.Is(err, errNoSite) {
		// Provisioned, never deployed. An empty watched file is never current,
		// so the next request looks again.
		l.pointer = &watched{path: c.layout.Pointer(id)}
		return l, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the pointer of %s: %w", host, err)
	}
	if pointer.Deployment == uuid.Nil {
		return l, nil
	}
	l.tree = site.Tree{Pipeline: pointer.Pipeline, Deployment: pointer.Deployment}
	l.deployment = pointer.Deployment.String()
	if err := c.loadIndex(l, before); err != nil {
		return nil, fmt.Errorf("read the manifest of deployment %s of %s: %w", l.deployment, host, err)
	}
	return l, nil
}

// loadIndex reads the manifest of l's tree, or reuses before's index if the
// file is the same.
func (c *catalog) loadIndex(l, before *live) error {
	f, err := os.Open(c.layout.Tree(l.tree))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	l.manifest, l.settled = info, time.Since(info.ModTime()) > settling
	if before != nil && before.settled && before.tree == l.tree && sameFile(before.manifest, info) && !before.index.broken() {
		l.index = before.index
		return nil
	}
	d, ok := c.onDisk.Get(l.tree)
	if full := ok && c.hosts.Weight()+d.bytes > c.hosts.Max(); full && sameFile(d.manifest, info) && !d.index.broken() {
		l.index = d.index
		return nil
	}
	c.loads.Add(1)
	m, err := site.DecodeManifest(f, c.limits)
	if err != nil {
		return err
	}
	l.index, err = newIndex(m)
	return err
}

// read watches a file and decodes its JSON. It returns errNoSite if the file
// does not exist.
func read(path string, v any) (*watched, error) {
	w, err := watch(path)
	// A host may be longer than a file name; then there is no file.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) {
		return nil, errNoSite
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(w.data, v); err != nil {
		return nil, err
	}
	if w.settled.Load() {
		w.data = nil // only a younger file is compared by its content
	}
	return w, nil
}

// safeName reports whether s is a plain file name.
func safeName(s string) bool {
	if s == "" || len(s) > 100 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
