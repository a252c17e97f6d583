package lists

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// The states of outstanding work.
const (
	Running = "running" // a worker holds it
	Waiting = "waiting" // it is due
	Failing = "failing" // the last attempt failed, and the next is to come
	Later   = "later"   // it is due later
)

// States returns the states of outstanding work, in the order of the list.
func States() []string { return []string{Running, Waiting, Failing, Later} }

const (
	// maxRunning is the maximum number of running tasks to list. It is far above
	// the number of workers.
	maxRunning = 1000
	// mostCounted is where the counts of a queue end.
	mostCounted = 1000
)

// WorkFilter says which work is listed. Empty fields mean all.
type WorkFilter struct {
	Queue, Kind, State string
	Only               []uuid.UUID // the pipelines; nil means all
}

// Check returns an Invalid error that names the field with an unknown value.
func (f WorkFilter) Check() error {
	for _, c := range []struct {
		field, value string
		known        []string
	}{{"queue", f.Queue, WorkQueues()}, {"kind", f.Kind, tasks.Kinds()}, {"state", f.State, States()}} {
		if c.value != "" && !slices.Contains(c.known, c.value) {
			return troy.Errorf(troy.Invalid, "it is %q; expected one of %s", troy.Clip(c.value), strings.Join(c.known, ", ")).At(c.field)
		}
	}
	return nil
}

// WorkQueues returns the queues of work, sorted.
func WorkQueues() []string {
	_, queues := tasks.Queues()
	slices.Sort(queues)
	return slices.Compact(queues)
}

// WorkKinds returns the kinds of work, sorted.
func WorkKinds() []string { return tasks.Kinds() }

func (f WorkFilter) kinds() []string {
	return slices.DeleteFunc(tasks.Kinds(), func(kind string) bool {
		return f.Kind != "" && kind != f.Kind || f.Queue != "" && tasks.QueueOf(kind) != f.Queue
	})
}

// Work is a task that is not done yet.
type Work struct {
	Kind       string
	Queue      string
	SubjectID  uuid.UUID
	PipelineID *uuid.UUID
	Pipeline   string // the slug
	Number     *int64 // of the deployment
	State      string
	Why        string
	Position   *int64
	Attempts   int32
	Cause      string
	Since      time.Time
	DueAt      time.Time
	LeaseUntil *time.Time
	// Worker is the process that runs it, since ClaimedAt.
	Worker    string
	ClaimedAt *time.Time
}

// WorkPage is a page of the outstanding work.
type WorkPage struct {
	Work []Work
	Next string // the next page's after; empty for the last
}

// Work lists the outstanding work of a filter for who. The first page, whose
// after is empty, begins with all that is running. The rest comes by the time
// when it is due.
func (l Lists) Work(ctx context.Context, f WorkFilter, who credentials.Holder, after string, limit int32) (WorkPage, error) {
	page := WorkPage{Work: []Work{}}
	if err := f.Check(); err != nil {
		return page, err
	}
	place := Place{At: time.Unix(0, 0)}
	if after != "" {
		var err error
		if place, err = ParsePlace(after); err != nil {
			return page, err
		}
	}
	reader := workReader{Lists: l, filter: f, who: who, now: time.Now(), paused: map[string]queries.Pause{}}
	pauses, err := l.Q.PauseList(ctx)
	if err != nil {
		return page, fmt.Errorf("list the paused queues: %w", err)
	}
	for _, p := range pauses {
		reader.paused[p.Queue] = p
	}
	if after == "" && (f.State == "" || f.State == Running) {
		if page.Work, err = reader.running(ctx); err != nil {
			return page, err
		}
	}
	if f.State == Running {
		return page, nil
	}
	rows, err := reader.waiting(ctx, place, limit+1)
	if err != nil {
		return page, fmt.Errorf("list the waiting work: %w", err)
	}
	if len(rows) > int(limit) {
		rows = rows[:limit]
		last := rows[limit-1]
		page.Next = Place{last.DueAt, last.SubjectID, last.Kind}.String()
	}
	waiting := make([]Work, 0, len(rows))
	for _, r := range rows {
		// A worker may let go of work between the two statements.
		if !slices.ContainsFunc(page.Work, func(w Work) bool { return w.Kind == r.Kind && w.SubjectID == r.SubjectID }) {
			waiting = append(waiting, reader.describe(r))
		}
	}
	if err := l.positions(ctx, waiting); err != nil {
		return page, err
	}
	page.Work = append(page.Work, waiting...)
	return page, nil
}

type workReader struct {
	Lists
	filter WorkFilter
	who    credentials.Holder
	now    time.Time
	paused map[string]queries.Pause
}

func (r workReader) running(ctx context.Context) ([]Work, error) {
	rows, err := r.Q.QueueRunning(ctx, queries.QueueRunningParams{Kinds: r.filter.kinds(), Only: r.filter.Only, PageLimit: maxRunning})
	if err != nil {
		return nil, fmt.Errorf("list the running work: %w", err)
	}
	list := make([]Work, 0, len(rows))
	for _, row := range rows {
		w := r.describe(queries.QueueWaitingRow{
			Kind: row.Kind, SubjectID: row.SubjectID, DueAt: row.DueAt, Since: row.Since, Attempt: row.Attempt, Cause: row.Cause,
			PipelineID: row.PipelineID, Slug: row.Slug, DeploymentNumber: row.DeploymentNumber,
		})
		w.State, w.Why, w.LeaseUntil, w.ClaimedAt = Running, "a worker runs it", utc(row.LeaseUntil), utc(row.ClaimedAt)
		if r.who.Role.May(credentials.Admin) {
			w.Worker = row.Worker
		}
		list = append(list, w)
	}
	return list, nil
}

func (r workReader) waiting(ctx context.Context, after Place, limit int32) ([]queries.QueueWaitingRow, error) {
	args := queries.QueueWaitingParams{Kinds: r.filter.kinds(), Only: r.filter.Only, AfterTime: after.At, AfterID: after.ID, AfterKind: after.Last, Until: credentials.Later(), PageLimit: limit}
	switch r.filter.State {
	case Failing:
		args.State = "failing"
	case Waiting:
		args.State, args.Until = "healthy", r.now
	case Later:
		args.State = "healthy"
		if args.AfterTime.Before(r.now) {
			args.AfterTime, args.AfterID, args.AfterKind = r.now, uuid.Max, ""
		}
	}
	return r.Q.QueueWaiting(ctx, args)
}

// describe describes a row. Causes and workers name parts of the installation,
// and so are shown to admins alone.
func (r workReader) describe(row queries.QueueWaitingRow) Work {
	w := Work{
		Kind: row.Kind, Queue: tasks.QueueOf(row.Kind), SubjectID: row.SubjectID, Pipeline: row.Slug,
		Attempts: row.Attempt, Since: row.Since.UTC(), DueAt: row.DueAt.UTC(),
	}
	if r.who.Role.May(credentials.Admin) {
		w.Cause = row.Cause
	}
	if row.PipelineID != uuid.Nil {
		w.PipelineID = &row.PipelineID
	}
	if row.DeploymentNumber > 0 {
		w.Number = &row.DeploymentNumber
	}
	due := !row.DueAt.After(r.now)
	pause, paused := r.paused[w.Queue]
	switch {
	case row.Attempt > 0 && row.Cause != "":
		w.State, w.Why = Failing, "the last attempt failed"
	case due:
		w.State, w.Why = Waiting, "all workers of the queue are busy"
	default:
		w.State, w.Why = Later, "it is due later"
	}
	switch {
	case paused && w.State != Later:
		w.Why = fmt.Sprintf("the queue is paused by %s: %s", pause.Actor, pause.Reason)
	case w.State == Waiting && row.Rung:
		w.Why = "a worker was called"
	}
	return w
}

// ProblemFor returns the cause of failed work for a role. Causes name parts of
// the installation, so others than admins learn only that it failed.
func ProblemFor(role credentials.Role, cause string) string {
	if cause == "" || role.May(credentials.Admin) {
		return cause
	}
	return "The last attempt failed, and Troy tries again. An admin sees the reason."
}

// positions adds the positions of waiting work.
func (l Lists) positions(ctx context.Context, list []Work) error {
	ids := []uuid.UUID{}
	for _, w := range list {
		if w.State == Waiting && w.PipelineID != nil {
			ids = append(ids, *w.PipelineID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	kinds, queues := tasks.Queues()
	places, err := l.Q.WorkPositions(ctx, queries.WorkPositionsParams{PipelineIds: ids, Kinds: kinds, Queues: queues})
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
		if w.State != Waiting || w.PipelineID == nil {
			continue
		}
		if n, ok := positions[key{*w.PipelineID, w.Kind}]; ok {
			list[i].Position = &n
		}
	}
	return nil
}

// Queue is a queue of work.
type Queue struct {
	Name  string
	Kinds []string
	// Pause is nil while the queue runs.
	Pause *queries.Pause
	// Running, Due and Failing count its work; More says that there is more due
	// or failing work than was counted.
	Running, Due, Failing int64
	More                  bool
}

// Queues returns the queues, sorted by name.
func (l Lists) Queues(ctx context.Context) ([]Queue, error) {
	pauses, err := l.Q.PauseList(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the paused queues: %w", err)
	}
	counts, err := l.Q.QueueCounts(ctx, mostCounted, tasks.Kinds())
	if err != nil {
		return nil, fmt.Errorf("count the work: %w", err)
	}
	var list []Queue
	for _, name := range WorkQueues() {
		q := Queue{Name: name, Kinds: tasks.KindsOf(name)}
		for _, p := range pauses {
			if p.Queue == name {
				q.Pause = &p
			}
		}
		for _, c := range counts {
			if slices.Contains(q.Kinds, c.Kind) {
				q.Running, q.Due, q.Failing = q.Running+c.Running, q.Due+c.Due, q.Failing+c.Failing
				q.More = q.More || c.Due >= mostCounted || c.Failing >= mostCounted
			}
		}
		list = append(list, q)
	}
	return list, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
