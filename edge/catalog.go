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
	"github.com/troy-iaas/troy/internal/password"
	"github.com/troy-iaas/troy/site"
)

// errNoSite means that no enabled distribution serves a host.
var errNoSite = errors.New("no site at this host")

// live is the state of a host at one moment. It is immutable; a flip creates a
// new one.
type live struct {
	*sources
	host     string
	redirect string    // the host to which this one redirects, or ""
	wildcard bool      // whether a wildcard's record serves the host
	access   *access   // nil if everyone may see the site
	tree     site.Tree // the deployment is zero if nothing is live
	index    *index    // nil if nothing is live
	// credentials are those in the site's rules, or nil.
	credentials *password.Secrets
	// manifest is the identity of the file that index was made from, and
	// settled has the same meaning as for watched files.
	manifest fileID
	settled  bool
}

// deployment returns the id of the live deployment.
func (l *live) deployment() string { return l.tree.Deployment.String() }

// siteWeight is the memory of a site besides its files, its rules and its
// protection, in bytes: live, sources, index, their strings, and their place in
// the catalog. A test compares it with the heap.
const siteWeight = 688

// weight returns the approximate memory of the site in bytes.
func (l *live) weight() int64 {
	weight := siteWeight + l.access.bytes()
	if l.index != nil {
		weight += l.index.bytes()
	}
	return weight
}

// sources are the files that decide what is live at a host.
type sources struct {
	name         string // that the record is for
	distribution string // its id
	label        string // of a preview, or ""
	// The files of the record, its distribution and that one's pointer.
	record, settings, pointer watched
	// noPointer means that the pointer does not matter.
	noPointer bool
	// seen is the stamp at which they were last known to be unchanged.
	seen atomic.Uint64
}

// fresh reports whether the files are known to be unchanged at a stamp, which
// costs no system call.
func (s *sources) fresh(stamp uint64) bool { return stamp != 0 && s.seen.Load() == stamp }

// current reports whether a new lookup of the host would give the same result.
// The stamp must have been taken before the call.
func (s *sources) current(layout site.Layout, stamp uint64) bool {
	if s.fresh(stamp) {
		return true
	}
	if !s.record.current(layout.Record(s.name)) || !s.settings.current(layout.Distribution(s.distribution)) ||
		!s.noPointer && !s.pointer.current(s.pointerFile(layout)) {
		return false
	}
	s.seen.Store(stamp)
	return true
}

// pointerFile returns the file of the pointer.
func (s *sources) pointerFile(layout site.Layout) string {
	if s.label != "" {
		return layout.PreviewPointer(s.distribution, s.label)
	}
	return layout.Pointer(s.distribution)
}

// catalog knows the state of each host. It keeps the most recently requested
// hosts in memory, up to a number of bytes.
type catalog struct {
	clock  *clock
	layout site.Layout
	limits site.Limits
	// previews says which hosts are those of previews.
	previews site.PreviewHosts
	hosts    *lru.Cache[string, *live]
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
	manifest fileID
	bytes    int64
}

// minSpill is the size in bytes of the smallest index that is written to disk.
// Reading the manifest of a smaller one costs less than a file.
const minSpill = 64 << 10

// cached returns the state of a host if it is still current. The host need not
// be normalized, because all keys are.
func (c *catalog) cached(host string) (*live, bool) {
	stamp := c.clock.stamp()
	l, ok := c.hosts.Get(host)
	return l, ok && !l.index.broken() && l.current(c.layout, stamp)
}

// find looks up a normalized host, or else the wildcard above it. It returns
// errNoSite if nothing serves the host. The result was valid at some moment
// after the call began.
func (c *catalog) find(host string) (*live, error) {
	l, err := c.findRecord(host)
	if !errors.Is(err, errNoSite) {
		return l, err
	}
	_, parent, ok := strings.Cut(host, ".")
	if !ok {
		return nil, err
	}
	// All hosts of a wildcard share what is in memory.
	wildcard := "*." + parent
	l, known := c.cached(wildcard)
	if !known {
		if l, err = c.findRecord(wildcard); err != nil {
			return nil, err
		}
	}
	named := *l
	named.host, named.wildcard = host, true
	return &named, nil
}

// findRecord looks up the record of a normalized host or of a wildcard.
func (c *catalog) findRecord(host string) (*live, error) {
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
	for _, gone := range c.hosts.Put(l.host, l, l.weight()) {
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
	host = strings.Clone(host) // it may be a part of a whole request
	l := &live{sources: &sources{name: host}, host: host}
	var record site.Record
	err := l.record.decode(c.layout.Record(host), &record)
	if errors.Is(err, errNoSite) {
		if label, siteHost, ok := c.previews.Split(host); ok {
			l.name, l.label = siteHost, label
			err = l.record.decode(c.layout.Record(siteHost), &record)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the record of %s: %w", host, err)
	}
	id, _, _ := strings.Cut(record.Target, ".")
	if record.Host != l.name || !safeName(id) || record.Target != site.DistributionDomain(id) {
		return nil, fmt.Errorf("the record of %s names host %q and target %q", host, record.Host, record.Target)
	}
	l.distribution = strings.Clone(id)
	var distribution site.DistributionFile
	if err := l.settings.decode(c.layout.Distribution(id), &distribution); err != nil {
		return nil, fmt.Errorf("read distribution %s of %s: %w", id, host, err)
	}
	if !distribution.Enabled || distribution.Host != l.name && (l.label != "" || !record.Custom) {
		return nil, errNoSite
	}
	if record.Redirect != "" && l.label == "" {
		l.redirect, l.noPointer = record.Redirect, true
		return l, nil
	}
	if l.access, err = newAccess(host, l.distribution, distribution.Protection, l.label != ""); err != nil {
		return nil, fmt.Errorf("read distribution %s of %s: %w", id, host, err)
	}
	var pointer site.Pointer
	if err := l.pointer.decode(l.pointerFile(c.layout), &pointer); errors.Is(err, errNoSite) && l.label == "" {
		// Provisioned, never deployed. The file that was not read is never
		// current, so the next request looks again.
		return l, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the pointer of %s: %w", host, err)
	}
	if pointer.Deployment == uuid.Nil && l.label == "" {
		return l, nil
	}
	l.tree = site.Tree{Pipeline: pointer.Pipeline, Deployment: pointer.Deployment}
	if err := c.loadIndex(l, before); errors.Is(err, fs.ErrNotExist) && l.label != "" {
		return nil, errNoSite // its tree was given up
	} else if err != nil {
		return nil, fmt.Errorf("read the manifest of deployment %s of %s: %w", l.deployment(), host, err)
	}
	if l.credentials, err = newCredentials(id, l.index); err != nil {
		return nil, fmt.Errorf("read the passwords of deployment %s of %s: %w", l.deployment(), host, err)
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
	l.manifest, l.settled = identify(info), time.Since(info.ModTime()) > settling
	if before != nil && before.settled && before.tree == l.tree && before.manifest == l.manifest && !before.index.broken() {
		l.index = before.index
		return nil
	}
	d, ok := c.onDisk.Get(l.tree)
	if full := ok && c.hosts.Weight()+d.bytes > c.hosts.Max(); full && d.manifest == l.manifest && !d.index.broken() {
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

// decode watches a file and decodes its JSON. It returns errNoSite if the file
// does not exist.
func (w *watched) decode(path string, v any) error {
	content, err := w.watch(path)
	// A host may be longer than a file name; then there is no file.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG) {
		return errNoSite
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(content, v)
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
