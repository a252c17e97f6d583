package main

import (
	"context"
	"fmt"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

// maxChanges is the maximum number of changes to list without --json.
const maxChanges = 20

// wouldChange prints how a release would change the live site. It sends
// nothing.
func (a *app) wouldChange(ctx context.Context, c *client.Client, p client.Pipeline, path string, o releaseOptions) error {
	live := "none"
	if p.LiveDeploymentID != nil {
		live = p.LiveDeploymentID.String()
	}
	if expect, err := expectation(ctx, c, o.pipeline.text, o.expectLive); err != nil {
		return err
	} else if expect != "" && expect != live {
		return otherLive(ctx, c, o.pipeline.text, o.expectLive, troy.Errorf(troy.Moved, "another deployment is live"))
	}
	progress := a.newProgress()
	defer progress.stop()
	c.Away = progress.away
	source, err := a.read(ctx, progress, path, o.guard)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	progress.stop()
	o.guard.yes = true // the question is about what is sent
	if err := a.inspect(ctx, path, source, o.guard); err != nil {
		return err
	}
	if _, err := a.checkRules(path, source, o.strict); err != nil {
		return err
	}
	before, with, err := liveFiles(ctx, c, p)
	if err != nil {
		return err
	}
	limit := maxChanges
	if a.json {
		limit = len(before) + len(source.Files)
	}
	d, changes, _ := site.Compare(before, source.Files, "", limit)
	if a.json {
		if changes == nil {
			changes = []site.Change{}
		}
		return a.printJSON(struct {
			With *int64 `json:"with"` // nil if nothing is live
			site.Difference
			Changes []site.Change `json:"changes"`
		}{with, d, changes})
	}
	a.printChanges(changes)
	if more := d.Added.Files + d.Changed.Files + d.Removed.Files - len(changes); more > 0 {
		_, _ = fmt.Fprintf(a.err, "… and %s; --json lists all.\n", troy.Count(more, "other change", "other changes"))
	}
	than := "Nothing is live"
	if with != nil {
		than = fmt.Sprintf("Compared with deployment %d, which is live", *with)
	}
	_, err = fmt.Fprintf(a.err, "%s.\n%s. Nothing was sent.\n", sums(d), than)
	return err
}

// liveFiles returns the files of the live deployment and its number, or nil.
func liveFiles(ctx context.Context, c *client.Client, p client.Pipeline) ([]site.File, *int64, error) {
	if p.LiveDeploymentID == nil {
		return nil, nil, nil
	}
	d, err := c.Deployment(ctx, p.ID.String(), *p.LiveDeploymentID)
	if err != nil {
		return nil, nil, err
	}
	var files []site.File
	for f, err := range c.Files(ctx, p.ID.String(), d.ID, nil) {
		if err != nil {
			return nil, nil, err
		}
		if f.SHA256 != nil {
			files = append(files, site.File{Path: f.Path, SHA256: *f.SHA256, Size: f.Size})
		}
	}
	return files, &d.Number, nil
}
