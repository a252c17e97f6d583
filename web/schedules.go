package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

type scheduleJSON struct {
	Cron   string     `json:"cron"`
	Zone   string     `json:"zone"`
	NextAt time.Time  `json:"next_at"`
	LastAt *time.Time `json:"last_at,omitempty"`
	// Problem says why the last time made no deployment.
	Problem string    `json:"problem,omitempty"`
	SetBy   string    `json:"set_by"`
	SetAt   time.Time `json:"set_at"`
}

func scheduleOf(r queries.Schedule) scheduleJSON {
	return scheduleJSON{r.Cron, r.Zone, r.NextAt.UTC(), utc(r.LastAt), r.Problem, r.SetBy, r.SetAt.UTC()}
}

// schedulesOf reads the schedules of pipelines.
func (s *server) schedulesOf(ctx context.Context, pipelines []uuid.UUID) (map[uuid.UUID]*scheduleJSON, error) {
	rows, err := s.q.SchedulesOf(ctx, pipelines)
	if err != nil {
		return nil, fmt.Errorf("read the schedules of pipelines: %w", err)
	}
	out := make(map[uuid.UUID]*scheduleJSON, len(rows))
	for _, r := range rows {
		j := scheduleOf(r)
		out[r.PipelineID] = &j
	}
	return out, nil
}

func (s *server) scheduleGet(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	row, err := s.q.ScheduleGet(ctx, p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.NotFound, "the pipeline %s has no schedule", p.Slug)
	}
	if err != nil {
		return fmt.Errorf("read the schedule of pipeline %s: %w", p.ID, err)
	}
	reply.JSON(c.Writer, http.StatusOK, scheduleOf(row))
	return nil
}

func (s *server) scheduleSet(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	var body struct {
		Cron string `json:"cron"`
		Zone string `json:"zone"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	row, err := s.deps.Intake.SetSchedule(ctx, p.ID, body.Cron, body.Zone, who.Actor())
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, scheduleOf(row))
	return nil
}

func (s *server) scheduleRemove(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return err
	}
	if err := s.deps.Intake.RemoveSchedule(ctx, p.ID, who.Actor()); err != nil {
		return err
	}
	c.Writer.WriteHeader(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}
