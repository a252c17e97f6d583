package web

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
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
	Worker     string     `json:"worker,omitempty"`
	ClaimedAt  *time.Time `json:"claimed_at,omitempty"`
}

func (s *server) queueList(c *gin.Context, who caller) error {
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	filter := lists.WorkFilter{Queue: c.Query("queue"), Kind: c.Query("kind"), State: c.Query("state")}
	if filter.Only, err = s.onlyPipelines(c, who); err != nil {
		return err
	}
	page, err := s.lists.Work(c.Request.Context(), filter, who, pg.after, pg.limit)
	if err != nil {
		return err
	}
	answer := struct {
		Queue []workJSON `json:"queue"`
		Next  string     `json:"next,omitempty"`
	}{Queue: make([]workJSON, len(page.Work)), Next: page.Next}
	for i, w := range page.Work {
		answer.Queue[i] = workJSON(w)
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// queueJSON is a queue.
type queueJSON struct {
	Name  string     `json:"name"`
	Kinds []string   `json:"kinds"`
	Pause *pauseJSON `json:"pause,omitempty"`
	// PausedInRedis says that Asynqmon paused it.
	PausedInRedis bool   `json:"paused_in_redis"`
	Running       *int64 `json:"running,omitempty"`
	Due           *int64 `json:"due,omitempty"`
	Failing       *int64 `json:"failing,omitempty"`
	More          bool   `json:"more,omitempty"`
}

type pauseJSON struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

func (s *server) queuesList(c *gin.Context, who caller) error {
	list, err := s.queues(c, who)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, map[string][]queueJSON{"queues": list})
	return nil
}

// queues describes the queues. Counts are of all pipelines, and so are for those
// who see all.
func (s *server) queues(c *gin.Context, who caller) ([]queueJSON, error) {
	list, err := s.lists.Queues(c.Request.Context())
	if err != nil {
		return nil, err
	}
	inRedis := map[string]bool{}
	// While Redis is away, it gives out no tasks at all.
	paused, _ := tasks.Paused(c.Request.Context(), s.deps.Redis)
	for _, name := range paused {
		inRedis[name] = true
	}
	out := make([]queueJSON, 0, len(list))
	for _, q := range list {
		j := queueJSON{Name: q.Name, Kinds: q.Kinds, PausedInRedis: inRedis[q.Name]}
		if q.Pause != nil {
			j.Pause = &pauseJSON{q.Pause.Actor, q.Pause.Reason, q.Pause.At.UTC()}
		}
		if who.All() {
			j.Running, j.Due, j.Failing, j.More = &q.Running, &q.Due, &q.Failing, q.More
		}
		out = append(out, j)
	}
	return out, nil
}

func (s *server) queuePause(c *gin.Context, who caller) error {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := who.MustAll("a queue has the work of all"); err != nil {
		return err
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if err := s.deps.Intake.PauseQueue(c.Request.Context(), c.Param("queue"), body.Reason, who.Actor()); err != nil {
		return err
	}
	return s.replyQueue(c, who)
}

func (s *server) queueResume(c *gin.Context, who caller) error {
	if err := who.MustAll("a queue has the work of all"); err != nil {
		return err
	}
	if err := s.deps.Intake.ResumeQueue(c.Request.Context(), c.Param("queue"), who.Actor()); err != nil {
		return err
	}
	return s.replyQueue(c, who)
}

func (s *server) replyQueue(c *gin.Context, who caller) error {
	list, err := s.queues(c, who)
	if err != nil {
		return err
	}
	for _, q := range list {
		if q.Name == c.Param("queue") {
			reply.JSON(c.Writer, http.StatusOK, q)
			return nil
		}
	}
	return troy.Errorf(troy.NotFound, "queue not found: %q", troy.Clip(c.Param("queue")))
}

// workRing makes work due at once; workRetry also gives it all of its attempts.
func (s *server) workRing(c *gin.Context, who caller) error  { return s.hurryWork(c, who, false) }
func (s *server) workRetry(c *gin.Context, who caller) error { return s.hurryWork(c, who, true) }

func (s *server) hurryWork(c *gin.Context, who caller, afresh bool) error {
	var body struct {
		Kind    string    `json:"kind"`
		Subject uuid.UUID `json:"subject_id"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if _, known := tasks.PolicyOf(body.Kind); !known {
		return troy.Errorf(troy.Invalid, "the kind %q is unknown; expected one from GET /v1/queue", troy.Clip(body.Kind)).At("kind")
	}
	if err := s.maySeeWork(c, who, body.Kind, body.Subject); err != nil {
		return err
	}
	result, err := s.deps.Intake.HurryWork(c.Request.Context(), body.Kind, body.Subject, afresh, who.Actor())
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusAccepted, map[string]string{"id": body.Subject.String(), "kind": body.Kind, "result": result})
	return nil
}

// maySeeWork returns NotFound for work that does not exist or is not the
// caller's.
func (s *server) maySeeWork(c *gin.Context, who caller, kind string, subject uuid.UUID) error {
	w, err := s.q.WorkGet(c.Request.Context(), kind, subject)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read %s of %s: %w", kind, subject, err)
	}
	if err != nil || !seesWork(who, w) {
		return troy.Errorf(troy.NotFound, "there is no such work: it is done, or it was never requested")
	}
	return nil
}

func seesWork(who caller, w queries.Work) bool {
	return who.All() || w.PipelineID != nil && who.Sees(*w.PipelineID)
}
