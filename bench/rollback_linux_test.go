package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

const (
	readers   = 50
	rollbacks = 200
	// readEvery is the pause between the requests of one reader. It bounds the
	// resolution; without it the readers alone would use both cores.
	readEvery = 4 * time.Millisecond
)

// BenchmarkRollback measures how long it takes from the request of a rollback
// until the last of 50 readers has got the other deployment's page.
func BenchmarkRollback(b *testing.B) {
	in := install(b, nil)
	slug, cache := in.pipeline(), b.TempDir()
	var ids [2]uuid.UUID
	for i := range ids {
		dir := b.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "index.html"), fmt.Appendf(nil, "%d", i), 0o644); err != nil {
			b.Fatal(err)
		}
		in.release(dir, slug, cache)
		p, err := in.api.Pipeline(b.Context(), slug)
		if err != nil || p.LiveDeploymentID == nil {
			b.Fatalf("nothing is live after a release: %v", err)
		}
		ids[i] = *p.LiveDeploymentID
	}
	var flips [readers]atomic.Int64 // nanoseconds: when a reader saw the page that it did not see before
	var seen [readers]atomic.Int64  // the page that it saw last
	request := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s.localhost\r\n\r\n", slug)
	changed := make(chan struct{}, readers)
	ctx, stop := context.WithCancel(b.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	for i := range readers {
		seen[i].Store(1)
		group.Go(func() {
			l, err := dial(ctx, in.edge)
			if err != nil {
				b.Error(err)
				return
			}
			defer l.close()
			tick := time.NewTicker(readEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				page, err := readPage(l, request)
				if err != nil {
					if ctx.Err() == nil {
						b.Error(err)
					}
					return
				}
				if page != seen[i].Load() {
					flips[i].Store(time.Now().UnixNano())
					seen[i].Store(page)
					changed <- struct{}{}
				}
				<-tick.C
			}
		})
	}
	var all, requests []time.Duration
	for i := range rollbacks {
		<-time.After(rest)
		begun := time.Now()
		d, err := in.api.Rollback(b.Context(), slug, ids[i%2])
		if err != nil {
			b.Fatal(err)
		}
		requests = append(requests, time.Since(begun))
		for range readers {
			select {
			case <-changed:
			case <-time.After(30 * time.Second):
				b.Fatalf("not all readers saw the rollback within 30 s")
			}
		}
		last := int64(0)
		for r := range flips {
			last = max(last, flips[r].Load())
		}
		all = append(all, time.Unix(0, last).Sub(begun))
		if _, err := in.api.Wait(b.Context(), slug, d.ID, nil); err != nil {
			b.Fatal(err)
		}
	}
	result{fmt.Sprintf("a rollback's request until the last of %d readers sees it", readers),
		quantiles(all), "the request alone: " + quantiles(requests), "", "p99 ≤ 20 ms"}.add(b)
	b.ReportMetric(0, "ns/op")
}

// readPage returns the number that a page contains.
func readPage(l *line, request []byte) (int64, error) {
	status, text, err := l.ask(request)
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK || len(text) != 1 {
		return 0, fmt.Errorf("the edge answers %d %q", status, text)
	}
	return int64(text[0] - '0'), nil
}
