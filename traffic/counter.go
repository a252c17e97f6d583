package traffic

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/files"
)

const (
	// interval is how often counts are written. A crash loses at most as much.
	interval = time.Minute
	// maxSites is the maximum number of sites whose requests are counted in one
	// interval. Requests to further ones are not counted.
	maxSites = 20_000
)

// Counter counts requests in memory and adds them to the sites' files at
// intervals. It is safe for concurrent use.
type Counter struct {
	folder func(pipeline uuid.UUID) string
	lock   string
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	sites   map[uuid.UUID]*Site
	skipped int64
}

// NewCounter returns a Counter. folder returns a site's folder for counts; its
// parent must exist. lock is a file that all edges on the same folders lock.
func NewCounter(folder func(pipeline uuid.UUID) string, lock string, log *slog.Logger) *Counter {
	return &Counter{folder: folder, lock: lock, now: time.Now, log: log, sites: make(map[uuid.UUID]*Site)}
}

// Site counts the requests of one site in one interval.
type Site struct {
	mu      sync.Mutex
	total   Total
	paths   *top[string]
	missing *top[[2]string]
	// closed means that the counts were written or moved.
	closed bool
}

func newSite() *Site {
	return &Site{paths: newTop[string](4 * maxPaths), missing: newTop[[2]string](4 * maxMissing)}
}

// Seen is a response. Path and Referrer need not be clean.
type Seen struct {
	Path, Referrer string
	Status         int
	Bytes          int64
}

// Add counts a response of a site.
func (c *Counter) Add(pipeline uuid.UUID, seen Seen) {
	for {
		s := c.site(pipeline)
		if s == nil || s.add(seen) {
			return
		}
	}
}

// site returns a site's counts, or nil if too many sites have some.
func (c *Counter) site(pipeline uuid.UUID) *Site {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sites[pipeline]
	if s == nil {
		if len(c.sites) >= maxSites {
			c.skipped++
			return nil
		}
		s = newSite()
		c.sites[pipeline] = s
	}
	return s
}

// add counts a response. It returns false if Flush took the counts meanwhile;
// then the counter has new ones.
func (s *Site) add(seen Seen) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.total.Requests++
	s.total.Bytes += seen.Bytes
	switch {
	case seen.Status >= 500:
		s.total.Errors++
	case seen.Status == 404 || seen.Status == 410:
		s.total.NotFound++
		s.missing.add([2]string{clip(seen.Path), referrer(seen.Referrer)}, Count{Requests: 1}, 0)
		return true
	}
	s.paths.add(clip(seen.Path), Count{1, seen.Bytes}, 0)
	return true
}

func (s *Site) report() Report {
	return Report{Total: s.total, Paths: pathsOf(s.paths), Missing: missingOf(s.missing)}
}

// referrer returns the host and the path of a referrer, without what may be
// secret.
func referrer(text string) string {
	if text == "" || len(text) > 4096 {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	return clip(u.Host + u.EscapedPath())
}

// Run writes counts at intervals until ctx is done, and then once more.
func (c *Counter) Run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.Flush(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			c.Flush(last)
			return
		}
	}
}

// Flush writes what was counted since the last call. What can't be written is
// written by the next call.
func (c *Counter) Flush(ctx context.Context) {
	c.mu.Lock()
	sites, skipped := c.sites, c.skipped
	c.sites, c.skipped = make(map[uuid.UUID]*Site), 0
	c.mu.Unlock()
	if skipped > 0 {
		c.log.WarnContext(ctx, "requests were not counted, because too many sites had some", "requests", skipped)
	}
	if len(sites) == 0 {
		return
	}
	for _, s := range sites {
		s.close()
	}
	if err := c.write(ctx, sites); err != nil {
		c.log.WarnContext(ctx, "can't write the counts of requests", "sites", len(sites), "error", err)
		for pipeline, s := range sites {
			for {
				if to := c.site(pipeline); to == nil || to.merge(s) {
					break
				}
			}
		}
	}
}

// close ends the counting, so that the counts can be read without a lock.
func (s *Site) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// merge adds the counts of a closed site. It returns false as add does.
func (s *Site) merge(o *Site) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.total.add(o.total)
	for _, e := range o.paths.heap {
		s.paths.add(e.key, e.count, e.over)
	}
	for _, e := range o.missing.heap {
		s.missing.add(e.key, e.count, e.over)
	}
	return true
}

// write writes counts, and removes those that it has written from sites.
func (c *Counter) write(ctx context.Context, sites map[uuid.UUID]*Site) error {
	release, err := files.Lock(ctx, c.lock, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the sites' folder was removed
	}
	if err != nil {
		return err
	}
	defer release()
	now := c.now()
	var problems []error
	for pipeline, s := range sites {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(problems, err)...)
		}
		written, err := s.write(c.folder(pipeline), now)
		// A site that was removed meanwhile has no folder.
		removed := errors.Is(err, fs.ErrNotExist)
		if err != nil && !removed {
			problems = append(problems, err)
		}
		if written || removed {
			delete(sites, pipeline)
		}
	}
	return errors.Join(problems...)
}

// write adds the counts to the file of the day. It may return an error though
// they were written.
func (s *Site) write(folder string, now time.Time) (written bool, err error) {
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	file := filepath.Join(folder, now.UTC().Format(Day)+".json")
	r, err := readDay(file)
	// A damaged file is replaced: its counts are lost anyway.
	damaged := err != nil && !errors.Is(err, fs.ErrNotExist)
	r.Add(s.report())
	if writeErr := writeDay(file, r); writeErr != nil {
		return false, writeErr
	}
	if damaged {
		return true, err
	}
	return true, removeOld(folder, now)
}
