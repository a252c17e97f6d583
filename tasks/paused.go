package tasks

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// pausedKey is asynq's own key; asynq.Inspector would count every task as well.
func pausedKey(queue string) string { return queueKey(queue, "paused") }

// Resume ends the pause of a queue that was paused in Asynqmon or with asynq's
// command line.
func (c *Client) Resume(ctx context.Context, queue string) error {
	if err := c.redis.Del(ctx, pausedKey(queue)).Err(); err != nil {
		return fmt.Errorf("resume the queue %s in Redis: %w", queue, err)
	}
	c.wake(ctx, queue)
	return nil
}

// Paused returns the queues that were paused in Asynqmon or with asynq's
// command line. Workers take no tasks from a paused queue.
func Paused(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	queues := []string{QueueQuick, QueueBuilds, QueueForge, QueueThumbnails, QueueDomains, QueuePreviews, QueueNotifications}
	keys := make([]*redis.IntCmd, len(queues))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, queue := range queues {
			keys[i] = p.Exists(ctx, pausedKey(queue))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for paused queues: %w", err)
	}
	var paused []string
	for i, queue := range queues {
		if keys[i].Val() > 0 {
			paused = append(paused, queue)
		}
	}
	return paused, nil
}
