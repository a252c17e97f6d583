package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web/reply"
)

type pipelineJSON struct {
	ID               uuid.UUID     `json:"id"`
	AppID            string        `json:"app_id"`
	Name             string        `json:"name"`
	Slug             string        `json:"slug"`
	Status           troy.Status   `json:"status"`
	StatusName       string        `json:"status_name"`
	Cause            string        `json:"cause,omitempty"`
	URL              string        `json:"url"`
	Host             string        `json:"host"`
	LiveDeploymentID *uuid.UUID    `json:"live_deployment_id,omitempty"`
	QueuePosition    *int64        `json:"queue_position,omitempty"`
	Lock             *lockJSON     `json:"lock,omitempty"`
	Schedule         *scheduleJSON `json:"schedule,omitempty"`
	Deletion         *deletionJSON `json:"deletion,omitempty"`
	Live             *briefJSON    `json:"live,omitempty"`
	Next             *briefJSON    `json:"next,omitempty"`
	source
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// lockJSON is a pipeline's lock with its author and reason.
type lockJSON struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// deletionJSON is the request to delete a pipeline. It can be undone until
// DueAt, and no more if that is nil.
type deletionJSON struct {
	By    string     `json:"by"`
	At    time.Time  `json:"at"`
	DueAt *time.Time `json:"due_at,omitempty"`
}

func deletionOf(p queries.Pipeline) *deletionJSON {
	if p.DeleteAskedAt == nil || !p.Status.InDeletion() {
		return nil
	}
	d := &deletionJSON{By: p.DeleteAskedBy, At: p.DeleteAskedAt.UTC()}
	if p.DeleteDueAt != nil {
		due := p.DeleteDueAt.UTC()
		d.DueAt = &due
	}
	return d
}

// describe converts rows into the API's pipelines: with their hosts and, for
// those that wait for a worker, their places in the queue.
func (s *server) describe(ctx context.Context, rows ...queries.Pipeline) ([]pipelineJSON, error) {
	ids, waiting := []uuid.UUID{}, []uuid.UUID{}
	for _, p := range rows {
		ids = append(ids, p.ID)
		if p.Status == troy.Queued || p.Status == troy.ProvisionRequest {
			waiting = append(waiting, p.ID)
		}
	}
	hosts, addresses := map[uuid.UUID]string{}, map[uuid.UUID]string{}
	found, err := s.q.PipelineAddresses(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read the hosts of pipelines: %w", err)
	}
	for _, h := range found {
		hosts[h.PipelineID], addresses[h.PipelineID] = h.Own, h.Host
	}
	places := []queries.WorkPositionsRow{}
	if len(waiting) > 0 {
		kinds, queues := tasks.Queues()
		if places, err = s.q.WorkPositions(ctx, queries.WorkPositionsParams{PipelineIds: waiting, Kinds: kinds, Queues: queues}); err != nil {
			return nil, fmt.Errorf("read places in the queue: %w", err)
		}
	}
	briefs, err := s.briefs(ctx, ids)
	if err != nil {
		return nil, err
	}
	schedules, err := s.schedulesOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]pipelineJSON, 0, len(rows))
	for _, p := range rows {
		j := pipelineJSON{
			ID: p.ID, Name: p.Name, Slug: p.Slug, Status: p.Status, StatusName: p.Status.String(), Cause: p.Cause,
			Host: hosts[p.ID], URL: s.siteURL(addresses[p.ID]), LiveDeploymentID: p.LiveDeploymentID,
			CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(), Deletion: deletionOf(p),
		}
		j.Schedule = schedules[p.ID]
		j.Live, j.Next = briefs[p.ID].live, briefs[p.ID].next
		if p.AppID != nil {
			j.AppID = *p.AppID
		}
		if p.LockedAt != nil {
			j.Lock = &lockJSON{By: p.LockedBy, Reason: p.LockReason, At: p.LockedAt.UTC()}
		}
		if j.source, err = sourceOf(p); err != nil {
			return nil, err
		}
		for _, place := range places {
			if place.PipelineID == p.ID && slices.Contains(tasks.OfStatus(p.Status), place.Kind) {
				j.QueuePosition = &place.Position
			}
		}
		out = append(out, j)
	}
	return out, nil
}

func (s *server) replyPipeline(c *gin.Context, status int, p queries.Pipeline) error {
	list, err := s.describe(c.Request.Context(), p)
	if err != nil {
		return err
	}
	note(c.Request.Context()).pipeline = p.ID.String()
	reply.JSON(c.Writer, status, list[0])
	return nil
}

func (s *server) pipelineList(c *gin.Context, who caller) error {
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	status := c.Query("status")
	if status != "" {
		if _, err := troy.ParseStatus(status); err != nil {
			return troy.Errorf(troy.Invalid, "the status %q is unknown", troy.Clip(status)).At("status")
		}
	}
	before, err := pg.before()
	if err != nil {
		return err
	}
	rows, err := s.pipelineRows(c.Request.Context(), who, status, before, pg.limit+1)
	if err != nil {
		return fmt.Errorf("list pipelines: %w", err)
	}
	rows, more := cut(rows, pg)
	list, err := s.describe(c.Request.Context(), rows...)
	if err != nil {
		return err
	}
	answer := struct {
		Pipelines []pipelineJSON `json:"pipelines"`
		Next      string         `json:"next,omitempty"`
	}{Pipelines: list}
	if more {
		answer.Next = rows[len(rows)-1].ID.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// pipelineRows reads a page of the pipelines that a caller sees, of one status or,
// if it is empty, of all.
func (s *server) pipelineRows(ctx context.Context, who caller, status string, before uuid.UUID, limit int32) ([]queries.Pipeline, error) {
	switch {
	case who.Pipelines != nil:
		args := queries.PipelineListOfParams{Ids: who.Pipelines, Before: before, PageLimit: limit}
		if status != "" {
			args.Status = &status
		}
		return s.q.PipelineListOf(ctx, args)
	case status != "":
		return s.q.PipelineListOfStatus(ctx, queries.PipelineListOfStatusParams{Status: status, Before: before, PageLimit: limit})
	}
	return s.q.PipelineList(ctx, before, limit)
}

func (s *server) pipelineCreate(c *gin.Context, who caller) error {
	if err := who.MustAll("only someone with access to all can make others"); err != nil {
		return err
	}
	var body struct {
		Name      string `json:"name"`
		Slug      string `json:"slug"`
		AppID     string `json:"app_id"`
		Provision *bool  `json:"provision"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	p, err := s.deps.Intake.CreatePipeline(c.Request.Context(), intake.NewPipeline{
		Name: body.Name, Slug: body.Slug, AppID: body.AppID, Provision: body.Provision == nil || *body.Provision,
	}, who.Actor())
	if err != nil {
		return err
	}
	c.Header("Location", "/v1/pipelines/"+p.ID.String())
	return s.replyPipeline(c, http.StatusCreated, p)
}

func (s *server) pipelineGet(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	return s.replySettings(c, p)
}

func (s *server) pipelineProvision(c *gin.Context, who caller) error {
	return s.ask(c, who, s.deps.Intake.RequestProvision)
}

func (s *server) pipelineDelete(c *gin.Context, who caller) error {
	switch now := c.Query("now"); now {
	case "", "false":
		return s.ask(c, who, s.deps.Intake.ScheduleDeletion)
	case "true":
		return s.ask(c, who, s.deps.Intake.DeleteNow)
	default:
		return troy.Errorf(troy.Invalid, "it is %q; expected true or false", troy.Clip(now)).At("now")
	}
}

func (s *server) pipelineRestore(c *gin.Context, who caller) error {
	return s.ask(c, who, s.deps.Intake.Restore)
}

func (s *server) pipelineLock(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Reason string `json:"reason"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if p, err = s.deps.Intake.Lock(c.Request.Context(), p.ID, body.Reason, who.Actor()); err != nil {
		return err
	}
	return s.replyPipeline(c, http.StatusOK, p)
}

func (s *server) pipelineUnlock(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	if err := decodeOptional(c, &struct{}{}); err != nil {
		return err
	}
	if p, err = s.deps.Intake.Unlock(c.Request.Context(), p.ID, who.Actor()); err != nil {
		return err
	}
	return s.replyPipeline(c, http.StatusOK, p)
}

// ask makes intake move the path's pipeline.
func (s *server) ask(c *gin.Context, who caller, f func(context.Context, uuid.UUID, string) (queries.Pipeline, error)) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	if err := decodeOptional(c, &struct{}{}); err != nil {
		return err
	}
	if p, err = f(c.Request.Context(), p.ID, who.Actor()); err != nil {
		return err
	}
	return s.replyPipeline(c, http.StatusAccepted, p)
}
