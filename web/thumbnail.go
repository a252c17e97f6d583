package web

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
)

// pipelineThumbnail answers with the picture of a pipeline's site.
func (s *server) pipelineThumbnail(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	t, err := s.q.ThumbnailGet(c.Request.Context(), p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.NotFound, "there is no picture of the site of the pipeline %s", p.Slug)
	}
	if err != nil {
		return fmt.Errorf("read the thumbnail of pipeline %s: %w", p.ID, err)
	}
	c.Header("ETag", `"`+t.Version+`"`)
	c.Header("Content-Type", "image/jpeg")
	c.Header("Cache-Control", "private, no-cache")
	http.ServeContent(c.Writer, c.Request, "", time.Time{}, bytes.NewReader(t.Image))
	return nil
}
