package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// pipelinePurge removes assets that the site carries from earlier deployments:
// one file, the files in a folder, or all.
func (s *server) pipelinePurge(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Path string `json:"path"`
	}
	if err := decodeOptional(c, &body); err != nil {
		return err
	}
	path := strings.TrimPrefix(body.Path, "/")
	if file := strings.TrimSuffix(path, "/"); path != "" {
		if err := site.CheckPath(file); err != nil {
			return troy.Errorf(troy.Invalid, "%w", err).At("path")
		}
	}
	if err := s.checkPurge(c.Request.Context(), p, path); err != nil {
		return s.deps.Intake.Refused(c.Request.Context(), err)
	}
	if p, err = s.deps.Intake.Purge(c.Request.Context(), p.ID, path, who.Actor()); err != nil {
		return err
	}
	return s.replyPipeline(c, http.StatusAccepted, p)
}

// checkPurge returns an error if the live site keeps no file of an earlier
// deployment that a purge of path would remove: Conflict if the live deployment
// itself has such a file, else NotFound. Without a live site it returns nil.
func (s *server) checkPurge(ctx context.Context, p queries.Pipeline, path string) error {
	if path == "" || p.LiveDeploymentID == nil {
		return nil
	}
	live, err := s.q.DeploymentGet(ctx, *p.LiveDeploymentID)
	if err != nil {
		return fmt.Errorf("read the live deployment of %s: %w", p.ID, err)
	}
	m, err := s.deps.Store.Manifest(ctx, site.Tree{Pipeline: p.ID, Deployment: live.TreeID})
	if errors.Is(err, cloud.ErrNotFound) {
		return nil // the site is being deleted
	}
	if err != nil {
		return fmt.Errorf("read the live manifest of %s: %w", p.ID, err)
	}
	if slices.ContainsFunc(m.Carried, func(c site.Carried) bool { return site.Covers(path, c.Path) }) {
		return nil
	}
	if slices.ContainsFunc(m.Files, func(f site.File) bool { return site.Covers(path, f.Path) }) {
		return troy.Errorf(troy.Conflict, "%q is in the live deployment, and a purge removes only files of earlier ones; deploy without it, then purge it", troy.Clip(path)).At("path")
	}
	return troy.Errorf(troy.NotFound, "%s keeps no file %q of an earlier deployment; check the path", p.Slug, troy.Clip(path)).At("path")
}
