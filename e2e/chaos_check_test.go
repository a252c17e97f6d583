//go:build chaos

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/poll"
)

// check examines the events, the rows and the outside after the run.
func (c *chaos) check(pipelines int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.checkHistories(ctx, pipelines)

	rows, err := c.db.Query(ctx, "SELECT kind, subject_id::text, coalesce(holder, 'none'), by_app, what FROM chaos_stolen")
	if err != nil {
		c.t.Fatal(err)
	}
	for rows.Next() {
		var kind, subject, holder, by, what string
		if err := rows.Scan(&kind, &subject, &holder, &by, &what); err != nil {
			c.t.Fatal(err)
		}
		c.violation("claims", "%s of %s: %s %s, held by %s", kind, subject, by, what, holder)
	}
	rows.Close()

	var n int
	if err := c.db.QueryRow(ctx, "SELECT count(*) FROM work WHERE lease_until < now() - make_interval(secs => $1)", (2 * c.lease).Seconds()).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	if n > 0 {
		c.violation("leases", "%d rows are held by leases that ran out", n)
	}
	for _, table := range []string{"pipelines", "deployments", "domains", "previews", "pull_requests", "pull_request_commands"} {
		if err := c.db.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			c.t.Fatal(err)
		}
		if n > 0 {
			c.violation("left", "%d rows in %s", n, table)
		}
	}
	if err := c.db.QueryRow(ctx, "SELECT count(*) FROM deliveries WHERE outcome = ''").Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	if n > 0 {
		c.violation("left", "%d deliveries without an outcome", n)
	}
	// Outside: resources of any pipeline.
	for _, pattern := range []string{"distributions/*.json", "records/*", "sites/*", "trees/*"} {
		left, err := filepath.Glob(filepath.Join(c.w.dir, "data", "cloud", pattern))
		if err != nil {
			c.t.Fatal(err)
		}
		for _, path := range left {
			c.violation("outside", "left: %s", strings.TrimPrefix(path, c.w.dir))
		}
	}
	for _, line := range c.deploymentsLeft() {
		c.violation("outside", "left at GitHub: %s", line)
	}
	// A deployment's pages have the released content.
	for id, want := range c.expected {
		if got, seen := c.seen[id]; seen && got != want {
			c.violation("readers", "deployment %s says %.60q, released was %.60q", id, got, want)
		}
	}
}

// checkHistories checks that each pipeline's events are a path of the state
// table, from its first status to Deleted, in versions without gaps.
func (c *chaos) checkHistories(ctx context.Context, pipelines int) {
	rows, err := c.db.Query(ctx, "SELECT pipeline_id::text, slug, version, coalesce(from_status, ''), to_status, cause FROM events ORDER BY pipeline_id, version")
	if err != nil {
		c.t.Fatal(err)
	}
	defer rows.Close()
	last, status, version := "", troy.Status(""), int64(0)
	ended := map[string]bool{}
	for rows.Next() {
		var id, slug, from, to, cause string
		var v int64
		if err := rows.Scan(&id, &slug, &v, &from, &to, &cause); err != nil {
			c.t.Fatal(err)
		}
		if id != last {
			last, status, version = id, "", 0
		}
		if v != version+1 {
			c.violation("history", "%s: version %d after %d", slug, v, version)
		}
		if troy.Status(from) != status {
			c.violation("history", "%s: version %d comes from %q, the previous one led to %q", slug, v, from, status)
		} else if from != "" && !troy.Status(from).CanBecome(troy.Status(to)) {
			c.violation("history", "%s: %s may not become %s", slug, from, to)
		}
		status, version = troy.Status(to), v
		if status == troy.Deleted {
			ended[slug] = true
		}
	}
	for n := range pipelines {
		if slug := fmt.Sprintf("site-%d", n); !ended[slug] && c.ctx.Err() == nil {
			c.violation("history", "%s has not ended as Deleted", slug)
		}
	}
}

// drain waits until no work is due or claimed, and returns how long that took.
func (c *chaos) drain() (time.Duration, bool) {
	begun := time.Now()
	done := poll.Until(context.Background(), 2*time.Minute, 50*time.Millisecond, func() bool {
		var n int
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := c.db.QueryRow(ctx, "SELECT count(*) FROM work WHERE kind NOT IN ('retention', 'forge:catch-up', 'forge:report') AND (due_at <= now() + interval '1 minute' OR lease_until > now())").Scan(&n)
		cancel()
		return err == nil && n == 0
	})
	return time.Since(begun), done
}

// repeated counts the outside calls, and those that failed or were repeated.
func (c *chaos) repeated() (calls, failed int) {
	text, err := os.ReadFile(c.w.faults + ".log")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		calls++
		if !strings.HasSuffix(strings.TrimSpace(line), "ok") {
			failed++
		}
	}
	return calls, failed
}

// TestChaos drives PIPELINES pipelines (500) through their lives under SEED's
// faults, and prints what it saw. STEP_SECONDS (180) is the maximum duration of
// a step. With MUTANT, the run ends at the first violation.
func TestChaos(t *testing.T) {
	pipelines := environmentInt("PIPELINES", 500)
	seed := uint64(environmentInt("SEED", int(time.Now().UnixNano()&0x7fffffff)))
	fmt.Printf("chaos: SEED=%d PIPELINES=%d\n", seed, pipelines)
	c := newChaos(t, seed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.ctx = ctx
	mutant := os.Getenv("MUTANT")
	if mutant != "" {
		c.stop = cancel
	}
	begun := time.Now()

	tormentCtx, calm := context.WithCancel(ctx)
	var devil, readers, lives sync.WaitGroup
	devil.Go(func() { c.torment(tormentCtx, rand.New(rand.NewPCG(seed, seed))) })
	for range 4 {
		readers.Go(func() { c.read(ctx) })
	}
	numbers := make(chan int, pipelines)
	for n := range pipelines {
		numbers <- n
	}
	close(numbers)
	for range environmentInt("AT_ONCE", 80) {
		lives.Go(func() {
			for n := range numbers {
				if ctx.Err() != nil {
					return
				}
				c.drive(n)
			}
		})
	}
	over := make(chan struct{})
	var look sync.WaitGroup
	look.Go(func() { c.lookOut(mutant, over) })
	lives.Wait()
	calm()
	devil.Wait()
	c.w.fault("")
	c.reviveDead(rand.New(rand.NewPCG(seed, 1)))
	took := time.Since(begun)
	drained, empty := c.drain()
	if !empty && ctx.Err() == nil {
		c.violation("drain", "work is due still %s after the last fault", drained.Round(time.Second))
	}
	close(over)
	look.Wait()
	c.watches.Wait()
	if ctx.Err() == nil { // it ran to its end
		c.check(pipelines)
	}
	cancel()
	readers.Wait()
	c.report(pipelines, seed, took, drained)
}

// lookOut checks during the run that no worker ended another's claim and that
// the second net repaired nothing. The net hides mistakes, so a repair is one,
// unless the work was dropped on purpose.
func (c *chaos) lookOut(mutant string, stop chan struct{}) {
	stolen := false
	for over := false; !over; {
		select {
		case <-stop:
			over = true
		case <-time.After(500 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		var n int
		if err := c.db.QueryRow(ctx, "SELECT count(*) FROM chaos_stolen").Scan(&n); mutant != "" && err == nil && n > 0 && !stolen {
			c.violation("claims", "%d claims were ended by another worker than their holder", n)
			stolen = true
		}
		cancel()
		lines := c.repairs()
		for _, line := range lines[min(len(lines), c.repaired):] {
			if !strings.Contains(mutant, "drop-work") {
				c.violation("net", "the second net had to repair: %s", line)
			}
		}
		c.repaired = max(c.repaired, len(lines))
	}
}

// repairs lists the second net's repairs from all workers' logs.
func (c *chaos) repairs() (found []string) {
	c.mu.Lock()
	logs := slices.Clone(c.logs)
	c.mu.Unlock()
	for _, log := range logs {
		found = append(found, log.with(` reconciled=`, `"reconciled":`)...)
	}
	return found
}

// with lists the lines that contain one of some words.
func (l *lines) with(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// rowsOf shows the rows of the pipelines that a text names, to explain a
// violation.
func (c *chaos) rowsOf(text string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rows, err := c.db.Query(ctx, `
		SELECT concat_ws(' ', p.slug, p.status, 'head', left(p.head_commit, 7), p.source_problem,
			(SELECT string_agg(concat_ws(' ', d.number, d.kind, left(d.commit_sha, 7), d.state, d.cause), E'\n    ' ORDER BY d.number) FROM deployments d WHERE d.pipeline_id = p.id),
			(SELECT string_agg(E'\n    work ' || to_jsonb(w)::text, '') FROM work w WHERE w.subject_id = p.id OR w.subject_id IN (SELECT id FROM deployments d WHERE d.pipeline_id = p.id)))
		FROM pipelines p WHERE p.slug = ANY(string_to_array($1, ' '))`, text)
	if err != nil {
		return "\n  " + err.Error()
	}
	defer rows.Close()
	var out string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return out + "\n  " + err.Error()
		}
		out += "\n  " + line
	}
	return out
}

func (c *chaos) report(pipelines int, seed uint64, took, drained time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	calls, failed := c.repeated()
	fmt.Fprintf(&b, "\n%-42s %d\n", "seed", seed)
	for _, kind := range sortedKeys(c.faults) {
		fmt.Fprintf(&b, "%-42s %d\n", kind, c.faults[kind])
	}
	fmt.Fprintf(&b, "%-42s %d\n", "pipelines", pipelines)
	for _, kind := range sortedKeys(c.traffic) {
		fmt.Fprintf(&b, "%-42s %d\n", kind, c.traffic[kind])
	}
	fmt.Fprintf(&b, "%-42s %d\n", "accepted requests", c.requests.Load())
	fmt.Fprintf(&b, "%-42s %d\n", "readers' answers", c.answers.Load())
	fmt.Fprintf(&b, "%-42s %d, of which %d failed or lost\n", "outside calls", calls, failed)
	fmt.Fprintf(&b, "%-42s %s\n", "duration", took.Round(time.Second))
	fmt.Fprintf(&b, "%-42s %s\n", "time to drain", drained.Round(10*time.Millisecond))
	if n := len(c.recoveries); n > 0 {
		slices.Sort(c.recoveries)
		fmt.Fprintf(&b, "%-42s p50 %s, max %s, of %d claims\n", "taken up after a worker's death",
			c.recoveries[n/2].Round(100*time.Millisecond), c.recoveries[n-1].Round(100*time.Millisecond), n)
	}
	fmt.Fprintf(&b, "%-42s %d\n", "repaired by the second net", c.repaired)
	total := 0
	for _, check := range sortedKeys(c.checks) {
		total += c.checks[check]
	}
	fmt.Fprintf(&b, "%-42s %d\n", "violations", total)
	for _, check := range sortedKeys(c.checks) {
		fmt.Fprintf(&b, "  %-40s %d\n", check, c.checks[check])
	}
	fmt.Print(b.String())
	for _, v := range c.violations {
		c.t.Error(v)
	}
	switch m := os.Getenv("MUTANT"); {
	case m != "" && total > 0:
		fmt.Printf("mutant %s: caught by %s\n", m, strings.Join(sortedKeys(c.checks), ", "))
	case m != "" && c.repaired > 0:
		fmt.Printf("mutant %s: repaired %d times\n", m, c.repaired)
	}
}
