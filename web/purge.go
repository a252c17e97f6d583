package web

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
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
	if p, err = s.deps.Intake.Purge(c.Request.Context(), p.ID, path, who.Actor()); err != nil {
		return err
	}
	return s.replyPipeline(c, http.StatusAccepted, p)
}
