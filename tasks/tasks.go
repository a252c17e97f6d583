// Package tasks defines the tasks of the workers: their types, their queues,
// and how often and for how long each is tried. Web and intake enqueue tasks,
// workers process them; neither imports the other. A task carries only ids and
// is only a doorbell: the work row says what to do.
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

// The queues. Each has its own slots in every worker process.
const (
	// QueueQuick holds tasks that take seconds.
	QueueQuick = "quick"
	// QueueBuilds holds builds, which take minutes.
	QueueBuilds = "builds"
	// QueueForge holds calls of forges, so that a forge that does not answer
	// can't delay other work.
	QueueForge = "forge"
	// QueueThumbnails holds pictures of sites, which no one waits for.
	QueueThumbnails = "thumbnails"
	// QueueDomains holds checks of custom domains, so that name servers that do
	// not answer can't delay other work.
	QueueDomains = "domains"
	// QueuePreviews holds builds of previews, so that any number of them can't
	// delay the builds of sites.
	QueuePreviews = "previews"
	// QueueNotifications holds notifications, so that receivers that do not
	// answer can't delay other work.
	QueueNotifications = "notifications"
)

// Task identifies a work row by kind and subject.
type Task struct {
	Kind    string
	Subject uuid.UUID
}

type payload struct {
	Subject uuid.UUID `json:"subject"`
}

// Subject returns the subject's id from a task's payload.
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

// NewClient returns a client that uses rdb. The caller closes rdb.
func NewClient(rdb redis.UniversalClient) *Client {
	return &Client{
		asynq:     asynq.NewClientFromRedisClient(ringingClient{rdb}),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		redis:     rdb,
	}
}

// Ring enqueues the task of a work row with the ring's id. A delayed task
// becomes available no earlier than after delay, and at most two seconds later.
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

// StandsInLine reports whether the task with a ring's id waits in Redis. If
// not, its row has to be rung again.
func (c *Client) StandsInLine(queue string, id uuid.UUID) bool {
	info, err := c.inspector.GetTaskInfo(queue, id.String())
	return err == nil && info.State == asynq.TaskStatePending
}

// AsynqDelay returns the delay to pass to asynq so that a task does not come
// before d has passed. asynq truncates times to whole seconds, so its tasks
// come up to a second early.
func AsynqDelay(d time.Duration) time.Duration { return d + time.Second }

// maxRetry is more than any kind's attempts. The row decides about retries, so
// asynq must not archive its task before.
const maxRetry = 1000
