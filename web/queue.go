package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web/reply"
)

// maxRunning is the maximum number of running tasks to list. It is far above the
// number of workers.
const maxRunning = 1000

// The states of outstanding work.
const (
	workRunning = "running" // a worker holds it
	workWaiting = "waiting" // it is due
	workFailing = "failing" // the last attempt failed, and the next is to come
	workLater   = "later"   // it is due later
)

// workJSON is a task that is not done yet.
type workJSON struct {
	Kind       string     `json:"kind"`
	Queue      string     `json:"queue"`
	SubjectID  uuid.UUID  `json:"subject_id"`
	PipelineID *uuid.UUID `json:"pipeline_id,omitempty"`
	Pipeline   string     `json:"pipeline,omitempty"`
	Number     *int64     `json:"number,omitempty"` // of the deployment
	State      string     `json:"state"`
	Why        string     `json:"why"`
	Position   *int64     `json:"position,omitempty"`
	Attempts   int32      `json:"attempts"`
	Cause      string     `json:"cause,omitempty"`
	Since      time.Time  `json:"since"`
	DueAt      time.Time  `json:"due_at"`
	LeaseUntil *time.Time `json:"lease_until,omitempty"`
}

func (s *server) queueList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	after, err := pg.place(place{at: time.Unix(0, 0)})
	if err != nil {
		return err
	}
	only, err := s.onlyPipelines(c, who)
	if err != nil {
		return err
	}
	answer := struct {
		Queue []workJSON `json:"queue"`
		Next  string     `json:"next,omitempty"`
	}{Queue: []workJSON{}}
	if pg.after == "" {
		rows, err := s.q.QueueRunning(ctx, only, maxRunning)
		if err != nil {
			return fmt.Errorf("list the running work: %w", err)
		}
		for _, r := range rows {
			j := s.describeWork(queries.QueueWaitingRow{
				Kind: r.Kind, SubjectID: r.SubjectID, DueAt: r.DueAt, Since: r.Since, Attempt: r.Attempt, Cause: r.Cause, Rung: r.Rung,
				PipelineID: r.PipelineID, Slug: r.Slug, DeploymentNumber: r.DeploymentNumber,
			}, who)
			j.State, j.Why, j.LeaseUntil = workRunning, "a worker is at it", utc(r.LeaseUntil)
			answer.Queue = append(answer.Queue, j)
		}
	}
	rows, err := s.waitingWork(ctx, only, after, pg.limit+1)
	if err != nil {
		return fmt.Errorf("list the waiting work: %w", err)
	}
	rows, more := cut(rows, pg)
	waiting := make([]workJSON, 0, len(rows))
	for _, r := range rows {
		waiting = append(waiting, s.describeWork(r, who))
	}
	if err := s.placeWork(ctx, waiting); err != nil {
		return err
	}
	answer.Queue = append(answer.Queue, waiting...)
	if more {
		last := rows[len(rows)-1]
		answer.Next = place{last.DueAt, last.SubjectID, last.Kind}.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

func (s *server) waitingWork(ctx context.Context, only []uuid.UUID, after place, limit int32) ([]queries.QueueWaitingRow, error) {
	if only == nil {
		return s.q.QueueWaiting(ctx, queries.QueueWaitingParams{Kinds: tasks.Kinds(), AfterTime: after.at, AfterID: after.id, AfterKind: after.last, PageLimit: limit})
	}
	rows, err := s.q.QueueOf(ctx, queries.QueueOfParams{PipelineIds: only, AfterTime: after.at, AfterID: after.id, AfterKind: after.last, PageLimit: limit})
	out := make([]queries.QueueWaitingRow, len(rows))
	for i, r := range rows {
		out[i] = queries.QueueWaitingRow(r)
	}
	return out, err
}

// describeWork describes a row. Causes name parts of the installation, and so
// are shown to admins alone.
func (s *server) describeWork(r queries.QueueWaitingRow, who caller) workJSON {
	j := workJSON{
		Kind: r.Kind, Queue: tasks.QueueOf(r.Kind), SubjectID: r.SubjectID, Pipeline: r.Slug,
		Attempts: r.Attempt, Since: r.Since.UTC(), DueAt: r.DueAt.UTC(),
	}
	if who.Role.May(credentials.Admin) {
		j.Cause = r.Cause
	}
	if r.PipelineID != uuid.Nil {
		j.PipelineID = &r.PipelineID
	}
	if r.DeploymentNumber > 0 {
		j.Number = &r.DeploymentNumber
	}
	due := !r.DueAt.After(s.now())
	switch {
	case r.Attempt > 0 && r.Cause != "":
		j.State, j.Why = workFailing, "the last attempt failed"
	case due && r.Rung:
		j.State, j.Why = workWaiting, "a worker was called"
	case due:
		j.State, j.Why = workWaiting, "all workers of the queue are busy"
	default:
		j.State, j.Why = workLater, "it is due later"
	}
	return j
}

// placeWork adds the positions of waiting work.
func (s *server) placeWork(ctx context.Context, list []workJSON) error {
	ids := []uuid.UUID{}
	for _, w := range list {
		if w.State == workWaiting && w.PipelineID != nil {
			ids = append(ids, *w.PipelineID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	kinds, queues := tasks.Queues()
	places, err := s.q.WorkPositions(ctx, queries.WorkPositionsParams{PipelineIds: ids, Kinds: kinds, Queues: queues})
	if err != nil {
		return fmt.Errorf("read places in the queue: %w", err)
	}
	type key struct {
		pipeline uuid.UUID
		kind     string
	}
	positions := map[key]int64{}
	for _, p := range places {
		positions[key{p.PipelineID, p.Kind}] = p.Position
	}
	for i, w := range list {
		if w.State != workWaiting || w.PipelineID == nil {
			continue
		}
		if n, ok := positions[key{*w.PipelineID, w.Kind}]; ok {
			list[i].Position = &n
		}
	}
	return nil
}
