package workers

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/notify"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/tasks"
)

// receiver is a webhook's, which verifies what it gets.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	key    string
	ids    []string // of what it got
	events []string
	errs   []error
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{status: 200}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		verifier, err := standardwebhooks.NewWebhook(r.key)
		if err == nil {
			err = verifier.Verify(body, req.Header)
		}
		var event struct{ Type string }
		if err == nil {
			err = json.Unmarshal(body, &event)
		}
		if err != nil {
			r.errs = append(r.errs, err)
		}
		r.ids, r.events = append(r.ids, req.Header.Get("webhook-id")), append(r.events, event.Type)
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answer(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) got() (ids, events []string, errs []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.ids...), append([]string{}, r.events...), r.errs
}

// notifier adds a webhook's notifier.
func (r *rig) notifier(pipeline *uuid.UUID, to *receiver, events ...string) queries.Notifier {
	r.t.Helper()
	target, label, err := notify.NewTarget(notify.Webhook, to.URL, nil, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	if err != nil {
		r.t.Fatal(err)
	}
	to.key = target.Key
	return r.addNotifier(notify.Webhook, pipeline, target, label, events)
}

func (r *rig) addNotifier(kind notify.Kind, pipeline *uuid.UUID, target notify.Target, label string, events []string) queries.Notifier {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	plain, _ := json.Marshal(target)
	sealed, err := r.secrets.Seal(plain, secret.Notifier(id))
	if err != nil {
		r.t.Fatal(err)
	}
	n, err := r.in.AddNotifier(r.t.Context(), queries.NotifierAddParams{ID: id, PipelineID: pipeline, Kind: string(kind), Label: label, Target: sealed, Events: events, CreatedBy: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// hurryNotify makes what waits to be sent due at once.
func (r *rig) hurryNotify(w *Workers) {
	_, _ = r.db.Exec(r.t.Context(), "UPDATE notifiers SET retry_at = NULL")
	_, _ = r.db.Exec(r.t.Context(), "UPDATE work SET due_at = now(), ring_id = NULL WHERE kind = $1 AND lease_until IS NULL", tasks.TypeNotify)
	w.deps.Bell.Ask(tasks.QueueNotifications)
}

func newSealer(t *testing.T) *secret.Sealer {
	s, err := secret.New(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func waitEvents(t *testing.T, to *receiver, want ...string) {
	t.Helper()
	eventually(t, func() bool { _, got, _ := to.got(); return len(got) >= len(want) }, func() string { _, got, _ := to.got(); return "the receiver got " + join(got) })
	if _, got, errs := to.got(); join(got) != join(want) || len(errs) > 0 {
		t.Errorf("the receiver got %v, %v; want %v", got, errs, want)
	}
}

func join(list []string) string { b, _ := json.Marshal(list); return string(b) }

// TestNotify follows a pipeline's deployments: what fails, what recovers, what
// is live, for a notifier of the pipeline, one of all, and one of another.
func TestNotify(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets = newSealer(t)
	w, _ := r.start()
	id, other := r.pipeline("blog"), r.pipeline("other")
	r.requestProvision(id)
	r.waitFor(id, troy.ReadyForDeployment)
	of, all, elsewhere := newReceiver(t), newReceiver(t), newReceiver(t)
	first := r.notifier(&id, of, "deployment.failed", "deployment.recovered", "deployment.live")
	n := r.notifier(nil, all, "deployment.failed", "deployment.recovered", "notifier.disabled", "quota.near")
	r.notifier(&other, elsewhere, notify.Events()...)

	r.release(id, map[string]string{"index.html": "one"})
	r.waitFor(id, troy.Deployed)
	waitEvents(t, of, "deployment.live")
	if _, err := r.db.Exec(t.Context(), `INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, started_at)
		SELECT gen_random_uuid(), id, last_number + 1, 'release', 'publishing', gen_random_uuid(), 'test', now() FROM pipelines WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), `WITH failed AS (UPDATE deployments SET state = 'failed', finished_at = now(), cause = 'broken' WHERE pipeline_id = $1 AND state = 'publishing')
		UPDATE pipelines SET last_number = last_number + 1 WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	waitEvents(t, of, "deployment.live", "deployment.failed")
	waitEvents(t, all, "deployment.failed")
	r.release(id, map[string]string{"index.html": "two"})
	waitEvents(t, of, "deployment.live", "deployment.failed", "deployment.recovered")
	waitEvents(t, all, "deployment.failed", "deployment.recovered")

	// What failed is sent again with the same id, and counts.
	of.answer(500)
	if _, err := r.in.TestNotifier(t.Context(), first, notify.Test); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { r.hurryNotify(w); ids, _, _ := of.got(); return len(ids) >= 5 }, func() string { return "the message is not sent again" })
	of.answer(200)
	eventually(t, func() bool {
		r.hurryNotify(w)
		return r.count("SELECT count(*) FROM notifications WHERE NOT delivered") == 0
	}, func() string { return "the message is not delivered" })
	ids, _, _ := of.got()
	if ids[3] != ids[4] || r.count("SELECT max(failures) FROM notifiers") != 0 {
		t.Errorf("the ids are %v, and %d failures are left", ids, r.count("SELECT max(failures) FROM notifiers"))
	}

	// One that is gone is disabled. The others are told, and it gets nothing.
	of.answer(410)
	if _, err := r.db.Exec(t.Context(), "SELECT notify_about($1, '{deployment.failed}', '{}')", id); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		r.hurryNotify(w)
		return r.count("SELECT count(*) FROM notifiers WHERE disabled_at IS NOT NULL") == 1
	}, func() string { return "it is not disabled" })
	waitEvents(t, all, "deployment.failed", "deployment.recovered", "deployment.failed", "notifier.disabled")
	if r.count("SELECT count(*) FROM audit WHERE action = 'notifier.disable' AND detail = 'the receiver answered 410 Gone'") != 1 {
		t.Error("the audit trail does not have it")
	}
	before, _, _ := of.got()
	r.release(id, map[string]string{"index.html": "three"})
	r.waitFor(id, troy.Deployed)
	if _, err := r.db.Exec(t.Context(), "SELECT notify_about($1, '{deployment.failed}', '{}')", id); err != nil {
		t.Fatal(err)
	}
	waitEvents(t, all, "deployment.failed", "deployment.recovered", "deployment.failed", "notifier.disabled", "deployment.failed")
	if after, _, _ := of.got(); len(after) != len(before) {
		t.Errorf("a disabled notifier got %d messages", len(after)-len(before))
	}
	if ids, _, _ := elsewhere.got(); len(ids) != 0 {
		t.Error("another pipeline's notifier was told")
	}
	if err := r.in.RemoveNotifier(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.count("SELECT count(*) FROM work WHERE kind = 'notify'") == 0 }, func() string { return "work is left" })
}

// TestNotifyEvents writes the changes that are not deployments' and sees who is
// told.
func TestNotifyEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets, r.quota = newSealer(t), intake.Quota{Bytes: 100}
	w := r.workers()
	id := r.pipeline("blog")
	r.notifier(&id, newReceiver(t), notify.Events()...)
	told := func(event string) int {
		return r.count("SELECT count(*) FROM notifications n JOIN work w ON w.subject_id = n.id AND w.kind = 'notify' AND w.pipeline_id = n.pipeline_id WHERE n.event = '" + event + "' AND n.details->'pipeline'->>'slug' = 'blog'")
	}
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := r.db.Exec(t.Context(), sql, append([]any{id}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO previews (id, pipeline_id, kind, source, label, trusted, created_by, expires_at) VALUES (gen_random_uuid(), $1, 'branch', 'x', 'x', false, 'test', now())`)
	for _, c := range []struct {
		sql  string
		want int
	}{
		{"head_commit = 'a'", 1},
		{"head_commit = 'a', title = 'x'", 1},
		{"head_commit = 'b', approved_commit = 'b'", 1},
		{"head_commit = 'c'", 2},
		{"head_commit = 'd', trusted = true", 2},
		{"head_commit = 'e', trusted = false, closed_at = now()", 2},
	} {
		exec("UPDATE previews SET " + c.sql + " WHERE pipeline_id = $1")
		if n := told("preview.waiting"); n != c.want {
			t.Errorf("after %s %d were told, want %d", c.sql, n, c.want)
		}
	}
	exec(`INSERT INTO custom_domains (host, pipeline_id, created_by) VALUES ('www.example.com', $1, 'test')`)
	for state, want := range map[string]int{"failing": 1} {
		exec("UPDATE custom_domains SET state = $2, reason = 'x' WHERE pipeline_id = $1", state)
		exec("UPDATE custom_domains SET state = $2, reason = 'y' WHERE pipeline_id = $1", state)
		if n := told("domain.failing"); n != want {
			t.Errorf("%s: %d were told, want %d", state, n, want)
		}
	}
	exec("INSERT INTO storage (pipeline_id, deployments, files, bytes) VALUES ($1, 0, 0, 0)")
	for _, c := range []struct{ bytes, want int }{{89, 0}, {90, 1}, {95, 1}, {85, 1}, {99, 1}, {79, 1}, {100, 2}} {
		exec("UPDATE storage SET used_bytes = $2 WHERE pipeline_id = $1", c.bytes)
		if err := w.noteQuota(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if n := told("quota.near"); n != c.want {
			t.Errorf("at %d bytes %d were told, want %d", c.bytes, n, c.want)
		}
	}
}

// TestNotifyAfterRotation sends with a key that was rotated, until the earlier one
// has ended.
func TestNotifyAfterRotation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets = newSealer(t)
	w := r.workers()
	to := newReceiver(t)
	n := r.notifier(nil, to, "deployment.failed")
	target, err := w.notifyTarget(n)
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(at time.Time) error {
		t.Helper()
		next, err := target.Rotate(at)
		if err != nil {
			t.Fatal(err)
		}
		seal := func(v any, of secret.Subject) []byte {
			plain, _ := json.Marshal(v)
			sealed, err := r.secrets.Seal(plain, of)
			if err != nil {
				t.Fatal(err)
			}
			return sealed
		}
		_, err = r.in.RotateNotifier(t.Context(), n, queries.NotifierRotateParams{
			ID: n.ID, ReadTarget: n.Target, ReadKeys: n.EarlierKeys, EarlierUntil: next.Earlier[0].Until,
			Target: seal(next, secret.Notifier(n.ID)), EarlierKeys: seal(next.Earlier, secret.NotifierKeys(n.ID)),
		})
		if err != nil {
			return err
		}
		row, err := r.q.NotifierGet(t.Context(), n.ID)
		if err != nil {
			t.Fatal(err)
		}
		n, target = row.Notifier, next
		return nil
	}
	send := func(key string) error {
		t.Helper()
		to.mu.Lock()
		to.key, to.errs = key, nil
		to.mu.Unlock()
		m, err := r.in.TestNotifier(t.Context(), n, notify.Test)
		if err != nil {
			t.Fatal(err)
		}
		_ = w.work(t.Context(), w.handlers[tasks.TypeNotify], tasks.Task{Kind: tasks.TypeNotify, Subject: m.ID})
		ids, _, errs := to.got()
		if len(ids) == 0 || ids[len(ids)-1] != m.ID.String() {
			t.Fatal("nothing was sent")
		}
		return errors.Join(errs...)
	}
	first, old := target.Key, n
	if err := rotate(time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"the earlier key": first, "the new key": target.Key} {
		if err := send(key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.count("SELECT count(*) FROM notifiers WHERE earlier_keys IS NOT NULL") != 1 {
		t.Error("the earlier key is deleted before it has ended")
	}

	// Another rotation read the notifier before this one.
	now := n
	n = old
	if err := rotate(time.Now()); troy.KindOf(err) != troy.Conflict {
		t.Errorf("a rotation of what was read before: %v", err)
	}
	n = now
	if r.count("SELECT count(*) FROM audit WHERE action = 'notifier.rotate'") != 1 {
		t.Error("the audit trail does not have one rotation")
	}

	// The overlap is over, before and after the key is deleted.
	if _, err := r.db.Exec(t.Context(), "UPDATE notifiers SET earlier_keys = NULL, earlier_until = NULL"); err != nil {
		t.Fatal(err)
	}
	n.EarlierKeys, target.Earlier = nil, nil
	second := target.Key
	if err := rotate(time.Now().Add(-notify.KeyOverlap - time.Second)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := send(second); err == nil {
			t.Error("the earlier key still verifies")
		}
		if err := send(target.Key); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if err := w.forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.count("SELECT count(*) FROM notifiers WHERE earlier_keys IS NOT NULL OR earlier_until IS NOT NULL") != 0 {
			t.Error("the earlier key is not deleted")
		}
	}
}

// TestNotifyGivesUp disables a notifier whose messages fail repeatedly, restores
// lost work, and leaves a receiver alone that has just failed.
func TestNotifyGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets, r.reconcile = newSealer(t), 50*time.Millisecond
	w := r.workers()
	id := r.pipeline("blog")
	dead := newReceiver(t)
	n := r.notifier(&id, dead, "deployment.failed")
	dead.Close()
	first, err := r.in.TestNotifier(t.Context(), n, notify.Test)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.in.TestNotifier(t.Context(), n, notify.Test); err != nil {
		t.Fatal(err)
	}
	policy, _ := tasks.PolicyOf(tasks.TypeNotify)
	if _, err := r.db.Exec(t.Context(), "UPDATE work SET attempt = $1 WHERE subject_id = $2", policy.Attempts-1, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE notifiers SET failures = 9"); err != nil {
		t.Fatal(err)
	}
	// The second one's work is lost; the reconciliation restores it.
	if _, err := r.db.Exec(t.Context(), "DELETE FROM work WHERE subject_id <> $1 AND kind = 'notify'", first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE notifications SET created_at = now() - interval '1 hour'"); err != nil {
		t.Fatal(err)
	}
	if err := w.restoreNotifications(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if got := r.count("SELECT count(*) FROM work WHERE kind = 'notify'"); got != 2 {
		t.Errorf("%d rows of work, want 2", got)
	}
	_ = w.work(t.Context(), w.handlers[tasks.TypeNotify], tasks.Task{Kind: tasks.TypeNotify, Subject: first.ID})
	if r.count("SELECT count(*) FROM notifiers WHERE disabled_at IS NOT NULL AND disabled_reason LIKE '10 attempts in a row failed%'") != 1 {
		t.Error("the notifier is not disabled")
	}
	if _, err := r.in.TestNotifier(t.Context(), n, notify.Test); troy.KindOf(err) != troy.Conflict {
		t.Errorf("a test of a disabled notifier: %v", err)
	}
	if _, err := r.in.EnableNotifier(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := r.in.Redeliver(t.Context(), n, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := r.in.Redeliver(t.Context(), n, first.ID); troy.KindOf(err) != troy.Conflict {
		t.Errorf("a second redelivery: %v", err)
	}
	if _, err := r.in.Redeliver(t.Context(), n, uuid.New()); troy.KindOf(err) != troy.NotFound {
		t.Errorf("a redelivery of nothing: %v", err)
	}
	// An attempt fails, so the other message waits without one.
	_ = w.work(t.Context(), w.handlers[tasks.TypeNotify], tasks.Task{Kind: tasks.TypeNotify, Subject: first.ID})
	var second uuid.UUID
	if err := r.db.QueryRow(t.Context(), "SELECT id FROM notifications WHERE id <> $1", first.ID).Scan(&second); err != nil {
		t.Fatal(err)
	}
	_ = w.work(t.Context(), w.handlers[tasks.TypeNotify], tasks.Task{Kind: tasks.TypeNotify, Subject: second})
	if r.count("SELECT attempts FROM notifications WHERE id <> '"+first.ID.String()+"'") != 0 || r.count("SELECT count(*) FROM work WHERE kind = 'notify' AND due_at > now() + interval '5 seconds'") != 2 {
		t.Error("a receiver that has just failed is not left alone")
	}
	// The wait keeps the attempts that failed before, so the next one is the last.
	for _, sql := range []string{"UPDATE work SET attempt = $1, due_at = now() WHERE subject_id = $2", "UPDATE work SET due_at = now() WHERE $1 > 0 AND subject_id = $2"} {
		if _, err := r.db.Exec(t.Context(), sql, policy.Attempts-1, second); err != nil {
			t.Fatal(err)
		}
		_ = w.work(t.Context(), w.handlers[tasks.TypeNotify], tasks.Task{Kind: tasks.TypeNotify, Subject: second})
		if _, err := r.db.Exec(t.Context(), "UPDATE notifiers SET retry_at = NULL"); err != nil {
			t.Fatal(err)
		}
	}
	if r.count("SELECT count(*) FROM notifications WHERE id = $1 AND ended_at IS NOT NULL AND attempts = 1 AND answer LIKE 'given up: failed 13 times%'", second) != 1 {
		t.Error("a message that waited is not given up after its last attempt")
	}
	if _, err := r.db.Exec(t.Context(), "UPDATE notifications SET created_at = now() - interval '31 days'"); err != nil {
		t.Fatal(err)
	}
	if err := w.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.count("SELECT count(*) FROM notifications"); got != 0 {
		t.Errorf("%d old notifications are left", got)
	}
}

// TestNotificationsAreRestored loses the work of one notification behind more than
// the reconciliation reads at a time.
func TestNotificationsAreRestored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.secrets, r.reconcile = newSealer(t), 50*time.Millisecond
	w := r.workers()
	id := r.pipeline("blog")
	n := r.notifier(&id, newReceiver(t), "deployment.failed")
	if _, err := r.db.Exec(t.Context(), `INSERT INTO notifications (id, notifier_id, pipeline_id, event, details, created_at)
		SELECT gen_random_uuid(), $1, $2, 'deployment.failed', '{}', now() - i * interval '1 minute' FROM generate_series(100, 700) i`, n.ID, id); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), `INSERT INTO work (kind, subject_id) SELECT 'notify', id FROM notifications ORDER BY created_at LIMIT 600`); err != nil {
		t.Fatal(err)
	}
	if err := w.restoreNotifications(t.Context(), time.Second); err != nil {
		t.Fatal(err)
	}
	if got := r.count("SELECT count(*) FROM work WHERE kind = 'notify'"); got != 601 {
		t.Errorf("%d rows of work, want 601", got)
	}
}
