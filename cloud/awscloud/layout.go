package awscloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// layout says which keys the files of a sealed tree have. Until it is sealed,
// each has one (addresses.key).
type layout int

const (
	// twoPerPage: the fileKey, and for pages the canonicalKey if no other file
	// has it. The trees of versions before onePerPage have this layout.
	twoPerPage layout = iota
	// onePerPage: the pageKey. The pointer tells the viewer-request function.
	onePerPage
	// fileNames: the fileKey.
	fileNames
)

// layoutOf returns the layout for a tree's files and rules. With onePerPage,
// sealing copies no file that was sent.
func layoutOf(files []site.File, own *addresses, plan rules.FunctionPlan) layout {
	if plan.FileNames {
		return fileNames
	}
	for _, o := range plan.Objects {
		// Such a redirect would have the key of another address.
		if strings.HasSuffix(o.Path, ".html") {
			return twoPerPage
		}
	}
	for _, f := range files {
		if own.one && (canonicalKey(f.Path) != "" || pageKey(f.Path) != fileKey(f.Path)) {
			return onePerPage
		}
	}
	return twoPerPage // with the same keys, it needs no mark
}

// pagesKey is the key of the mark that all functions know onePerPage.
const pagesKey = "manifests/pages"

// changedKey is the key of the time at which an upkeep changed functions or
// distributions, until the mark exists.
const changedKey = "manifests/changed"

// spread is how long a change of a function or a distribution may take to reach
// all of CloudFront's edges.
const spread = 10 * time.Minute

// markPages records that all functions know onePerPage, if no upkeep has changed
// any lately. Each process does an upkeep when it starts, so the upkeep before may
// be seconds old.
func (c *CDN) markPages(ctx context.Context, changed bool) error {
	tag, err := c.work.tag(ctx, pagesKey)
	if err != nil || tag != "" {
		return err
	}
	if changed {
		return c.work.Put(ctx, changedKey, []byte(time.Now().UTC().Format(time.RFC3339)), "text/plain", false)
	}
	text, err := c.work.Get(ctx, changedKey, 100)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
	case err != nil:
		return err
	default:
		at, err := time.Parse(time.RFC3339, string(text))
		if err != nil {
			return fmt.Errorf("read %s: %w", changedKey, err)
		}
		if time.Since(at) < spread {
			return nil
		}
	}
	if err := c.work.Put(ctx, pagesKey, nil, "text/plain", true); err != nil && !errors.Is(err, cloud.ErrPrecondition) {
		return err
	}
	return c.work.Remove(ctx, changedKey)
}

// knowsPages reports whether all functions know onePerPage.
func (s *Store) knowsPages(ctx context.Context) (bool, error) {
	if s.pages.Load() {
		return true, nil
	}
	tag, err := s.work.tag(ctx, pagesKey)
	if err == nil && tag != "" {
		s.pages.Store(true)
	}
	return tag != "", err
}

// mayHaveOne reports whether a tree that is being sealed may have onePerPage.
func (s *Store) mayHaveOne(ctx context.Context, t site.Tree, sealed bool) (bool, error) {
	if !sealed {
		return s.knowsPages(ctx)
	}
	// It may be live, so it keeps the layout that its pointer names.
	served, err := readServed(ctx, s.work, t)
	return served.Pages == 1, err
}

// keysOf returns a function that returns the keys under which a sealed tree with
// this manifest may have a file: one of them is right, the others don't exist.
func keysOf(m site.Manifest) func(p string) ([]string, error) {
	var l layout
	known := false
	return func(p string) ([]string, error) {
		page, file := pageKey(p), fileKey(p)
		if page == file {
			return []string{file}, nil
		}
		if !known {
			plan, err := functionPlan(m)
			if err != nil {
				return nil, err
			}
			l, known = layoutOf(m.Files, addressesOf(m), plan), true
		}
		if l == onePerPage {
			return []string{page, file}, nil // it may be older than this layout
		}
		return []string{file}, nil
	}
}

// fileKey returns the key that every file has.
func (l layout) fileKey(p string) string {
	if l == onePerPage {
		return pageKey(p)
	}
	return fileKey(p)
}

// objectKey returns the key of a redirect that is an object.
func (l layout) objectKey(path string) string {
	return l.fileKey(rules.FunctionKey(path))
}
