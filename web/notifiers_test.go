package web_test

import (
	"context"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/credentials"
)

type notifier struct {
	ID         uuid.UUID  `json:"id"`
	PipelineID *uuid.UUID `json:"pipeline_id"`
	Label      string     `json:"label"`
	Events     []string   `json:"events"`
	Key        string     `json:"signing_key"`
}

type delivery struct {
	ID    uuid.UUID `json:"id"`
	Event string    `json:"event"`
	State string    `json:"state"`
}

func (w *world) addNotifier(body map[string]any, options ...option) notifier {
	w.t.Helper()
	var n notifier
	a := w.send("POST", "/v1/notifiers", body, options...)
	if a.status != 201 {
		w.t.Fatalf("adding a notifier answers %d %s", a.status, a.body)
	}
	decodeLoose(w.t, a.body, &n)
	return n
}

func (w *world) notifiers(query string, options ...option) (ids []uuid.UUID) {
	w.t.Helper()
	var list struct{ Notifiers []notifier }
	a := w.send("GET", "/v1/notifiers"+query, nil, options...)
	if a.status != 200 {
		w.t.Fatalf("the list answers %d %s", a.status, a.body)
	}
	decodeLoose(w.t, a.body, &list)
	for _, n := range list.Notifiers {
		ids = append(ids, n.ID)
	}
	return ids
}

func TestNotifiers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t), func(w *world) {
		w.cfg.NotifyPrivate = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	p, docs := w.create("Blog"), w.create("Docs")
	n := w.addNotifier(map[string]any{"pipeline": "blog", "kind": "webhook", "url": "https://example.com/hook?secret=abc", "events": []string{"quota.near", "deployment.failed", "quota.near"}})
	if !strings.HasPrefix(n.Key, "whsec_") || n.Label != "example.com" || strings.Join(n.Events, " ") != "deployment.failed quota.near" || n.PipelineID == nil {
		t.Errorf("the answer is %+v", n)
	}
	if w.count("SELECT count(*) FROM notifiers WHERE strpos(target::text, encode('abc', 'hex')) > 0 OR strpos(encode(target, 'escape'), 'secret') > 0") != 0 {
		t.Error("the target is not sealed")
	}
	all := w.addNotifier(map[string]any{"kind": "email", "to": []string{"ops@example.com"}})
	other := w.addNotifier(map[string]any{"pipeline": "docs", "kind": "slack", "url": "http://127.0.0.1:1/x"})
	if got := w.send("GET", "/v1/notifiers/"+n.ID.String(), nil); got.status != 200 || strings.Contains(string(got.body), "whsec_") || strings.Contains(string(got.body), "secret=") {
		t.Errorf("the notifier shows %s", got.body)
	}
	if ids := w.notifiers(""); len(ids) != 3 || ids[0] != n.ID || ids[1] != all.ID {
		t.Errorf("the list is %v", ids)
	}
	if ids := w.notifiers("?limit=1&after=" + n.ID.String()); len(ids) != 1 || ids[0] != all.ID {
		t.Errorf("the second page is %v", ids)
	}
	if ids := w.notifiers("?pipeline=blog"); len(ids) != 2 || ids[0] != n.ID || ids[1] != all.ID {
		t.Errorf("the list of a pipeline is %v", ids)
	}

	// An admin of one pipeline sees and changes only its notifiers.
	limited := as(w.token(credentials.Admin, docs.ID))
	if ids := w.notifiers("?pipeline=docs", limited); len(ids) != 1 || ids[0] != other.ID {
		t.Errorf("a limited admin sees %v", ids)
	}
	w.send("GET", "/v1/notifiers", nil, limited).refused(t, 403, "forbidden", "", "limited to named pipelines")
	w.send("GET", "/v1/notifiers?pipeline=blog", nil, limited).refused(t, 404, "not_found", "", "pipeline not found")
	w.send("GET", "/v1/notifiers/"+n.ID.String(), nil, limited).refused(t, 404, "not_found", "", "notifier not found")
	w.send("DELETE", "/v1/notifiers/"+all.ID.String(), nil, limited).refused(t, 403, "forbidden", "", "unlimited admin")
	w.send("POST", "/v1/notifiers", map[string]any{"kind": "slack", "url": "https://example.com"}, limited).refused(t, 403, "forbidden", "", "unlimited admin")
	w.send("POST", "/v1/notifiers", map[string]any{"pipeline": "blog", "kind": "slack", "url": "https://example.com"}, limited).refused(t, 404, "not_found", "", "")
	w.send("GET", "/v1/notifiers?pipeline=blog", nil, as(w.token(credentials.Deployer))).refused(t, 403, "forbidden", "", "admin is needed")

	for field, body := range map[string]map[string]any{
		"url":    {"kind": "webhook", "url": "https://10.0.0.1/"},
		"kind":   {"kind": "pager", "url": "https://example.com"},
		"events": {"kind": "slack", "url": "https://example.com", "events": []string{"test"}},
		"to":     {"kind": "email", "to": []string{"nobody"}},
	} {
		w.send("POST", "/v1/notifiers", body).refused(t, 400, "invalid", field, "")
	}

	// A test is a delivery. It can't be sent again while it waits.
	var d delivery
	a := w.send("POST", "/v1/notifiers/"+n.ID.String()+"/test", nil, header("Idempotency-Key", "one"))
	decodeLoose(t, a.body, &d)
	if a.status != 202 || d.Event != "test" || d.State != "waiting" {
		t.Errorf("a test answers %d %s", a.status, a.body)
	}
	if again := w.send("POST", "/v1/notifiers/"+n.ID.String()+"/test", nil, header("Idempotency-Key", "one")); string(again.body) != string(a.body) {
		t.Errorf("the repetition answers %s, want %s", again.body, a.body)
	}
	deliveries := "/v1/notifiers/" + n.ID.String() + "/deliveries"
	w.send("POST", deliveries+"/"+d.ID.String()+"/redeliver", nil).refused(t, 409, "conflict", "", "is being sent already")
	w.send("POST", "/v1/notifiers/"+other.ID.String()+"/deliveries/"+d.ID.String()+"/redeliver", nil).refused(t, 404, "not_found", "", "no delivery")
	w.exec("UPDATE notifications SET ended_at = now(), status = 500, answer = 'the receiver answered 500'")
	w.exec("DELETE FROM work WHERE kind = 'notify'")
	w.send("POST", deliveries+"/"+d.ID.String()+"/redeliver", nil).into(t, 202, nil)
	if w.count("SELECT count(*) FROM work WHERE kind = 'notify' AND subject_id = '"+d.ID.String()+"' AND pipeline_id = '"+p.ID.String()+"'") != 1 {
		t.Error("the delivery is not sent again")
	}
	if list := w.send("GET", deliveries, nil); list.status != 200 || !strings.Contains(string(list.body), "answered 500") {
		t.Errorf("the deliveries are %s", list.body)
	}

	w.exec("UPDATE notifiers SET disabled_at = now(), disabled_reason = 'gone' WHERE id = '" + n.ID.String() + "'")
	w.send("POST", "/v1/notifiers/"+n.ID.String()+"/test", nil).refused(t, 409, "conflict", "", "the notifier is disabled (gone); enable it first")
	w.send("POST", "/v1/notifiers/"+n.ID.String()+"/enable", nil).into(t, 200, nil)
	w.send("DELETE", "/v1/notifiers/"+n.ID.String(), nil).into(t, 204, nil)
	w.send("DELETE", "/v1/notifiers/"+n.ID.String(), nil).refused(t, 404, "not_found", "", "")

	// A pipeline has at most twenty.
	for range 19 {
		w.addNotifier(map[string]any{"pipeline": "docs", "kind": "slack", "url": "https://example.com"})
	}
	w.send("POST", "/v1/notifiers", map[string]any{"pipeline": "docs", "kind": "slack", "url": "https://example.com"}).refused(t, 409, "conflict", "", "no more are allowed")
	if n := w.count("SELECT count(*) FROM audit WHERE action LIKE 'notifier.%'"); n != 24 {
		t.Errorf("the audit trail has %d entries, want 24", n)
	}
}

// The maximum of notifiers of all pipelines holds for those who add them at once.
func TestSharedNotifiersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t))
	w.exec(`INSERT INTO notifiers (id, kind, label, target, events, created_by)
		SELECT gen_random_uuid(), 'slack', 'example.net', '', '{quota.near}', 'test' FROM generate_series(1, 19)`)
	// Those who have counted wait to insert, so all of them count before any inserts.
	conn, err := pgx.ConnectConfig(t.Context(), w.db.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), "BEGIN; LOCK TABLE notifiers IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	const at = 3 // the pool has four connections
	var added, refused atomic.Int64
	var senders sync.WaitGroup
	for range at {
		senders.Go(func() {
			switch a := w.send("POST", "/v1/notifiers", map[string]any{"kind": "slack", "url": "https://example.com"}); a.status {
			case 201:
				added.Add(1)
			case 409:
				refused.Add(1)
			default:
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	w.eventually("all of them wait", func() bool {
		var waiting int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&waiting)
		return err == nil && waiting == at
	})
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	senders.Wait()
	if n := w.count("SELECT count(*) FROM notifiers"); n != 20 || added.Load() != 1 || refused.Load() != at-1 {
		t.Errorf("%d notifiers, %d added, %d refused; want 20, 1 and %d", n, added.Load(), refused.Load(), at-1)
	}
}

// A rotation shows the new key once, keeps the earlier one sealed for a day, and
// is for those who may change the notifier.
func TestRotateNotifier(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := newWorld(t, sealed(t), func(w *world) { w.deps.Now = func() time.Time { return now } })
	w.create("Blog")
	docs := w.create("Docs")
	n := w.addNotifier(map[string]any{"pipeline": "blog", "kind": "webhook", "url": "https://example.com/hook"})
	all := w.addNotifier(map[string]any{"kind": "webhook", "url": "https://example.com/all"})
	slack := w.addNotifier(map[string]any{"pipeline": "blog", "kind": "slack", "url": "https://example.com/slack"})
	path := func(n notifier) string { return "/v1/notifiers/" + n.ID.String() + "/rotate" }

	limited := as(w.token(credentials.Admin, docs.ID))
	w.send("POST", path(n), nil, limited).refused(t, 404, "not_found", "", "notifier not found")
	w.send("POST", path(all), nil, limited).refused(t, 403, "forbidden", "", "unlimited admin")
	for _, role := range []credentials.Role{credentials.Viewer, credentials.Deployer} {
		w.send("POST", path(n), nil, as(w.token(role))).refused(t, 403, "forbidden", "", "admin is needed")
	}
	w.send("POST", path(slack), nil).refused(t, 409, "conflict", "", "only a webhook has a signing key")
	w.send("POST", path(notifier{}), nil).refused(t, 404, "not_found", "", "")
	if w.count("SELECT count(*) FROM notifiers WHERE earlier_keys IS NOT NULL") != 0 || w.count("SELECT count(*) FROM audit WHERE action = 'notifier.rotate'") != 0 {
		t.Fatal("a refused rotation changed something")
	}

	var rotated struct {
		notifier
		Until time.Time `json:"earlier_keys_until"`
	}
	a := w.send("POST", path(n), nil, header("Idempotency-Key", "one"))
	decodeLoose(t, a.body, &rotated)
	if a.status != 200 || !strings.HasPrefix(rotated.Key, "whsec_") || rotated.Key == n.Key || rotated.Until.Sub(now.Add(24*time.Hour)).Abs() > time.Second {
		t.Errorf("a rotation answers %d %s", a.status, a.body)
	}
	w.send("POST", path(n), nil, header("Idempotency-Key", "one")).refused(t, 409, "conflict", "Idempotency-Key", "can't be shown again")
	if got := w.send("GET", "/v1/notifiers/"+n.ID.String(), nil); strings.Contains(string(got.body), "whsec_") || !strings.Contains(string(got.body), `"earlier_keys_until"`) {
		t.Errorf("the notifier shows %s", got.body)
	}
	if w.count("SELECT count(*) FROM notifiers WHERE strpos(encode(target, 'escape') || encode(coalesce(earlier_keys, ''), 'escape'), 'whsec_') > 0") != 0 {
		t.Error("a key is not sealed")
	}
	if w.count("SELECT count(*) FROM audit WHERE action = 'notifier.rotate' AND slug = 'blog' AND subject = 'webhook example.com/…k' AND detail = '"+n.ID.String()+"'") != 1 {
		t.Error("the audit trail does not have the rotation once")
	}
	for range 3 {
		w.send("POST", path(n), nil).into(t, 200, nil)
	}
	w.send("POST", path(n), nil).refused(t, 409, "conflict", "", "5 keys sign already; rotate again after "+now.Add(24*time.Hour).UTC().Format(time.RFC3339))
	now = now.Add(24 * time.Hour)
	w.send("POST", path(n), nil).into(t, 200, nil)

	const page = "/pipelines/blog/notifications"
	cookie, form := w.session(w.admin), url.Values{"notifier": {n.ID.String()}}
	if a := w.visit("POST", page+"/rotate", form, cookie); a.status != 200 || strings.Count(string(a.body), "whsec_") != 2 || !strings.Contains(string(a.body), "Earlier keys sign too until") {
		t.Errorf("the page answers %d %s", a.status, a.body)
	}
	if a := w.visit("GET", page, nil, cookie); strings.Contains(string(a.body), "whsec_") || strings.Count(string(a.body), "Rotate the key") != 1 {
		t.Errorf("the page shows %s", a.body)
	}
	for elsewhere, session := range map[string]string{"/pipelines/docs/notifications": cookie, "/system/notifications": cookie, page: w.session(w.token(credentials.Deployer))} {
		if a := w.visit("POST", elsewhere+"/rotate", form, session); a.status != 404 && a.status != 403 {
			t.Errorf("%s rotates it: %d", elsewhere, a.status)
		}
	}
	if a := w.visit("POST", page+"/rotate", url.Values{"notifier": {slack.ID.String()}}, cookie); a.status != 409 {
		t.Errorf("the page rotates a channel's key: %d", a.status)
	}
	if n := w.count("SELECT count(*) FROM audit WHERE action = 'notifier.rotate'"); n != 6 {
		t.Errorf("the audit trail has %d rotations, want 6", n)
	}
}

// The pages add, test and remove notifiers, and show a webhook's key once.
func TestNotificationsPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sealed(t))
	w.create("Blog")
	w.create("Docs")
	cookie := w.session(w.admin)
	const path, all = "/pipelines/blog/notifications", "/system/notifications"
	form := url.Values{"kind": {"webhook"}, "to": {"https://example.com/secret-hook"}, "event": {"deployment.failed", "quota.near"}}
	a := w.visit("POST", path+"/add", form, cookie)
	if a.status != 200 || !strings.Contains(string(a.body), "whsec_") || strings.Contains(string(a.body), "secret-hook") {
		t.Fatalf("adding a webhook answers %d %s", a.status, a.body)
	}
	if a := w.visit("GET", path, nil, cookie); a.status != 200 || strings.Contains(string(a.body), "whsec_") || !strings.Contains(string(a.body), "deployment failed, quota near") {
		t.Errorf("the page answers %d %s", a.status, a.body)
	}
	for want, wrong := range map[string]url.Values{
		"expected https":              {"kind": {"slack"}, "to": {"http://example.com"}, "event": {"quota.near"}},
		"choose at least one event":   {"kind": {"slack"}, "to": {"https://example.com/kept"}},
		"is not an e-mail address":    {"kind": {"email"}, "to": {"nobody"}, "event": {"quota.near"}},
		"is not a kind":               {"kind": {"<script>"}, "to": {"x"}, "event": {"quota.near"}},
		"&#34;x&#34; is not an event": {"kind": {"slack"}, "to": {"https://example.com"}, "event": {"x"}},
	} {
		a := w.visit("POST", path+"/add", wrong, cookie)
		if a.status != 400 || !strings.Contains(string(a.body), want) || strings.Contains(string(a.body), "<script>\"") || !strings.Contains(string(a.body), `value="`+wrong.Get("to")+`"`) {
			t.Errorf("%v answers %d, want %q and the values", wrong, a.status, want)
		}
	}
	n := w.text("SELECT id::text FROM notifiers")
	if a := w.visit("POST", path+"/test", url.Values{"notifier": {n}}, cookie); a.status != 303 || w.count("SELECT count(*) FROM work WHERE kind = 'notify'") != 1 {
		t.Errorf("a test answers %d", a.status)
	}
	w.exec("UPDATE notifications SET ended_at = now(), attempts = 13, answer = 'given up: <b>500'")
	if a := w.visit("GET", path, nil, cookie); !strings.Contains(string(a.body), "given up: &lt;b&gt;500") || !strings.Contains(string(a.body), "Send again") {
		t.Errorf("the page shows %s", a.body)
	}
	if a := w.visit("POST", path+"/redeliver", url.Values{"notifier": {n}, "delivery": {w.text("SELECT id::text FROM notifications")}}, cookie); a.status != 303 {
		t.Errorf("a redelivery answers %d %s", a.status, a.body)
	}
	// A notifier is changed on its own page alone.
	for _, elsewhere := range []string{"/pipelines/docs/notifications", all} {
		if a := w.visit("POST", elsewhere+"/remove", url.Values{"notifier": {n}}, cookie); a.status != 404 {
			t.Errorf("%s removes it: %d", elsewhere, a.status)
		}
	}
	if a := w.visit("POST", all+"/add", url.Values{"kind": {"slack"}, "to": {"https://shared.example.com"}, "event": {"quota.near"}}, cookie); a.status != 200 {
		t.Errorf("adding one for all answers %d", a.status)
	}
	if a := w.visit("GET", path, nil, cookie); !strings.Contains(string(a.body), "1 more is told about all pipelines") {
		t.Errorf("the pipeline's page does not tell of it: %s", a.body)
	}
	// The page of those of all pipelines has them alone, however many come before.
	w.exec(`INSERT INTO notifiers (id, pipeline_id, kind, label, target, events, created_by)
		SELECT ('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid, p.id, 'slack', 'example.net', '', '{quota.near}', 'test' FROM pipelines p, generate_series(1, 250) i WHERE p.slug = 'docs'`)
	if a := w.visit("GET", all, nil, cookie); !strings.Contains(string(a.body), "shared.example.com") || strings.Contains(string(a.body), "example.net") {
		t.Errorf("the page of all pipelines shows %s", a.body)
	}
	w.exec("DELETE FROM notifiers WHERE label = 'example.net'")
	if a := w.visit("POST", path+"/remove", url.Values{"notifier": {n}}, cookie); a.status != 303 || w.count("SELECT count(*) FROM notifiers") != 1 {
		t.Errorf("removing it answers %d", a.status)
	}
	viewer := w.session(w.token(credentials.Viewer))
	for _, page := range []string{path, all} {
		if a := w.visit("GET", page, nil, viewer); a.status != 200 || strings.Contains(string(a.body), "example.com") {
			t.Errorf("a viewer sees %s", a.body)
		}
	}
}
