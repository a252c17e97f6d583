package edge

import (
	"os"
	"strings"
	"testing"
)

// TestChangesAreCounted uses a counter in place of looking at the files: a
// counted change is seen by the next request, and one that a crashed writer did
// not count within a tick.
func TestChangesAreCounted(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	h := b.provision("counted.localhost")
	bump := func() {
		b.uncounted = false
		b.changed()
		b.uncounted = true
	}
	b.handlerOnly = true
	bump()
	b.edge.clock.tick()
	b.edge.clock.running.Store(true)
	if b.edge.clock.stamp() == 0 {
		t.Skip("the temporary folder's file system can't share memory")
	}
	want := func(status int, text string) {
		t.Helper()
		res := h.fetch("/")
		if got := content(t, res); res.StatusCode != status || !strings.Contains(got, text) {
			t.Errorf("status %d with %.40q, want %d with %q", res.StatusCode, got, status, text)
		}
	}
	want(404, "Nothing is live")
	h.publish(map[string]string{"index.html": "one"})
	want(404, "Nothing is live") // not counted yet
	bump()
	want(200, "one")
	h.publish(map[string]string{"index.html": "two"})
	want(200, "one")
	b.edge.clock.tick()
	want(200, "two")
	h.setDistribution(false, h.host)
	bump()
	want(404, "no site here")
	h.setDistribution(true, h.host)
	if err := os.Remove(b.layout.Generation()); err != nil {
		t.Fatal(err)
	}
	b.edge.clock.tick()
	want(200, "two")
	h.publish(map[string]string{"index.html": "three"})
	want(200, "three") // without the file, each request looks
}
