package tasks

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// TypeSweep is the kind of work of the sweep for operators. It has no row, and
// no task in Redis.
const TypeSweep = "sweep"

// Sweep asks the workers for a sweep.
func (c *Client) Sweep(ctx context.Context) error {
	if err := c.redis.Publish(ctx, wakeChannel, messageSweep).Err(); err != nil {
		return fmt.Errorf("request a sweep: %w", err)
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
