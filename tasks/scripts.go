package tasks

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
)

// This file knows asynq's scripts by the names of their keys. If a version of
// asynq changes them, its server polls, and TestNoPolls fails.

// waitingClient is the client of an asynq server that a Waiter wakes. Only one
// goroutine of the server runs the script that takes a task, and only one the
// script that moves delayed tasks; both have nothing else to do.
type waitingClient struct {
	redis.UniversalClient
	ctx    context.Context // of the server, not of a call
	waiter *Waiter
}

// EvalSha runs one of asynq's scripts, or answers in place of Redis that a queue
// has nothing.
func (c *waitingClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	switch {
	case takes(keys) && !c.waiter.mayTake(c.ctx, queueOf(keys[0])):
		none := redis.NewCmd(ctx)
		none.SetErr(redis.Nil)
		return none
	case forwards(keys) && !c.waiter.mayForward(c.ctx, queueOf(keys[0])):
		none := redis.NewCmd(ctx)
		none.SetVal(int64(0))
		return none
	}
	return c.ran(ctx, keys, c.UniversalClient.EvalSha(ctx, sha, keys, args...))
}

// Eval runs a script that Redis did not know by its sum.
func (c *waitingClient) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return c.ran(ctx, keys, c.UniversalClient.Eval(ctx, script, keys, args...))
}

// ran notes the result of a script.
func (c *waitingClient) ran(ctx context.Context, keys []string, cmd *redis.Cmd) *redis.Cmd {
	switch {
	case takes(keys):
		c.waiter.tookOne(queueOf(keys[0]), cmd.Err())
	case forwards(keys):
		n, err := cmd.Int()
		switch {
		case n > 0:
			c.Publish(ctx, wakeChannel, queueOf(keys[0]))
		case strings.HasSuffix(keys[0], ":retry") || err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT"):
			c.waiter.forwarded(queueOf(keys[0])) // asynq moves the retries last
		}
	case delays(keys):
		signal(c.waiter.asked)
	}
	return cmd
}

// ringingClient is a client for asynq that tells the workers about each task in
// the exchange that puts it into Redis.
type ringingClient struct{ redis.UniversalClient }

// EvalSha runs one of asynq's scripts.
func (c ringingClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	return c.announced(ctx, keys, func(r redis.Scripter) *redis.Cmd { return r.EvalSha(ctx, sha, keys, args...) })
}

// Eval runs one of asynq's scripts.
func (c ringingClient) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return c.announced(ctx, keys, func(r redis.Scripter) *redis.Cmd { return r.Eval(ctx, script, keys, args...) })
}

func (c ringingClient) announced(ctx context.Context, keys []string, run func(redis.Scripter) *redis.Cmd) *redis.Cmd {
	var message string
	switch {
	case len(keys) == 2 && strings.HasSuffix(keys[1], ":pending"):
		message = queueOf(keys[1])
	case len(keys) == 2 && strings.HasSuffix(keys[1], ":scheduled"):
		message = messageDelayed
	default:
		return run(c.UniversalClient)
	}
	pipe := c.Pipeline()
	cmd := run(pipe)
	pipe.Publish(ctx, wakeChannel, message)
	_, _ = pipe.Exec(ctx) // cmd has its error; a lost message is noticed within lookEvery
	return cmd
}

// takes reports whether keys are those of asynq's script that takes a task from
// a queue.
func takes(keys []string) bool {
	return len(keys) == 4 && strings.HasSuffix(keys[0], ":pending") && strings.HasSuffix(keys[1], ":paused")
}

// forwards reports whether keys are those of asynq's script that moves delayed
// tasks that are due to the others. It returns their number.
func forwards(keys []string) bool {
	return len(keys) == 2 && strings.HasSuffix(keys[1], ":pending") && (strings.HasSuffix(keys[0], ":scheduled") || strings.HasSuffix(keys[0], ":retry"))
}

// delays reports whether keys are those of asynq's script that lets a failed
// task wait.
func delays(keys []string) bool {
	return len(keys) > 3 && strings.HasSuffix(keys[3], ":retry")
}
