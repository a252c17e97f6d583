//go:build chaos

package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
)

// TestRecovery kills a worker that holds many steps, and measures how long each
// waits for another worker; how long rows wait after FLUSHALL; and how long a
// graceful stop takes to hand leases back.
func TestRecovery(t *testing.T) {
	const steps = 60
	w := newWorld(t, "TROY_WORKERS=60")
	w.start("web")
	w.fault("cdn.create hang\n")
	doomed := w.start("work")
	ids := make([]string, steps)
	for n := range ids {
		ids[n] = w.event("Created", fmt.Sprintf("app-%d", n), time.Now())
	}
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	// epochs of the claims on provisioning.
	epochs := func() map[string]int64 {
		rows, err := db.Query(t.Context(), "SELECT subject_id::text, epoch FROM work WHERE kind = 'pipeline:provision' AND lease_until > now()")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		held := map[string]int64{}
		for rows.Next() {
			var id string
			var epoch int64
			if err := rows.Scan(&id, &epoch); err != nil {
				t.Fatal(err)
			}
			held[id] = epoch
		}
		return held
	}
	w.eventually("all steps are held", func() bool { return len(epochs()) == steps })
	// Other workers stand by; their calls succeed.
	calm := w.faults + ".calm"
	if err := os.WriteFile(calm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := w.env
	w.env = append(slices.Clone(w.env), "TROY_FAULTS="+calm)
	heir := w.start("work")
	held := epochs()
	died := time.Now()
	doomed.kill()
	var waited []time.Duration
	w.eventually("all steps are taken over", func() bool {
		now := epochs()
		for id, epoch := range held {
			if other, still := now[id]; !still && time.Since(died) < time.Second {
				continue
			} else if other != epoch {
				waited = append(waited, time.Since(died))
				delete(held, id)
			}
		}
		return len(held) == 0
	})
	slices.Sort(waited)
	fmt.Printf("recovery: %d steps of a killed worker taken over by another: p50 %s, p99 %s, max %s\n", len(waited),
		waited[len(waited)/2].Round(10*time.Millisecond), waited[len(waited)*99/100].Round(10*time.Millisecond), waited[len(waited)-1].Round(10*time.Millisecond))
	for _, id := range ids {
		w.waitFor(id, troy.ReadyForDeployment)
	}
	if n := len(w.distributions()); n != steps {
		t.Errorf("%d distributions of %d pipelines", n, steps)
	}

	// FLUSHALL while all slots are free: rows are rung, but no worker gets the
	// ring.
	heir.signal(syscall.SIGSTOP)
	late := make([]string, 40)
	for n := range late {
		late[n] = w.event("Created", fmt.Sprintf("late-%d", n), time.Now())
	}
	w.redis.FlushAll()
	flushed := time.Now()
	heir.signal(syscall.SIGCONT)
	for _, id := range late {
		w.waitFor(id, troy.ReadyForDeployment)
	}
	fmt.Printf("recovery: %d rows after FLUSHALL done by another ring within %s\n", len(late), time.Since(flushed).Round(10*time.Millisecond))

	// SIGTERM in the middle of steps.
	heir.signal(syscall.SIGTERM)
	<-heir.gone
	w.env = before
	stopping := w.start("work")
	last := make([]string, 20)
	for n := range last {
		last[n] = w.event("Created", fmt.Sprintf("last-%d", n), time.Now())
	}
	w.eventually("they are held", func() bool { return len(epochs()) == len(last) })
	asked := time.Now()
	stopping.signal(syscall.SIGTERM)
	w.eventually("the leases are handed back", func() bool { return len(epochs()) == 0 })
	took := time.Since(asked)
	var attempts int
	if err := db.QueryRow(t.Context(), "SELECT coalesce(max(attempt), 0) FROM work WHERE kind = 'pipeline:provision'").Scan(&attempts); err != nil {
		t.Fatal(err)
	}
	if attempts != 0 {
		t.Errorf("a graceful stop counted %d attempts", attempts)
	}
	fmt.Printf("recovery: SIGTERM handed %d leases back within %s, %d attempts counted\n", len(last), took.Round(10*time.Millisecond), attempts)
	w.fault("")
}

// TestOverload sends ten thousand signed webhooks in ten seconds to a web
// process whose Postgres is slow. Each is accepted or refused with a request to
// retry, memory stays bounded, and all accepted work is done.
func TestOverload(t *testing.T) {
	const hooks, seconds = 10_000, 10
	w := newWorld(t, "TROY_GITHUB_SECRET="+githubSecret, "TROY_GITHUB_CLIENT_ID="+githubClientID, "TROY_GITHUB_KEY_FILE="+newGitHub(t).keyFile, "TROY_LOG_LEVEL=error")
	_, address, _ := strings.Cut(w.database, "@")
	address, _, _ = strings.Cut(address, "/")
	slow := newProxy(t, address)
	slow.delay.Store(int64(40 * time.Millisecond))
	w.env = append(w.env, "TROY_DATABASE_URL="+strings.Replace(w.database, address, slow.address, 1))
	web := w.start("web")
	memory := func(field string) int64 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", web.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), field+":")
		kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		return kib << 10
	}
	idle := memory("VmRSS")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4000, MaxConnsPerHost: 4000}, Timeout: time.Minute}
	var accepted, refused, other, without atomic.Int64
	var mu sync.Mutex
	var ids []string
	var group sync.WaitGroup
	tick := time.NewTicker(seconds * time.Second / hooks)
	begun := time.Now()
	for n := range hooks {
		<-tick.C
		group.Go(func() {
			id := uuid.NewString()
			commit := fmt.Sprintf("%040x", n+1)
			body := fmt.Appendf(nil, `{"ref":"refs/heads/main","before":"%040x","after":"%s","repository":{"id":%d,"name":"r","full_name":"team/r%d","default_branch":"main"},"installation":{"id":9},"pusher":{"name":"mona"},"head_commit":{"id":"%s","message":"x","author":{"name":"M"}},"commits":[]}`, n, commit, n%500+1, n%500, commit)
			mac := hmac.New(sha256.New, []byte(githubSecret))
			mac.Write(body)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.web+"/hooks/github", bytes.NewReader(body))
			if err != nil {
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-GitHub-Event", "push")
			req.Header.Set("X-GitHub-Delivery", id)
			req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
			resp, err := client.Do(req)
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					other.Add(1)
				}
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusAccepted:
				accepted.Add(1)
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			case http.StatusServiceUnavailable:
				refused.Add(1)
				if resp.Header.Get("Retry-After") == "" {
					without.Add(1)
				}
			default:
				other.Add(1)
			}
		})
	}
	group.Wait()
	took := time.Since(begun)
	most := memory("VmHWM")
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	var done int64
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM deliveries WHERE id = ANY($1) AND outcome <> ''", ids).Scan(&done); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("overload: %d webhooks in %s with 40 ms on each packet of Postgres: %d accepted and done %d, %d asked to retry (%d without Retry-After), %d else; memory %d MiB idle, at most %d MiB\n",
		hooks, took.Round(100*time.Millisecond), accepted.Load(), done, refused.Load(), without.Load(), other.Load(), idle>>20, most>>20)
	if done != accepted.Load() || without.Load() > 0 || other.Load() > 0 {
		t.Error("accepted work is not done, or an answer is neither an acceptance nor a request to retry")
	}
}

// TestMillionDueRows puts a million work rows into the table: the first due is
// still done, and Redis does not fill up.
func TestMillionDueRows(t *testing.T) {
	w := newWorld(t)
	w.start("web")
	db, err := pgx.Connect(t.Context(), w.database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	id := w.event("Created", "blog", time.Now())
	if _, err := db.Exec(t.Context(), "UPDATE work SET due_at = now() - interval '2 hours', since = now()"); err != nil {
		t.Fatal(err)
	}
	// Retention of deleted pipelines: each finds nothing to do.
	begun := time.Now()
	if _, err := db.Exec(t.Context(), "INSERT INTO work (kind, subject_id, due_at) SELECT 'retention', gen_random_uuid(), now() - interval '1 hour' FROM generate_series(1, 1000000)"); err != nil {
		t.Fatal(err)
	}
	inserted := time.Since(begun)
	begun = time.Now()
	w.start("work")
	w.waitFor(id, troy.ReadyForDeployment)
	took := time.Since(begun)
	var left int
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM work").Scan(&left); err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	var after, rung int
	w.eventually("some of the rows are done", func() bool {
		if err := db.QueryRow(t.Context(), "SELECT count(*), count(*) FILTER (WHERE ring_id IS NOT NULL) FROM work").Scan(&after, &rung); err != nil {
			t.Fatal(err)
		}
		if rung > 20 {
			t.Fatalf("%d rows are rung, want at most 2N of 10 slots", rung)
		}
		return left-after >= 1000
	})
	fmt.Printf("a million due rows (made in %s): a pipeline that was due first was ready %s after the start; %d rows done per second, %d rung at a time\n",
		inserted.Round(time.Second), took.Round(100*time.Millisecond), int(float64(left-after)/time.Since(begun).Seconds()), rung)
}
