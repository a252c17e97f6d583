// Package tasks says what can be asked of the workers: the task types,
// their queues, and how often and for how long each is
// tried. Web and intake ask, workers answer; neither imports the other. A
// task carries ids alone and is only a doorbell: what is to be done stands in
// the work row.
package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// The queues. Each has an asynq server of its own in every worker process.
const (
	// QueueQuick holds tasks that take seconds.
	QueueQuick = "quick"
	// QueueBuilds holds builds, which take minutes.
	QueueBuilds = "builds"
	// QueueSweep holds the sweep alone, so that nothing can delay it.
	QueueSweep = "sweep"
)

// Task names a work row: its kind and its subject.
type Task struct {
	Kind    string
	Subject uuid.UUID
}

type payload struct {
	Subject uuid.UUID `json:"subject"`
}

// Subject reads the subject's id from a task's payload.
func Subject(t *asynq.Task) (uuid.UUID, error) {
	var p payload
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return uuid.Nil, fmt.Errorf("payload of %s: %w", t.Type(), err)
	}
	return p.Subject, nil
}

// Client puts tasks into Redis.
type Client struct {
	asynq     *asynq.Client
	inspector *asynq.Inspector
	redis     redis.UniversalClient
}

// NewClient returns a client on the given connection, which stays the
// caller's to close.
func NewClient(rdb redis.UniversalClient) *Client {
	return &Client{
		asynq:     asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		redis:     rdb,
	}
}

// Ring enqueues the task of a work row under its ring's id. With a delay it
// comes within two seconds after it, never before.
func (c *Client) Ring(ctx context.Context, t Task, id uuid.UUID, delay time.Duration) error {
	policy, ok := PolicyOf(t.Kind)
	if !ok {
		return fmt.Errorf("ring %s %s: unknown kind", t.Kind, t.Subject)
	}
	body, err := json.Marshal(payload{t.Subject})
	if err != nil {
		return fmt.Errorf("ring %s %s: %w", t.Kind, t.Subject, err)
	}
	opts := []asynq.Option{
		asynq.TaskID(id.String()), asynq.Queue(policy.Queue),
		asynq.MaxRetry(maxRetry), asynq.Timeout(policy.Deadline),
	}
	if delay > 0 {
		opts = append(opts, asynq.ProcessAt(time.Now().Add(AsynqDelay(delay))))
	}
	if _, err := c.asynq.EnqueueContext(ctx, asynq.NewTask(t.Kind, body), opts...); err != nil {
		return fmt.Errorf("ring %s %s: %w", t.Kind, t.Subject, err)
	}
	return nil
}

// StandsInLine reports whether the task with a ring's id waits in Redis to be
// taken. False means that its row has to be rung again.
func (c *Client) StandsInLine(queue string, id uuid.UUID) bool {
	info, err := c.inspector.GetTaskInfo(queue, id.String())
	return err == nil && info.State == asynq.TaskStatePending
}

// AsynqDelay is what asynq has to be told for a task not to come before d has
// passed. It keeps times as whole seconds of the clock and cuts the fraction
// off, so that its task comes up to a second before the time it was given.
func AsynqDelay(d time.Duration) time.Duration { return d + time.Second }

// maxRetry is more than any kind's attempts: whether a row is tried again is
// the row's affair, and asynq shall not archive its task before.
const maxRetry = 100
