package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// TypeSweep is the type of the sweep's tasks. They have no row.
const TypeSweep = "sweep"

// SweepInterval is how often each worker process requests a sweep.
const SweepInterval = 2 * time.Second

// Sweep requests one sweep. Requests of several processes within the same
// interval are merged.
func (c *Client) Sweep(ctx context.Context, now time.Time) error {
	tick := now.Unix() / int64(SweepInterval/time.Second)
	_, err := c.asynq.EnqueueContext(ctx, asynq.NewTask(TypeSweep, []byte("{}")),
		asynq.TaskID(fmt.Sprintf("sweep:%d", tick)), asynq.Queue(QueueSweep),
		asynq.MaxRetry(0), asynq.Timeout(time.Minute), asynq.Deadline(now.Add(time.Minute)))
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) && !errors.Is(err, asynq.ErrDuplicateTask) {
		return fmt.Errorf("request a sweep: %w", err)
	}
	if err == nil {
		c.wake(ctx, QueueSweep)
	}
	return nil
}

// generationKey holds the generation of rings in this Redis. If it is missing,
// Redis is new or was emptied, and all earlier rings are lost.
const generationKey = "troy:generation"

// Generation returns the generation that Redis holds, or 0 if it holds none.
func (c *Client) Generation(ctx context.Context) (int64, error) {
	n, err := c.redis.Get(ctx, generationKey).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", generationKey, err)
	}
	return n, nil
}

// SetGeneration stores the generation of the rings that Redis holds.
func (c *Client) SetGeneration(ctx context.Context, n int64) error {
	if err := c.redis.Set(ctx, generationKey, n, 0).Err(); err != nil {
		return fmt.Errorf("write %s: %w", generationKey, err)
	}
	return nil
}
