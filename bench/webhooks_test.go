package bench

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// hookClients is the number of concurrent senders on both sides.
	hookClients = 16
	// hookTime is the duration of a round on each side.
	hookTime = 5 * time.Second
	// hookRounds is the number of rounds; the median counts.
	hookRounds = 3
)

// accepted is the SQL of a push that makes a deployment, statement by
// statement, as a program without Troy's batching would run it.
const accepted = `\set r random(:first + 1, :first + :pipelines)
BEGIN;
INSERT INTO deliveries (source, id, type, body_sha256) VALUES ('github', gen_random_uuid()::text, 'push', sha256(gen_random_uuid()::text::bytea)) RETURNING id AS delivery \gset
INSERT INTO repositories (provider, id, full_name, default_branch, installation_id) VALUES ('github', (:r)::int::text, 'team/r' || (:r)::int, 'main', '9')
  ON CONFLICT (provider, id) DO UPDATE SET full_name = excluded.full_name, changed_at = now();
UPDATE pipelines SET status = 'queued', version = version + 1, last_number = last_number + 1, head_commit = md5(random()::text), updated_at = now()
  WHERE repository_provider = 'github' AND repository_id = (:r)::int::text RETURNING id AS pipeline, version, last_number AS number \gset
INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, commit_sha, branch, author, message, actor)
  VALUES (gen_random_uuid(), (:pipeline)::uuid, (:number)::bigint, 'automated', 'waiting', gen_random_uuid(), md5(random()::text), 'main', 'Mona', 'Say hello', 'push by mona') RETURNING id AS deployment \gset
INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
  VALUES ((:pipeline)::uuid, (:version)::bigint, 'p', 'deployed', 'queued', 'commit was pushed', 'push by mona', (:deployment)::uuid);
INSERT INTO work (kind, subject_id) VALUES ('deployment' || chr(58) || 'build', (:deployment)::uuid);
INSERT INTO work (kind, subject_id) VALUES ('forge' || chr(58) || 'report', (:deployment)::uuid);
UPDATE deliveries SET outcome = 'accepted', detail = 'the commit is deployed', pipeline_id = (:pipeline)::uuid WHERE source = 'github' AND id = (:delivery)::text;
END;
`

// recorded is the SQL of a push to a branch that no pipeline builds.
const recorded = `\set r random(:first + 1, :first + :pipelines)
BEGIN;
INSERT INTO deliveries (source, id, type, body_sha256) VALUES ('github', gen_random_uuid()::text, 'push', sha256(gen_random_uuid()::text::bytea)) RETURNING id AS delivery \gset
INSERT INTO repositories (provider, id, full_name, default_branch, installation_id) VALUES ('github', (:r)::int::text, 'team/r' || (:r)::int, 'main', '9')
  ON CONFLICT (provider, id) DO UPDATE SET full_name = excluded.full_name, changed_at = now();
SELECT id FROM pipelines WHERE repository_provider = 'github' AND repository_id = (:r)::int::text;
UPDATE deliveries SET outcome = 'ignored', detail = 'the push is to another branch' WHERE source = 'github' AND id = (:delivery)::text;
END;
`

// BenchmarkWebhooks measures how many webhooks are accepted per second
// (signature, deduplication, transaction, answer; the ring follows later). For
// comparison pgbench runs the same inserts in the same Postgres with as many
// clients. Both sides' load generators run on the same cores.
func BenchmarkWebhooks(b *testing.B) {
	pgbench, err := exec.LookPath("pgbench")
	if err != nil {
		found, globErr := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
		if err := errors.Join(globErr); err != nil || len(found) == 0 {
			b.Skip("pgbench is not installed (Debian: postgresql)")
		}
		pgbench = found[len(found)-1]
	}
	const pipelines = 40_000
	for name, c := range map[string]struct{ branch, script string }{"deployed": {"main", accepted}, "recorded": {"feature", recorded}} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.pipelines(1, 2*pipelines)
			var ours, theirs []float64
			for i := range hookRounds {
				w.checkpoint()
				ours = append(ours, w.webhooks(b, i*pipelines/hookRounds, pipelines/hookRounds, c.branch))
				w.checkpoint()
				theirs = append(theirs, w.pgbench(b, pgbench, c.script, pipelines))
			}
			b.Logf("accepted in a second: Troy %.0f, pgbench %.0f", ours, theirs)
			slices.Sort(ours)
			slices.Sort(theirs)
			goal := ""
			if name == "deployed" {
				goal = "≥ 1.0"
			}
			result{"webhooks accepted per second, 16 senders: " + name, fmt.Sprintf("%.0f", ours[hookRounds/2]), fmt.Sprintf("`pgbench`, the same rows: %.0f", theirs[hookRounds/2]), fmt.Sprintf("%.2f", ours[hookRounds/2]/theirs[hookRounds/2]), goal}.add(b)
			b.ReportMetric(ours[hookRounds/2], "hooks/s")
			b.ReportMetric(theirs[hookRounds/2], "pgbench/s")
			b.ReportMetric(ours[hookRounds/2]/theirs[hookRounds/2], "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// checkpoint gives both sides the same start: the first write of a page after a
// checkpoint costs more than later ones.
func (w *world) checkpoint() {
	w.b.Helper()
	if _, err := w.db.Exec(w.b.Context(), "CHECKPOINT"); err != nil {
		w.b.Fatal(err)
	}
}

// webhooks sends pushes to this many repositories after first, and returns how
// many were accepted per second.
func (w *world) webhooks(b *testing.B, first, pipelines int, branch string) float64 {
	b.Helper()
	requests := make([][]byte, pipelines)
	for i := range requests {
		requests[i] = pushRequest(first+i+1, branch)
	}
	var next, done atomic.Int64
	start := time.Now()
	var group sync.WaitGroup
	for range hookClients {
		l := w.dial()
		group.Go(func() {
			for time.Since(start) < hookTime {
				i := next.Add(1) - 1
				if i >= int64(len(requests)) {
					return
				}
				if err := l.deliver(requests[i]); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	group.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

var tps = regexp.MustCompile(`tps = ([0-9.]+)`)

// pgbench runs a script against the pipelines after first.
func (w *world) pgbench(b *testing.B, program, script string, pipelines int) float64 {
	b.Helper()
	file := filepath.Join(b.TempDir(), "hooks.sql")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, "--no-vacuum", "--client="+strconv.Itoa(hookClients), "--jobs=2", "--protocol=prepared",
		"--time="+strconv.Itoa(int(hookTime.Seconds())), "--define=pipelines="+strconv.Itoa(pipelines), "--define=first="+strconv.Itoa(pipelines),
		"--file="+file, w.databaseURL)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("pgbench: %v\n%s", err, out)
	}
	found := tps.FindSubmatch(out)
	if found == nil {
		b.Fatalf("pgbench printed no tps:\n%s", out)
	}
	rate, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return rate
}
