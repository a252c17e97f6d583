package client

import (
	"context"
	"sync"
	"time"
)

// gate bounds the number of concurrent requests of an upload. The bound doubles
// as long as that raises the throughput, and halves when a request fails.
type gate struct {
	most int

	mu      sync.Mutex
	changed sync.Cond
	limit   int
	running int
	halved  time.Time // when the bound was halved
	// The measurement of the throughput: it takes as many requests as the bound
	// allows at a time.
	since time.Time
	ended int
	work  int64
	best  float64 // work per second
}

const (
	// enoughGrowth is by how much the throughput has to grow for another
	// doubling.
	enoughGrowth = 1.1
	// workOfFile is how many bytes take about as long as a file's other costs.
	workOfFile = 4 << 10
)

func newGate(first, most int) *gate {
	g := &gate{most: most, limit: min(first, most), since: time.Now()}
	g.changed.L = &g.mu
	return g
}

// enter waits for a place, for leave.
func (g *gate) enter(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.changed.Broadcast()
	})
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.running >= g.limit && ctx.Err() == nil {
		g.changed.Wait()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	g.running++
	return nil
}

// leave returns a place after a request that sent so many files and bytes.
func (g *gate) leave(files int, bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.changed.Broadcast()
	g.running--
	g.ended++
	g.work += bytes + workOfFile*int64(files)
	if g.ended < g.limit {
		return
	}
	now := time.Now()
	rate := float64(g.work) / max(now.Sub(g.since).Seconds(), 1e-6)
	if rate > enoughGrowth*g.best {
		g.limit = min(2*g.limit, g.most)
	}
	g.best = rate
	g.ended, g.work, g.since = 0, 0, now
}

// failed halves the bound, once for requests that were sent before.
func (g *gate) failed(sent time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if sent.Before(g.halved) {
		return
	}
	g.limit = max(1, g.limit/2)
	g.halved = time.Now()
	g.ended, g.work, g.since = 0, 0, g.halved
}
