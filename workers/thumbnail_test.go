package workers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/thumbnail"
)

// TestThumbnail takes a picture after each deployment, from its files. A picture
// that fails is retried and does not concern the deployment.
func TestThumbnail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var calls atomic.Int32
	r.thumbnail = func(ctx context.Context, host string, answers thumbnail.Answers) ([]byte, error) {
		if calls.Add(1) == 1 {
			return nil, errors.New("Chromium ended")
		}
		page, err := answers(ctx, "/")
		if err != nil {
			return nil, err
		}
		for path, want := range map[string]thumbnail.Answer{
			"/about":     {Status: 200, Type: "text/html; charset=utf-8", Body: []byte("about")},
			"/none":      {Status: 404},
			"/../secret": {Status: 404},
			"/_headers":  {Status: 404},
			"/about/":    {Status: 301, Location: "/about"},
		} {
			if a, err := answers(ctx, path); err != nil || a.Status != want.Status || a.Type != want.Type || a.Location != want.Location || string(a.Body) != string(want.Body) {
				t.Errorf("%s is answered by %+v, %v; want %+v", path, a, err, want)
			}
		}
		return []byte(host + " shows " + string(page.Body)), nil
	}
	w, _ := r.start()
	id := r.pipeline("blog")
	r.requestProvision(id)
	shows := func(want string) {
		t.Helper()
		var picture []byte
		eventually(t, func() bool {
			// The first failure waits longer than a test should.
			_, _ = r.db.Exec(t.Context(), "UPDATE work SET due_at = now(), ring_id = NULL WHERE kind = $1 AND lease_until IS NULL", tasks.TypeThumbnail)
			w.deps.Bell.Ask(tasks.QueueThumbnails)
			row, err := r.q.ThumbnailGet(t.Context(), id)
			picture = row.Image
			return err == nil && string(picture) == want
		}, func() string { return "the picture is " + string(picture) + ", want " + want })
	}
	r.release(id, map[string]string{"index.html": "one", "about.html": "about", "_headers": "x"})
	shows("blog.localhost shows one")
	if p := r.waitFor(id, troy.Deployed); p.Cause != "" {
		t.Errorf("the failed picture left the cause %q", p.Cause)
	}
	first, err := r.q.ThumbnailGet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	r.release(id, map[string]string{"index.html": "two", "about.html": "about"})
	shows("blog.localhost shows two")
	second, err := r.q.ThumbnailGet(t.Context(), id)
	if err != nil || second.Version == first.Version || second.DeploymentID == first.DeploymentID {
		t.Errorf("the pictures are %s of %s and %s of %s, %v", first.Version, first.DeploymentID, second.Version, second.DeploymentID, err)
	}
	if _, err := r.in.ScheduleDeletion(t.Context(), id, "test"); err != nil {
		t.Fatal(err)
	}
	r.waitFor(id, troy.Deleted)
	if _, err := r.q.ThumbnailGet(t.Context(), id); err == nil {
		t.Error("the picture of a deleted pipeline is left")
	}
}

// TestNoThumbnail runs the task where no picture can be taken, for a pipeline
// without a live deployment, and for one that does not exist.
func TestNoThumbnail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w, _ := r.start()
	id := r.pipeline("blog")
	for _, subject := range []uuid.UUID{id, uuid.New()} {
		if _, err := r.db.Exec(t.Context(), "INSERT INTO work (kind, subject_id) VALUES ($1, $2)", tasks.TypeThumbnail, subject); err != nil {
			t.Fatal(err)
		}
		w.deps.Bell.Ask(tasks.QueueThumbnails)
		eventually(t, func() bool {
			_, err := r.q.WorkGet(t.Context(), tasks.TypeThumbnail, subject)
			return err != nil
		}, func() string { return "the work does not end" })
	}
	if _, err := w.answersOf(t.Context(), site.Tree{Pipeline: id, Deployment: id}); err == nil {
		t.Error("a tree that does not exist answers")
	}
}
