package workers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// presentEvery is how often a process notes that it runs and what it runs.
const presentEvery = 10 * time.Second

// active is what a process runs at the moment.
type active struct {
	mu    sync.Mutex
	tasks map[tasks.Task]int
}

// begin notes that a task runs, until end is called.
func (a *active) begin(t tasks.Task) (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tasks == nil {
		a.tasks = map[tasks.Task]int{}
	}
	a.tasks[t]++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.tasks[t]--; a.tasks[t] == 0 {
			delete(a.tasks, t)
		}
	}
}

// text is what runs, as JSON.
func (a *active) text() ([]byte, error) {
	type running struct {
		Kind    string    `json:"kind"`
		Subject uuid.UUID `json:"subject_id"`
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]running, 0, len(a.tasks))
	for t := range a.tasks {
		list = append(list, running{t.Kind, t.Subject})
	}
	return json.Marshal(list)
}

// present keeps the process's row in workers until the context ends.
func (w *Workers) present(ctx context.Context) {
	id := uuid.New()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	tick := time.NewTicker(presentEvery)
	defer tick.Stop()
	for {
		if err := w.presentOnce(ctx, id, host); err != nil && ctx.Err() == nil {
			w.log.Debug("the process could not note that it runs", "error", err)
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
			defer cancel()
			if err := w.q.WorkerGone(ctx, id); err != nil {
				w.log.Debug("the process could not note that it stops", "error", err)
			}
			return
		case <-tick.C:
		}
	}
}

func (w *Workers) presentOnce(ctx context.Context, id uuid.UUID, host string) error {
	ctx, cancel := context.WithTimeout(ctx, presentEvery)
	defer cancel()
	running, err := w.active.text()
	if err != nil {
		return fmt.Errorf("write what runs: %w", err)
	}
	return w.q.WorkerSeen(ctx, queries.WorkerSeenParams{
		ID: id, Host: host, Pid: int64(os.Getpid()), Version: w.cfg.Version, Slots: int32(w.cfg.Slots), BuildSlots: int32(w.cfg.BuildSlots), Running: running,
	})
}
