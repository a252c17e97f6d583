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

// errNoSite says that no enabled distribution serves a host.
var errNoSite = errors.New("no site at this host")

// live is what a host is served from at one moment. It never changes: a flip
// makes another one.
type live struct {
	record, distribution, pointer *watched
	tree                          site.Tree
	deployment                    string // "" when nothing is live
	index                         *index // nil when nothing is live
	// manifest is the file that index was made of, and settled what it is for
	// watched files.
	manifest fs.FileInfo
	settled  bool
}

// current reports whether the host would be found to be served the same way
// if it were looked up now.
func (l *live) current() bool {
	return l.record.current() && l.distribution.current() && l.pointer.current()
}

// catalog knows what each host is served from. Hosts that were asked for
// last stay in memory, up to a number of bytes.
type catalog struct {
	layout site.Layout
	limits site.Limits
	hosts  *lru.Cache[string, *live]
	// onDisk has the lists of the sites that had to leave hosts.
	onDisk   *lru.Cache[site.Tree, *onDisk]
	spillDir string
	noDisk   sync.Once // that it can't be written to is told once
	log      *slog.Logger
	flight   singleflight.Group
	loads    atomic.Int64 // manifests that were read
}

// onDisk is an index in a file, and the manifest that it was made of.
type onDisk struct {
	index    *index
	manifest fs.FileInfo
}

// siteWeight is about what a site takes in memory besides its files, in bytes.
const siteWeight = 4 << 10

// cached returns what is known of a host if it still holds. The host need
// not be normalised: no other spelling is ever a key.
func (c *catalog) cached(host string) (*live, bool) {
	l, ok := c.hosts.Get(host)
	return l, ok && !l.index.broken() && l.current()
}

// find looks a normalised host up; errNoSite when nothing serves it. What it
// returns was in force at some moment after the call began.
func (c *catalog) find(host string) (*live, error) {
	for attempt := 0; ; attempt++ {
		led := false
		v, err, _ := c.flight.Do(host, func() (any, error) {
			led = true
			return c.refresh(host)
		})
		// A look-up that was under way may have read before this call began,
		// and so before a flip that the caller knows of. The second one began
		// after the first had ended.
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
	before, _ := c.hosts.Get(host)
	l, err := c.load(host, before)
	if errors.Is(err, fs.ErrNotExist) {
		// The tree that the pointer named was removed before it was read: by
		// then the pointer names another one.
		l, err = c.load(host, before)
	}
	if err != nil {
		c.hosts.Remove(host)
		return nil, err
	}
	weight := int64(siteWeight)
	if l.index != nil {
		weight += l.index.bytes()
	}
	for _, gone := range c.hosts.Put(host, l, weight) {
		c.spill(gone)
	}
	return l, nil
}

// spill keeps the list of a site that leaves the memory in a file, so that its
// manifest need not be read for the next request.
func (c *catalog) spill(l *live) {
	if l.index == nil || l.index.spill != nil || !l.settled {
		return
	}
	x, size, err := l.index.spillTo(c.spillDir)
	if err != nil {
		c.noDisk.Do(func() {
			c.log.Warn("lists of files that don't fit in memory can't be kept on disk; they are read again for each request", "error", err)
		})
		return
	}
	for _, gone := range c.onDisk.Put(l.tree, &onDisk{x, l.manifest}, size+c.onDisk.Max()/mostSpilled) {
		gone.index.spill.retire()
	}
}

func (c *catalog) load(host string, before *live) (*live, error) {
	l := &live{}
	var record site.Record
	var err error
	if l.record, err = read(c.layout.Record(host), &record); err != nil {
		return nil, fmt.Errorf("record of %s: %w", host, err)
	}
	id, _, _ := strings.Cut(record.Target, ".")
	if record.Host != host || !safeName(id) || record.Target != site.DistributionDomain(id) {
		return nil, fmt.Errorf("record of %s: names host %q and target %q", host, record.Host, record.Target)
	}
	var distribution site.DistributionFile
	if l.distribution, err = read(c.layout.Distribution(id), &distribution); err != nil {
		return nil, fmt.Errorf("distribution %s of %s: %w", id, host, err)
	}
	if !distribution.Enabled || distribution.Host != host {
		return nil, errNoSite
	}
	var pointer site.Pointer
	if l.pointer, err = read(c.layout.Pointer(id), &pointer); errors.Is(err, errNoSite) {
		// Provisioned, never deployed. An empty file of that name can never
		// be current, so the next request looks again.
		l.pointer = &watched{path: c.layout.Pointer(id)}
		return l, nil
	} else if err != nil {
		return nil, fmt.Errorf("pointer of %s: %w", host, err)
	}
	if pointer.Deployment == uuid.Nil {
		return l, nil
	}
	l.tree = site.Tree{Pipeline: pointer.Pipeline, Deployment: pointer.Deployment}
	l.deployment = pointer.Deployment.String()
	if err := c.loadIndex(l, before); err != nil {
		return nil, fmt.Errorf("manifest of deployment %s of %s: %w", l.deployment, host, err)
	}
	return l, nil
}

// loadIndex reads the manifest of l's tree, or takes over what before has of
// the same file.
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
	if d, ok := c.onDisk.Get(l.tree); ok && sameFile(d.manifest, info) && !d.index.broken() {
		l.index = d.index
		return nil
	}
	c.loads.Add(1)
	m, err := site.DecodeManifest(f, c.limits)
	if err != nil {
		return err
	}
	l.index = newIndex(m)
	return nil
}

// read watches a file and decodes the JSON in it; one that does not exist is
// errNoSite.
func read(path string, v any) (*watched, error) {
	w, err := watch(path)
	// A host may be longer than file names are; then it has no file either.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) {
		return nil, errNoSite
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(w.data, v); err != nil {
		return nil, err
	}
	return w, nil
}

// safeName reports whether s can be the name of a file and nothing else.
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
