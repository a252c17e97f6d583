package web

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

type eventJSON struct {
	PipelineID   uuid.UUID    `json:"pipeline_id"`
	Version      int64        `json:"version"`
	From         *troy.Status `json:"from,omitempty"`
	To           troy.Status  `json:"to"`
	ToName       string       `json:"to_name"`
	Cause        string       `json:"cause,omitempty"`
	Actor        string       `json:"actor"`
	DeploymentID *uuid.UUID   `json:"deployment_id,omitempty"`
	Time         time.Time    `json:"time"`
}

func (s *server) eventList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	after, err := pg.number()
	if err != nil {
		return err
	}
	id, err := s.eventPipeline(c, who)
	if err != nil {
		return err
	}
	args := queries.EventListParams{PipelineID: id, PageLimit: pg.limit + 1}
	if after != nil {
		args.After = *after
	}
	rows, err := s.q.EventList(ctx, args)
	if err != nil {
		return fmt.Errorf("list events of %s: %w", id, err)
	}
	if len(rows) == 0 && args.After == 0 {
		return noPipeline(c.Param("pipeline"))
	}
	rows, more := cut(rows, pg)
	answer := struct {
		Events []eventJSON `json:"events"`
		Next   string      `json:"next,omitempty"`
	}{Events: make([]eventJSON, 0, len(rows))}
	for _, e := range rows {
		answer.Events = append(answer.Events, eventJSON{
			PipelineID: e.PipelineID, Version: e.Version, From: e.FromStatus, To: e.ToStatus, ToName: e.ToStatus.String(),
			Cause: e.Cause, Actor: e.Actor, DeploymentID: e.DeploymentID, Time: e.Time.UTC(),
		})
	}
	if more {
		answer.Next = strconv.FormatInt(rows[len(rows)-1].Version, 10)
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// eventPipeline returns the id of the path's pipeline. If the pipeline was
// deleted, its events say which one had the slug last.
func (s *server) eventPipeline(c *gin.Context, who caller) (uuid.UUID, error) {
	return s.findEventPipeline(c, who, c.Param("pipeline"))
}

func (s *server) findEventPipeline(c *gin.Context, who caller, ref string) (uuid.UUID, error) {
	ctx := c.Request.Context()
	p, err := s.findPipeline(ctx, ref)
	id := p.ID
	if errors.Is(err, pgx.ErrNoRows) {
		var ok bool
		if id, ok = parseID(ref); ok {
			err = nil
		} else if troy.CheckSlug(ref) == nil {
			id, err = s.q.EventPipelineBySlug(ctx, ref)
		}
	}
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !who.Sees(id) {
		return uuid.Nil, noPipeline(ref)
	}
	if err != nil {
		return uuid.Nil, fmt.Errorf("find pipeline %q: %w", troy.Clip(ref), err)
	}
	note(ctx).pipeline = id.String()
	return id, nil
}
