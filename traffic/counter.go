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
}

// Seen is a response. Path and Referrer need not be clean.
type Seen struct {
	Path, Referrer string
	Status         int
	Bytes          int64
}

// Add counts a response of a site.
func (c *Counter) Add(pipeline uuid.UUID, seen Seen) {
	c.mu.Lock()
	s := c.sites[pipeline]
	if s == nil {
		if len(c.sites) >= maxSites {
			c.skipped++
			c.mu.Unlock()
			return
		}
		s = &Site{paths: newTop[string](4 * maxPaths), missing: newTop[[2]string](4 * maxMissing)}
		c.sites[pipeline] = s
	}
	c.mu.Unlock()
	s.add(seen)
}

func (s *Site) add(seen Seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Requests++
	s.total.Bytes += seen.Bytes
	switch {
	case seen.Status >= 500:
		s.total.Errors++
	case seen.Status == 404 || seen.Status == 410:
		s.total.NotFound++
		s.missing.add([2]string{clip(seen.Path), referrer(seen.Referrer)}, Count{Requests: 1}, 0)
		return
	}
	s.paths.add(clip(seen.Path), Count{1, seen.Bytes}, 0)
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

// Flush writes what was counted since the last call.
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
	if err := c.write(ctx, sites); err != nil {
		c.log.WarnContext(ctx, "can't write the counts of requests", "sites", len(sites), "error", err)
	}
}

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
		// A site that was removed meanwhile has no folder.
		if err := s.write(c.folder(pipeline), now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (s *Site) write(folder string, now time.Time) error {
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	file := filepath.Join(folder, now.UTC().Format(Day)+".json")
	r, err := readDay(file)
	// A damaged file is replaced: its counts are lost anyway.
	damaged := err != nil && !errors.Is(err, fs.ErrNotExist)
	s.mu.Lock()
	r.add(Report{Total: s.total, Paths: pathsOf(s.paths), Missing: missingOf(s.missing)})
	s.mu.Unlock()
	if writeErr := writeDay(file, r); writeErr != nil {
		return writeErr
	}
	if damaged {
		return err
	}
	return removeOld(folder, now)
}
