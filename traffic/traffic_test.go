package traffic

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func newTestCounter(t *testing.T) (c *Counter, root string, log *strings.Builder) {
	t.Helper()
	root, log = t.TempDir(), &strings.Builder{}
	folder := func(p uuid.UUID) string { return filepath.Join(root, p.String(), "traffic") }
	return NewCounter(folder, filepath.Join(root, "lock"), slog.New(slog.NewTextHandler(log, nil))), root, log
}

func TestCounts(t *testing.T) {
	t.Parallel()
	c, root, log := newTestCounter(t)
	one, two, gone := uuid.New(), uuid.New(), uuid.New()
	for _, p := range []uuid.UUID{one, two} {
		if err := os.Mkdir(filepath.Join(root, p.String()), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 29, 23, 59, 0, 0, time.UTC)
	c.now = func() time.Time { return now }
	for range 3 {
		c.Add(one, Seen{Path: "/", Status: 200, Bytes: 10})
	}
	c.Add(one, Seen{Path: "/a", Status: 304})
	c.Add(one, Seen{Path: "/lost", Status: 404, Bytes: 5, Referrer: "https://other.example/page?token=secret#x"})
	c.Add(one, Seen{Path: "/lost", Status: 404, Bytes: 5, Referrer: "javascript:alert(1)"})
	c.Add(one, Seen{Path: "/broken", Status: 500})
	c.Add(two, Seen{Path: "/", Status: 200, Bytes: 1})
	c.Add(gone, Seen{Path: "/", Status: 200})
	c.Flush(t.Context())
	// A second edge, and the next day.
	other := NewCounter(c.folder, c.lock, c.log)
	other.now = c.now
	other.Add(one, Seen{Path: "/a", Status: 200, Bytes: 7})
	other.Flush(t.Context())
	now = now.Add(time.Hour)
	c.Add(one, Seen{Path: "/", Status: 200, Bytes: 10})
	c.Flush(t.Context())

	got, err := Read(c.folder(one), now, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := Summary{
		Report: Report{
			Total: Total{Count{9, 57}, 2, 1},
			Paths: []Path{{"/", Count{4, 40}, 0}, {"/a", Count{2, 7}, 0}, {"/broken", Count{1, 0}, 0}},
			Missing: []Missing{
				{"/lost", "", 1, 0}, {"/lost", "other.example/page", 1, 0},
			},
		},
		Days: []DayTotal{
			{"2026-11-28", Total{}}, {"2026-11-29", Total{Count{8, 47}, 2, 1}}, {"2026-11-30", Total{Count{1, 10}, 0, 0}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want - got +:\n%s", diff)
	}
	if log.Len() > 0 {
		t.Errorf("the log says %s", log)
	}
	if _, err := os.Stat(filepath.Join(root, gone.String())); err == nil {
		t.Error("a removed site has a folder again")
	}

	// Days are kept for a while, and a damaged file costs only itself.
	if err := os.WriteFile(filepath.Join(c.folder(one), "2026-11-29.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Read(c.folder(one), now, 3); err == nil || s.Requests != 1 {
		t.Errorf("with a damaged file: %d requests, %v", s.Requests, err)
	}
	now = now.AddDate(0, 0, Kept-1)
	c.Add(one, Seen{Path: "/", Status: 200})
	c.Flush(t.Context())
	left, err := filepath.Glob(c.folder(one) + "/*")
	if err != nil || len(left) != 2 {
		t.Errorf("after %d days the files are %v, %v", Kept, left, err)
	}
}

// TestTop compares the counts with exact ones, for a stream with many rare keys.
func TestTop(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	exact := map[string]int64{}
	approximate := newTop[string](100)
	for range 50_000 {
		key := fmt.Sprint("rare ", r.IntN(20_000))
		if r.IntN(2) == 0 {
			key = fmt.Sprint("common ", r.IntN(10))
		}
		exact[key]++
		approximate.add(key, Count{Requests: 1}, 0)
	}
	if len(approximate.entries) != 100 || len(approximate.heap) != 100 {
		t.Errorf("%d entries, want 100", len(approximate.entries))
	}
	for i, e := range approximate.most(10, strings.Compare) {
		if !strings.HasPrefix(e.key, "common") {
			t.Errorf("place %d has %s", i, e.key)
		}
	}
	for key, e := range approximate.entries {
		if e.count.Requests < exact[key] || e.count.Requests-e.over > exact[key] {
			t.Errorf("%s: counted %d with an error of %d, want %d", key, e.count.Requests, e.over, exact[key])
		}
	}
}

// TestHostileRequests sends paths that are meant to fill the memory and the
// disk.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	c, root, _ := newTestCounter(t)
	p := uuid.New()
	if err := os.Mkdir(filepath.Join(root, p.String()), 0o755); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for part := range 4 {
		group.Go(func() {
			for i := range 2000 {
				long := fmt.Sprintf("/%d/%d/%s\xff", part, i, strings.Repeat("ü", 2000))
				c.Add(p, Seen{Path: long, Status: 404, Referrer: "https://x.example" + long})
				c.Add(p, Seen{Path: long, Status: 200})
			}
		})
	}
	for range maxSites + 10 {
		c.Add(uuid.New(), Seen{Path: "/"})
	}
	group.Wait()
	if len(c.sites) > maxSites {
		t.Errorf("%d sites are in memory", len(c.sites))
	}
	c.Flush(t.Context())
	info, err := os.Stat(filepath.Join(c.folder(p), time.Now().UTC().Format(Day)+".json"))
	if err != nil || info.Size() > maxFile {
		t.Fatalf("the file: %v, %v", info, err)
	}
	if s, err := Read(c.folder(p), time.Now(), 2); err != nil || s.Requests != 16_000 || len(s.Paths) > maxPaths || len(s.Missing) > maxMissing {
		t.Errorf("%d requests, %d paths, %d missing, %v", s.Requests, len(s.Paths), len(s.Missing), err)
	}
}

// TestFailedFlush can't write counts at first, and counts more meanwhile.
func TestFailedFlush(t *testing.T) {
	t.Parallel()
	c, root, log := newTestCounter(t)
	p := uuid.New()
	parent := filepath.Join(root, p.String())
	add := func() {
		c.Add(p, Seen{Path: "/", Status: 200, Bytes: 10})
		c.Add(p, Seen{Path: "/lost", Status: 404})
	}
	if err := os.WriteFile(parent, nil, 0o644); err != nil { // not a folder
		t.Fatal(err)
	}
	add()
	old := c.site(p)
	c.Flush(t.Context())
	if !strings.Contains(log.String(), "can't write") {
		t.Fatalf("the log is %q", log)
	}
	if old.add(Seen{Path: "/", Status: 200}) {
		t.Error("a request is counted although nothing writes the counts")
	}
	add()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	c.Flush(ended)
	add()
	if err := os.Remove(parent); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	c.Flush(t.Context())
	c.Flush(t.Context())
	s, err := Read(c.folder(p), time.Now(), 2)
	if err != nil || s.Requests != 6 || s.NotFound != 3 || len(s.Paths) != 1 || s.Paths[0].Requests != 3 || s.Paths[0].Bytes != 30 || len(s.Missing) != 1 || s.Missing[0].Requests != 3 {
		t.Errorf("%+v, %v", s.Report, err)
	}
}

// TestTextsAreCopies checks that a count does not keep a request in memory.
func TestTextsAreCopies(t *testing.T) {
	t.Parallel()
	request := "/page?" + strings.Repeat("secret", 1000)
	for _, s := range []string{request[:5], request[:0], request[:maxText+1]} {
		if got := clip(s); len(got) > 0 && unsafe.StringData(got) == unsafe.StringData(s) {
			t.Errorf("%.10q is a part of the request", got)
		}
	}
}
