package web

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy/web/reply"
)

type cacheJSON struct {
	Scope   string    `json:"scope"`
	Manager string    `json:"manager"`
	Bytes   int64     `json:"bytes"`
	UsedAt  time.Time `json:"used_at"`
	Copies  int64     `json:"copies"`
}

// cacheList lists the dependency caches of a pipeline's builds.
func (s *server) cacheList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	rows, err := s.q.BuildCacheList(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("list the caches of pipeline %s: %w", p.ID, err)
	}
	list := make([]cacheJSON, len(rows))
	for i, r := range rows {
		list[i] = cacheJSON{Scope: cmp.Or(r.Scope, "site"), Manager: r.Manager, Bytes: r.Bytes, UsedAt: r.UsedAt.UTC(), Copies: r.Copies}
	}
	reply.JSON(c.Writer, http.StatusOK, map[string]any{"caches": list})
	return nil
}

// cacheClear makes the next builds start without a cache.
func (s *server) cacheClear(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	if err := s.deps.Intake.ClearCaches(ctx, p.ID, who.Actor()); err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}
