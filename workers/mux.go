package workers

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/hibiken/asynq"

	"github.com/troy-iaas/troy/tasks"
)

// handle takes one task from the queue. It drops a type that this version does
// not know: the row stays due, and the sweep rings again when a version that
// knows it may be running. It also drops a payload that cannot be read.
func (w *Workers) handle(ctx context.Context, t *asynq.Task) error {
	h, known := w.handlers[t.Type()]
	if !known {
		w.log.Warn("dropped a task of an unknown type", "task", t.Type())
		return nil
	}
	subject, err := tasks.Subject(t)
	if err != nil {
		w.log.Warn("dropped a task with an unreadable payload", "task", t.Type(), "error", err)
		return nil
	}
	w.running.Add(1)
	defer w.running.Done()
	return w.work(ctx, h, tasks.Task{Kind: t.Type(), Subject: subject})
}

// asynqLog passes asynq's log lines to slog.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug(fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Info(fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Warn(fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Error(fmt.Sprint(args...)) }

// Fatal does not exit: main decides whether the process ends.
func (l asynqLog) Fatal(args ...any) { l.log.Error(fmt.Sprint(args...)) }
