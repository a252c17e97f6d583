package web_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// cutter is a proxy between Troy and Postgres. When armed, it forwards the next
// COMMIT and cuts the connection before the answer.
type cutter struct {
	armed atomic.Bool
	cuts  atomic.Int64
}

func (c *cutter) serve(t *testing.T, network, target string) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(network, target)
			if err != nil {
				_ = in.Close()
				continue
			}
			var silent atomic.Bool // nothing more is forwarded to Troy
			go c.ask(in, out, &silent)
			go func() {
				defer in.Close()
				answer := make([]byte, 32<<10)
				for {
					n, err := out.Read(answer)
					if silent.Load() || err != nil {
						_ = out.Close()
						return
					}
					if _, err := in.Write(answer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr)
}

func (c *cutter) ask(in, out net.Conn, silent *atomic.Bool) {
	defer out.Close()
	question := make([]byte, 32<<10)
	for {
		n, err := in.Read(question)
		if err != nil {
			return
		}
		if bytes.Contains(question[:n], []byte("Q\x00\x00\x00\x0bcommit\x00")) && c.armed.CompareAndSwap(true, false) {
			silent.Store(true)
			c.cuts.Add(1)
			_, _ = out.Write(question[:n])
			_, _ = io.Copy(io.Discard, in) // until Troy sees the end
			return
		}
		if _, err := out.Write(question[:n]); err != nil {
			return
		}
	}
}

// behind makes a world whose Postgres is behind the cutter.
func (c *cutter) behind(t *testing.T) *world {
	return newWorld(t, func(w *world) {
		cfg := w.db.Config()
		network, target := pgconn.NetworkAddress(cfg.ConnConfig.Host, cfg.ConnConfig.Port)
		address := c.serve(t, network, target)
		cfg.ConnConfig.Host, cfg.ConnConfig.Port, cfg.ConnConfig.Fallbacks = address.IP.String(), uint16(address.Port), nil
		db, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		w.deps.DB = db
		w.deps.Intake = intake.New(db, w.bell, intake.Config{SitesSuffix: "sites.test"})
	})
}

func key(k string) option { return header("Idempotency-Key", k) }

// TestCommitWithoutAnswer loses the answer to the COMMIT of every POST that
// makes or moves something, and sends the request again.
func TestCommitWithoutAnswer(t *testing.T) {
	t.Parallel()
	var c cutter
	w := c.behind(t)
	blog := w.create("Blog")
	first, second := w.released(blog, "one"), w.released(blog, "two")
	w.goLive(blog, first.ID)
	w.goLive(blog, second.ID)
	at := "/v1/pipelines/" + blog.ID.String()
	raw := w.create("Raw")
	built := w.create("Built")
	w.exec("UPDATE pipelines SET repository_provider = 'github', repository_full_name = 'a/b', status = 'ready_for_deployment' WHERE id = $1", built.ID)
	waiting := w.create("Waiting")
	toCancel := w.released(waiting, "x")
	uploaded := w.begin(w.create("Uploaded"), nil, file("index.html", "one"))
	w.send("PUT", fmt.Sprintf("/v1/pipelines/%s/releases/%s/files/%s", uploaded.PipelineID, uploaded.ID, uploaded.Missing[0].SHA256), "one").into(t, 204, nil)

	doomed := w.create("Doomed")
	w.exec("UPDATE pipelines SET status = 'scheduled_for_deletion', delete_due_at = now() + interval '1 hour', restore_status = 'deployed' WHERE id = $1", doomed.ID)

	for _, test := range []struct {
		path, body, other string
		status            int
		effect            string // counts the effects
	}{
		{"/v1/pipelines", `{"name":"Once"}`, `{"name":"Twice"}`, 201, "SELECT count(*) FROM pipelines WHERE name IN ('Once', 'Twice')"},
		{"/v1/pipelines/" + raw.ID.String() + "/provision", "", "{ }", 202, "SELECT count(*) FROM events WHERE to_status = 'provision_request' AND slug = 'raw'"},
		{"/v1/pipelines/" + doomed.ID.String() + "/restore", "", "{ }", 202, "SELECT count(*) FROM events WHERE from_status = 'scheduled_for_deletion'"},
		{at + "/rollback", "", "{}", 202, "SELECT count(*) FROM deployments WHERE kind = 'rollback'"},
		{at + "/promote", `{"deployment":"` + first.ID.String() + `"}`, `{"deployment":"` + second.ID.String() + `"}`, 202, "SELECT count(*) FROM deployments WHERE kind = 'promotion'"},
		{at + "/purge", `{"path":""}`, `{"path":"fonts/"}`, 202, "SELECT count(*) FROM purges"},
		{at + "/deployments/" + first.ID.String() + "/retry", "", "{}", 202, "SELECT count(*) - 2 FROM deployments WHERE kind = 'release' AND pipeline_id = '" + blog.ID.String() + "'"},
		{"/v1/pipelines/" + built.ID.String() + "/deployments", `{}`, `{"commit":"` + strings.Repeat("a", 40) + `"}`, 202, "SELECT count(*) FROM deployments WHERE kind = 'automated'"},
		{"/v1/pipelines/" + waiting.ID.String() + "/deployments/" + toCancel.ID.String() + "/cancel", "", "{}", 202, "SELECT count(*) FROM deployments WHERE state = 'cancelled'"},
		{fmt.Sprintf("/v1/pipelines/%s/releases/%s/finalize", uploaded.PipelineID, uploaded.ID), `{}`, `{"publish":true}`, 202, "SELECT count(*) FROM deployments WHERE id = '" + uploaded.ID.String() + "'"},
	} {
		cuts, k := c.cuts.Load(), key("key of "+test.path)
		c.armed.Store(true)
		a := w.send("POST", test.path, test.body, k)
		a.refused(t, 503, "unsure", "", "may have been carried out")
		if a.header.Get("Retry-After") == "" || c.cuts.Load() != cuts+1 {
			t.Errorf("%s: %d cuts, Retry-After %q", test.path, c.cuts.Load()-cuts, a.header.Get("Retry-After"))
		}
		w.eventually("the COMMIT has its effect: "+test.path, func() bool { return w.count(test.effect) == 1 })
		var one, two struct{ ID uuid.UUID }
		for _, made := range []*struct{ ID uuid.UUID }{&one, &two} {
			a := w.send("POST", test.path, test.body, k)
			if a.status != test.status {
				t.Errorf("%s again: %d %s", test.path, a.status, a.body)
			}
			decodeLoose(t, a.body, made)
		}
		if one.ID == uuid.Nil || one.ID != two.ID {
			t.Errorf("%s: answered with %s and %s", test.path, one.ID, two.ID)
		}
		w.send("POST", test.path, test.other, k).refused(t, 409, "conflict", "Idempotency-Key", "another request")
		if n := w.count(test.effect); n != 1 {
			t.Errorf("%s: repeated it had %d effects", test.path, n)
		}
	}

	// The result is certain if Postgres itself refuses, or was never asked.
	w.send("POST", "/v1/pipelines", `{"name":"x","slug":"blog"}`, key("taken")).refused(t, 409, "conflict", "slug", "taken")
	w.send("POST", "/v1/pipelines", `{"name":"x","slug":"free"}`, key("taken")).into(t, 201, nil)
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Concurrent repetitions are carried out once, and all get the same answer.
	var all sync.WaitGroup
	ids := make([]uuid.UUID, 12)
	for i := range ids {
		all.Go(func() {
			var p pipeline
			a := w.send("POST", "/v1/pipelines", `{"name":"Blog"}`, key("k"))
			if a.status != 201 || json.Unmarshal(a.body, &p) != nil {
				t.Errorf("%d %s", a.status, a.body)
			}
			ids[i] = p.ID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("answers name %s and %s", ids[0], id)
		}
	}
	if n := w.count("SELECT count(*) FROM pipelines"); n != 1 {
		t.Fatalf("%d pipelines", n)
	}
	// Another path and another caller's key are other requests.
	w.send("POST", "/v1/pipelines/"+ids[0].String()+"/provision", "", key("k")).refused(t, 409, "conflict", "Idempotency-Key", "another request")
	w.send("POST", "/v1/pipelines", `{"name":"Blog"}`, key("k"), as(w.token(credentials.Admin))).into(t, 201, nil)
	// Without a key each is a new request.
	for range 2 {
		w.send("POST", "/v1/pipelines", `{"name":"Blog"}`).into(t, 201, nil)
	}
	if n := w.count("SELECT count(*) FROM pipelines"); n != 4 {
		t.Errorf("%d pipelines, want 4", n)
	}
	w.send("POST", "/v1/pipelines", `{"name":"Blog"}`, key(strings.Repeat("k", 129))).refused(t, 400, "invalid", "Idempotency-Key", "")
	w.send("POST", "/v1/pipelines", `{"name":"`+strings.Repeat("x", 64<<10)+`"}`, key("large")).refused(t, 413, "too_large", "", "")
	// A key is forgotten after a day, both when it is read and by the sweep.
	w.exec("UPDATE requests SET created_at = now() - interval '25 hours' WHERE key = 'k'")
	var p pipeline
	w.send("POST", "/v1/pipelines", `{"name":"Later"}`, key("k")).into(t, 201, &p)
	if p.Name != "Later" {
		t.Errorf("a day later the key makes %q", p.Name)
	}
	w.exec("UPDATE requests SET created_at = now() - interval '25 hours' WHERE key = 'k'")
	if n, err := w.q.RequestsExpire(t.Context()); err != nil || n != 2 {
		t.Errorf("%d keys were forgotten (%v), want 2", n, err)
	}
	// What the key made may have been deleted.
	w.send("POST", "/v1/pipelines", `{"name":"Gone"}`, key("gone")).into(t, 201, &p)
	w.exec("DELETE FROM pipelines WHERE id = $1", p.ID)
	w.send("POST", "/v1/pipelines", `{"name":"Gone"}`, key("gone")).refused(t, 404, "not_found", "", "was deleted")
	// A rung task has an answer.
	blog := `{"kind":"retention","id":"` + ids[0].String() + `"}`
	w.send("POST", "/v1/tasks", blog, key("ring")).into(t, 202, nil)
	if a := w.send("POST", "/v1/tasks", blog, key("ring")); a.status != 202 || !strings.Contains(string(a.body), "first request") {
		t.Errorf("rung again: %d %s", a.status, a.body)
	}
}

// The error of a lost COMMIT keeps its cause for the log.
func TestUnsureKeepsItsCause(t *testing.T) {
	t.Parallel()
	var c cutter
	w := c.behind(t)
	c.armed.Store(true)
	_, err := w.deps.Intake.CreateToken(t.Context(), queries.TokenCreateParams{ID: uuid.New(), Name: "x", Role: "viewer", Hash: []byte("x")})
	if _, ok := errors.AsType[*intake.Unsure](err); !ok || errors.Unwrap(err) == nil {
		t.Errorf("%v", err)
	}
}
