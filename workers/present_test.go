package workers

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/tasks"
)

func TestWorkersNoteThatTheyRun(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.workers()
	task := tasks.Task{Kind: tasks.TypeBuild, Subject: uuid.New()}
	end := w.active.begin(task)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan struct{})
	go func() { defer close(ended); w.present(ctx) }()
	running := func() (n int, kinds string) {
		var text []byte
		err := r.db.QueryRow(t.Context(), "SELECT count(*), coalesce((SELECT running FROM workers LIMIT 1), '[]') FROM workers WHERE pid > 0 AND host <> ''").Scan(&n, &text)
		var list []map[string]string
		if err != nil || json.Unmarshal(text, &list) != nil {
			t.Fatalf("%v: %s", err, text)
		}
		for _, l := range list {
			kinds += l["kind"] + l["subject_id"]
		}
		return n, kinds
	}
	if !poll.Until(t.Context(), time.Minute, 10*time.Millisecond, func() bool { n, kinds := running(); return n == 1 && kinds == task.Kind+task.Subject.String() }) {
		t.Error("the worker does not note what it runs")
	}
	end()
	if text, err := w.active.text(); err != nil || string(text) != "[]" {
		t.Errorf("afterwards %s runs, %v", text, err)
	}
	stop()
	<-ended
	if n, _ := running(); n != 0 {
		t.Errorf("after its end %d workers are noted", n)
	}
}
