package workers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/thumbnail"
)

// ThumbnailSlots is how many pictures a process takes at a time.
const ThumbnailSlots = 1

// thumbnail takes a picture of what a pipeline's site shows. A failure concerns
// the picture alone.
func (w *Workers) thumbnail(ctx context.Context, c *claim) error {
	if w.deps.Thumbnail == nil {
		return nil
	}
	p, err := w.pipeline(ctx, c)
	if err != nil {
		return err
	}
	if p.LiveDeploymentID == nil || p.Status.InDeletion() {
		return nil
	}
	host, err := w.q.PipelineHost(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the host: %w", err)
	}
	live, err := w.q.DeploymentGet(ctx, *p.LiveDeploymentID)
	if err != nil {
		return fmt.Errorf("read the live deployment: %w", err)
	}
	answers, err := w.answersOf(ctx, site.Tree{Pipeline: p.ID, Deployment: live.TreeID})
	if err != nil {
		return err
	}
	picture, err := w.deps.Thumbnail(ctx, host, answers)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(picture)
	n, err := w.q.ThumbnailSet(ctx, queries.ThumbnailSetParams{
		PipelineID: p.ID, DeploymentID: live.ID, Image: picture, Version: hex.EncodeToString(sum[:8]), Epoch: c.epoch,
	})
	if err != nil {
		return fmt.Errorf("store the picture: %w", err)
	}
	if n == 0 {
		return errMoved
	}
	c.log.Info("took a picture of the site", "pipeline", p.ID, "deployment", live.ID, "bytes", len(picture))
	return nil
}

// answersOf answers the requests of a page with the files of a tree.
func (w *Workers) answersOf(ctx context.Context, tree site.Tree) (thumbnail.Answers, error) {
	m, err := w.deps.Cloud.Store.Manifest(ctx, tree)
	if err != nil {
		return nil, fmt.Errorf("read the live manifest: %w", err)
	}
	files := make(map[string]site.File, len(m.Files))
	for _, f := range m.Files {
		files[f.Path] = f
	}
	paths, policy := site.NewPathSet(m.Files), m.TrailingSlash
	return func(ctx context.Context, path string) (thumbnail.Answer, error) {
		answer, status := policy.Resolve(paths, path), http.StatusOK
		switch {
		case answer.Redirect:
			return thumbnail.Answer{Status: http.StatusMovedPermanently, Location: answer.Address()}, nil
		case answer.Path == "":
			answer.Path, status = "404.html", http.StatusNotFound
		}
		f, ok := files[answer.Path]
		if !ok {
			return thumbnail.Answer{Status: http.StatusNotFound}, nil
		}
		body, err := w.deps.Cloud.Store.Read(ctx, tree, f)
		if err != nil {
			return thumbnail.Answer{}, fmt.Errorf("read %s: %w", f.Path, err)
		}
		return thumbnail.Answer{Status: status, Type: site.ContentType(f.Path), Body: body}, nil
	}, nil
}

// giveUpThumbnail keeps the earlier picture. The next deployment requests
// another one.
func (w *Workers) giveUpThumbnail(ctx context.Context, c *claim, cause string) error {
	c.log.Warn("no picture of the site could be taken", "pipeline", c.task.Subject, "cause", cause)
	_, err := w.q.WorkFinish(ctx, queries.WorkFinishParams{
		Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch, Requested: c.requested,
	})
	return err
}
