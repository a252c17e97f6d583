package intake_test

import (
	"testing"

	"github.com/troy-iaas/troy"
)

func TestPurgesAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.create("blog")
	purge := func(path string) error {
		_, err := w.in.Purge(w.ctx(), p.ID, path, "test")
		return err
	}
	fill := func() {
		w.exec("DELETE FROM purges")
		w.exec(`INSERT INTO purges (pipeline_id, path, actor, requested_at, done_at)
			SELECT $1, 'assets/' || n, 'test', now() - interval '30 days', CASE WHEN n > 0 THEN now() END FROM generate_series(0, 999) n`, p.ID)
	}
	rows := func() int { return w.count("SELECT count(*) FROM purges WHERE pipeline_id = $1", p.ID) }

	fill()
	if err := purge("other"); err != nil {
		t.Errorf("999 purges have expired: %v", err)
	}
	w.exec("DELETE FROM purges WHERE path = 'other'")
	w.exec("UPDATE purges SET done_at = NULL")
	wantKind(t, purge("another"), troy.Conflict, "purge a folder")
	wantKind(t, purge("fonts/"), troy.Conflict, "purge a folder")
	if err := purge("assets/7"); err != nil {
		t.Errorf("a path that was purged before: %v", err)
	}
	if n := rows(); n != 1000 {
		t.Errorf("%d rows after refusals, want 1000", n)
	}
	if err := purge("assets/"); err != nil || rows() != 1 {
		t.Errorf("a folder: %v, %d rows; want 1", err, rows())
	}

	fill()
	w.exec("UPDATE purges SET done_at = NULL")
	if err := purge(""); err != nil || rows() != 1 {
		t.Errorf("everything: %v, %d rows; want 1", err, rows())
	}
}
