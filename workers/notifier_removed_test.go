package workers

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/queries"
)

// TestNotifierIsRemovedMeanwhile changes a pipeline while one of its notifiers is
// being removed. The change does not wait for that, and the others are told.
func TestNotifierIsRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets = newSealer(t)
	r.workers()
	id := r.pipeline("blog")
	removed, kept := r.notifier(&id, newReceiver(t), "deployment.failed"), r.notifier(nil, newReceiver(t), "deployment.failed")
	removal, err := r.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = removal.Rollback(context.Background()) }()
	if _, err := queries.New(removal).NotifierRemove(t.Context(), removed.ID); err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), r.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SET LOCAL lock_timeout = '2s'"); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), "SELECT notify_about($1, '{deployment.failed}', '{}')", id)
		return err
	})
	if err != nil {
		t.Errorf("a change during the removal: %v", err)
	}
	if err := removal.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, of := r.count("SELECT count(*) FROM notifications"), r.count("SELECT count(*) FROM notifications WHERE notifier_id = $1", kept.ID); all != 1 || of != 1 {
		t.Errorf("%d notifications, %d of the notifier that stays; want 1", all, of)
	}
}
