//go:build chaos

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/troy-iaas/troy/internal/poll"
)

// count records a fault of a kind.
func (c *chaos) count(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[kind]++
}

// tell records what a team did, or what happened to a webhook.
func (c *chaos) tell(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.traffic[what]++
}

// part is a process that is killed and started again.
type part struct {
	kind   string // web or work
	number int
	env    []string
	lives  int

	process *process
	app     string // application_name of this run
}

// begin starts the part again.
func (c *chaos) begin(p *part) {
	p.lives++
	p.app = fmt.Sprintf("%s-%d-%d", p.kind, p.number, p.lives)
	env := append([]string{}, c.w.env...)
	env = append(env, p.env...)
	env = append(env, "TROY_DATABASE_URL="+c.databaseFor(p))
	p.process = c.spawn(p.kind, env)
}

// schemes are the faults with their weights.
func (c *chaos) disasters() map[string]struct {
	weight int
	strike func(r *rand.Rand)
} {
	return map[string]struct {
		weight int
		strike func(r *rand.Rand)
	}{
		"kill -9 of web": {2, func(r *rand.Rand) { c.revive(c.webs[r.IntN(len(c.webs))], syscall.SIGKILL, r) }},
		"kill -9 of work": {4, func(r *rand.Rand) {
			p := c.works[r.IntN(len(c.works))]
			c.watchRecovery(p.app)
			c.revive(p, syscall.SIGKILL, r)
		}},
		"SIGTERM of work": {2, func(r *rand.Rand) { c.revive(c.works[r.IntN(len(c.works))], syscall.SIGTERM, r) }},
		"kill -9 of Redis": {1, func(r *rand.Rand) {
			c.w.redis.Kill()
			c.pause(r, 200, 1200)
			c.w.redis.Restart()
		}},
		"FLUSHALL": {2, func(*rand.Rand) { c.flush() }},
		"Postgres stopped at once": {1, func(r *rand.Rand) {
			c.crashPostgres(r)
		}},
		"replies of Postgres lost": {3, func(r *rand.Rand) { c.postgresProxy.drop.Store(int64(1 + r.IntN(3))) }},
		"replies of Redis lost":    {2, func(r *rand.Rand) { c.redisProxy.drop.Store(int64(1 + r.IntN(3))) }},
		"connections cut": {2, func(r *rand.Rand) {
			if r.IntN(2) == 0 {
				c.postgresProxy.cut()
			} else {
				c.redisProxy.cut()
			}
		}},
		"a slow network": {2, func(r *rand.Rand) {
			d := int64(time.Duration(20+r.IntN(150)) * time.Millisecond)
			c.postgresProxy.delay.Store(d)
			c.redisProxy.delay.Store(d)
			c.pause(r, 500, 2000)
			c.postgresProxy.delay.Store(0)
			c.redisProxy.delay.Store(0)
		}},
		"calls of the cloud fail":               {6, func(r *rand.Rand) { c.cloudFaults(r) }},
		"a worker stands still past its leases": {2, func(r *rand.Rand) { c.freeze(r) }},
	}
}

// torment injects faults until the context ends.
func (c *chaos) torment(ctx context.Context, r *rand.Rand) {
	all := c.disasters()
	var names []string
	for _, name := range sortedKeys(all) {
		for range all[name].weight {
			names = append(names, name)
		}
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(200+r.IntN(700)) * time.Millisecond):
		}
		name := names[r.IntN(len(names))]
		all[name].strike(r)
		c.count(name)
	}
}

// hold keeps a fault up for a while, or until the run ends.
func (c *chaos) hold(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

func (c *chaos) pause(r *rand.Rand, least, most int) {
	c.hold(time.Duration(least+r.IntN(most-least)) * time.Millisecond)
}

// revive stops a part and starts it again a moment later.
func (c *chaos) revive(p *part, s syscall.Signal, r *rand.Rand) {
	p.process.signal(s)
	if s == syscall.SIGTERM {
		select {
		case <-p.process.gone:
		case <-time.After(20 * time.Second):
			c.violation("stop", "%s did not stop within 20 s", p.app)
			p.process.signal(syscall.SIGKILL)
		}
	}
	<-p.process.gone
	c.pause(r, 100, 800)
	c.begin(p)
}

func (c *chaos) flush() {
	options, err := redis.ParseURL(c.w.redis.URL)
	if err != nil {
		c.t.Error(err)
		return
	}
	client := redis.NewClient(options)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := client.FlushAll(ctx).Err(); err != nil {
		c.t.Logf("FLUSHALL: %v", err)
	}
}

// crashPostgres stops Postgres without a checkpoint and starts it again.
func (c *chaos) crashPostgres(r *rand.Rand) {
	text, err := os.ReadFile(filepath.Join(c.postgresConfig.Root, "data", "postmaster.pid"))
	if err != nil {
		c.t.Logf("Postgres: %v", err)
		return
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		c.t.Logf("Postgres: %v", err)
		return
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT) // immediate shutdown
	c.pause(r, 300, 1200)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = c.postgres.Stop(ctx)
	if err := c.startPostgres(ctx); err != nil {
		c.t.Errorf("Postgres does not come back: %v", err)
	}
}

// cloudFaults makes a few of the next calls fail, before or after their effect,
// kill their process, or hang.
func (c *chaos) cloudFaults(r *rand.Rand) {
	calls := []string{"store.seal", "store.begin", "store.removeall", "cdn.create", "cdn.find", "cdn.get", "cdn.disable", "cdn.delete", "cdn.flip", "dns.upsert", "dns.delete"}
	actions := []string{"before", "after", "after", "kill", "killafter"}
	var script strings.Builder
	for range 3 {
		action := actions[r.IntN(len(actions))]
		times := 1
		if action == "before" || action == "after" {
			times = 1 + r.IntN(3)
		}
		fmt.Fprintf(&script, "%s %s times=%d\n", calls[r.IntN(len(calls))], action, times)
	}
	c.w.fault(script.String())
	c.pause(r, 300, 1000)
	c.w.fault("")
	c.reviveDead(r)
}

// reviveDead restarts parts that a fault of the cloud has ended.
func (c *chaos) reviveDead(r *rand.Rand) {
	for _, p := range append(append([]*part{}, c.webs...), c.works...) {
		select {
		case <-p.process.gone:
			c.count("killed in a call of the cloud")
			c.pause(r, 50, 200)
			c.begin(p)
		default:
		}
	}
}

// freeze stops a worker for longer than its leases, while its calls take as
// long: it resumes when others have taken over.
func (c *chaos) freeze(r *rand.Rand) {
	p := c.works[r.IntN(len(c.works))]
	calls := []string{"store.seal", "cdn.create", "cdn.flip", "dns.upsert", "cdn.delete", "store.removeall"}
	c.w.fault(calls[r.IntN(len(calls))] + " hang\n" + calls[r.IntN(len(calls))] + " hang\n")
	c.pause(r, 700, 1200)
	p.process.signal(syscall.SIGSTOP)
	c.hold(c.lease + 1500*time.Millisecond)
	p.process.signal(syscall.SIGCONT)
	c.hold(c.lease / 2)
	c.w.fault("")
	c.reviveDead(r)
}

// watchRecovery measures how long the claims of a killed worker wait for the
// next worker.
func (c *chaos) watchRecovery(app string) {
	type held struct {
		kind    string
		subject uuid.UUID
		epoch   int64
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	rows, err := c.db.Query(ctx, `SELECT w.kind, w.subject_id, w.epoch FROM work w JOIN chaos_holder h USING (kind, subject_id) WHERE h.app = $1 AND w.lease_until > now()`, app)
	if err != nil {
		return
	}
	var all []held
	for rows.Next() {
		var h held
		if err := rows.Scan(&h.kind, &h.subject, &h.epoch); err != nil {
			break
		}
		all = append(all, h)
	}
	rows.Close()
	died := time.Now()
	for _, h := range all {
		c.watches.Go(func() {
			poll.Until(c.ctx, time.Minute, 50*time.Millisecond, func() bool {
				var epoch int64
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				err := c.db.QueryRow(ctx, `SELECT w.epoch FROM work w WHERE kind = $1 AND subject_id = $2`, h.kind, h.subject).Scan(&epoch)
				cancel()
				if err != nil && !strings.Contains(err.Error(), "no rows") {
					return false // Postgres is away
				}
				if err == nil && epoch == h.epoch {
					return false
				}
				c.mu.Lock()
				c.recoveries = append(c.recoveries, time.Since(died))
				c.mu.Unlock()
				return true
			})
		})
	}
}
