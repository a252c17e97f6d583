package edge

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

// clock tells lookups whether anything can have changed since the last one.
type clock struct {
	generation *generation.Counter
	// ticks counts seconds while run runs.
	ticks   atomic.Uint64
	running atomic.Bool
	// date has the Date header's value of this second.
	date atomic.Pointer[string]
}

func newClock(layout site.Layout) *clock {
	return &clock{generation: generation.Watch(layout.Generation())}
}

// tickBits is the number of bits of a stamp for the ticks: after 12 days they
// begin again.
const tickBits = 20

// stamp returns a number that changes when a writer has changed the sites'
// state, and at least every second, so that the change of a writer that did not
// count it (it crashed, or is of an older version) is noticed within a second.
// It returns 0 if changes are not counted; then every lookup has to look at the
// files.
func (c *clock) stamp() uint64 {
	if !c.running.Load() {
		return 0
	}
	ticks := c.ticks.Load()
	count := c.generation.Load()
	if count == 0 {
		return 0
	}
	return count<<tickBits | ticks&(1<<tickBits-1)
}

// run advances the clock until ctx is done.
func (c *clock) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	defer c.running.Store(false)
	for {
		c.tick()
		c.running.Store(true)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (c *clock) tick() {
	c.generation.Refresh()
	c.ticks.Add(1)
	date := time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
	c.date.Store(&date)
}

// now returns the Date header's value.
func (c *clock) now() string { return *c.date.Load() }
