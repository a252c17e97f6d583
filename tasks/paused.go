package tasks

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Paused returns the queues that were paused in Asynqmon or with asynq's
// command line. Workers take no tasks from a paused queue.
func Paused(ctx context.Context, rdb redis.UniversalClient) ([]string, error) {
	queues := []string{QueueSweep, QueueQuick, QueueBuilds, QueueForge}
	keys := make([]*redis.IntCmd, len(queues))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, queue := range queues {
			// This is asynq's own key; asynq.Inspector would count every task
			// as well.
			keys[i] = p.Exists(ctx, "asynq:{"+queue+"}:paused")
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
