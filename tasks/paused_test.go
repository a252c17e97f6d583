package tasks_test

import (
	"slices"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	"github.com/troy-iaas/troy/tasks"
)

// TestPaused pauses and resumes queues with asynq, as Asynqmon does.
func TestPaused(t *testing.T) {
	t.Parallel()
	opts, err := redis.ParseURL(stacktest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	want := func(queues ...string) {
		t.Helper()
		got, err := tasks.Paused(t.Context(), rdb)
		if err != nil || !slices.Equal(got, queues) {
			t.Errorf("paused are %q (%v), want %q", got, err, queues)
		}
	}
	want()
	for _, queue := range []string{tasks.QueueQuick, tasks.QueueBuilds} {
		if err := inspector.PauseQueue(queue); err != nil {
			t.Fatal(err)
		}
	}
	want(tasks.QueueQuick, tasks.QueueBuilds)
	if err := inspector.UnpauseQueue(tasks.QueueQuick); err != nil {
		t.Fatal(err)
	}
	want(tasks.QueueBuilds)
}
