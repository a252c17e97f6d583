package tasks_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/tasks"
)

// watched is a context that tells that someone waits for its end.
type watched struct {
	context.Context
	waits chan struct{}
}

func (w watched) Done() <-chan struct{} {
	select {
	case w.waits <- struct{}{}:
	default:
	}
	return w.Context.Done()
}

// TestNoLeaseFromBeforeTheWait lets a server wait for a task. asynq calculated
// the end of the task's lease before it, so the server has to ask again.
func TestNoLeaseFromBeforeTheWait(t *testing.T) {
	t.Parallel()
	q := newQueueOn(t, stacktest.Redis(t))
	waiter := tasks.NewWaiter(q.redis, map[string]int{tasks.QueueQuick: 1}, false)
	ctx := watched{t.Context(), make(chan struct{}, 1)}
	client := waiter.Client(ctx)
	take := func() error {
		prefix := "asynq:{" + tasks.QueueQuick + "}:"
		return client.EvalSha(t.Context(), strings.Repeat("0", 40), []string{prefix + "pending", prefix + "paused", prefix + "active", prefix + "lease"}).Err()
	}
	answer := make(chan error, 1)
	go func() { answer <- take() }()
	<-ctx.waits
	waiter.Hear(tasks.QueueQuick)
	if err := <-answer; !errors.Is(err, redis.Nil) {
		t.Errorf("after the wait Redis was asked with the lease from before: %v", err)
	}
	if err := take(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
		t.Errorf("the next request did not reach Redis: %v", err)
	}
}
