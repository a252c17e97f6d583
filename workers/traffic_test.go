package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/traffic"
)

// fakeLogs is a log bucket.
type fakeLogs struct {
	mu      sync.Mutex
	files   map[string]fakeLog
	fail    error  // of Remove, which then has no effect
	reading func() // is called before each Read
}

type fakeLog struct {
	file     cloud.LogFile
	requests []cloud.Request
	err      error // of Read, after the requests
}

func (l *fakeLogs) put(distribution, name string, hour time.Time, err error, requests ...cloud.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := distribution + "/" + name
	l.files[key] = fakeLog{cloud.LogFile{Key: key, Distribution: distribution, Hour: hour}, requests, err}
}

func (l *fakeLogs) keys() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.files))
}

func (l *fakeLogs) Files(_ context.Context, each func(cloud.LogFile) error) error {
	for _, key := range l.keys() {
		l.mu.Lock()
		one, ok := l.files[key]
		l.mu.Unlock()
		if !ok {
			continue
		}
		if err := each(one.file); err != nil {
			return err
		}
	}
	return nil
}

func (l *fakeLogs) Read(_ context.Context, f cloud.LogFile, each func(cloud.Request)) (int, error) {
	if l.reading != nil {
		l.reading()
	}
	l.mu.Lock()
	one, ok := l.files[f.Key]
	l.mu.Unlock()
	if !ok {
		return 0, cloud.ErrNotFound
	}
	for _, r := range one.requests {
		each(r)
	}
	return 0, one.err
}

func (l *fakeLogs) Remove(_ context.Context, keys ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	for _, key := range keys {
		delete(l.files, key)
	}
	return nil
}

// meeting is a log bucket that calls meet after each read.
type meeting struct {
	*fakeLogs
	meet func()
}

func (m *meeting) Read(ctx context.Context, f cloud.LogFile, each func(cloud.Request)) (int, error) {
	unread, err := m.fakeLogs.Read(ctx, f, each)
	m.meet()
	return unread, err
}

// counted is a rig with a log bucket and a pipeline, whose distribution is E1.
type counted struct {
	*rig
	logs *fakeLogs
	id   uuid.UUID
	now  time.Time
}

func newCounted(t *testing.T) counted {
	t.Helper()
	c := counted{newRig(t), &fakeLogs{files: map[string]fakeLog{}}, uuid.Nil, time.Date(2026, 11, 29, 0, 30, 0, 0, time.UTC)}
	c.id = c.pipeline("blog")
	c.exec("UPDATE pipelines SET distribution_id = 'E1' WHERE id = $1", c.id)
	return c
}

func (c counted) exec(sql string, arguments ...any) {
	c.t.Helper()
	if _, err := c.db.Exec(c.t.Context(), sql, arguments...); err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
}

// turn counts once.
func (c counted) turn() (*counting, error) {
	turn := &counting{db: c.db, logs: c.logs, now: c.now, most: 50}
	return turn, turn.run(c.t.Context())
}

func (c counted) mustTurn() *counting {
	c.t.Helper()
	turn, err := c.turn()
	if err != nil {
		c.t.Fatal(err)
	}
	return turn
}

// requests returns the number of requests on each day with some.
func (c counted) requests() map[string]int64 {
	c.t.Helper()
	rows, err := c.q.TrafficGet(c.t.Context(), c.id, c.now.AddDate(-1, 0, 0))
	if err != nil {
		c.t.Fatal(err)
	}
	days := map[string]int64{}
	for _, row := range rows {
		var r traffic.Report
		if err := json.Unmarshal(row.Report, &r); err != nil {
			c.t.Fatal(err)
		}
		days[row.Day.Format(traffic.Day)] = r.Requests
	}
	return days
}

func (c counted) want(when string, days map[string]int64, keys ...string) {
	c.t.Helper()
	if diff := cmp.Diff(days, c.requests()); diff != "" {
		c.t.Errorf("%s, the counts (-want +got):\n%s", when, diff)
	}
	if left := c.logs.keys(); !slices.Equal(left, keys) {
		c.t.Errorf("%s, the files are %q, want %q", when, left, keys)
	}
}

const today, yesterday = "2026-11-29", "2026-11-28"

func request(day string) cloud.Request {
	return cloud.Request{Day: day, Path: "/", Status: 200, Bytes: 10}
}

// TestCountTraffic counts files that come late, have strange days, are damaged,
// or belong to no pipeline.
func TestCountTraffic(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	c.mustTurn()
	c.want("without files", map[string]int64{})
	lost := cloud.Request{Day: today, Path: "/lost", Status: 404, Bytes: 5, Referrer: "https://links.example/a?token=secret"}
	c.logs.put("E1", "a", c.now, nil, request(today), request(yesterday), lost)
	c.logs.put("E1", "b", c.now, nil, request(today), request("2026-08-31"), request("2026-09-01"), request("2026-11-30"), request("9999-12-31"))
	c.logs.put("E1", "c", c.now, fmt.Errorf("%w: unexpected EOF", cloud.ErrDamaged), request(today))
	c.logs.put("E2", "young", c.now.Add(-time.Hour), nil, request(today))
	c.logs.put("E2", "old", c.now.Add(-49*time.Hour), nil, request(today))
	turn := c.mustTurn()
	days := map[string]int64{today: 4, yesterday: 1, "2026-09-01": 1}
	c.want("after a turn", days, "E1/c", "E2/young")
	if turn.counted != 3 || turn.requests != 6 || turn.unread != 3 || len(turn.damaged) != 1 || turn.more {
		t.Errorf("the turn: %+v", turn)
	}
	if again := c.mustTurn(); again.counted != 0 {
		t.Errorf("the second turn counted %d files", again.counted)
	}
	c.want("after a second turn", days, "E1/c", "E2/young")

	// A late file adds to a day that was counted.
	c.logs.put("E1", "late", c.now.Add(-24*time.Hour), nil, request(yesterday), request(yesterday))
	c.mustTurn()
	days[yesterday] = 3
	c.want("after a late file", days, "E1/c", "E2/young")

	rows, err := c.q.TrafficGet(t.Context(), c.id, c.now.Truncate(24*time.Hour))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	var r traffic.Report
	if err := json.Unmarshal(rows[0].Report, &r); err != nil {
		t.Fatal(err)
	}
	want := traffic.Report{
		Total: traffic.Total{Count: traffic.Count{Requests: 4, Bytes: 35}, NotFound: 1},
		Paths: []traffic.Path{{Path: "/", Count: traffic.Count{Requests: 3, Bytes: 30}}}, Missing: []traffic.Missing{{Path: "/lost", Referrer: "links.example/a", Requests: 1}},
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("today (-want +got):\n%s", diff)
	}

	// Counts are kept for 90 days, the rows of removed files for a week.
	c.now = c.now.AddDate(0, 0, 1)
	c.exec("UPDATE log_files SET expires_at = expires_at - interval '8 days'")
	c.mustTurn()
	delete(days, "2026-09-01")
	c.want("a day later", days, "E1/c", "E2/young")
	var files []string
	if err := c.db.QueryRow(t.Context(), "SELECT array_agg(key) FROM log_files").Scan(&files); err != nil || !slices.Equal(files, []string{"E1/c"}) {
		t.Errorf("the rows of files are %q, %v", files, err)
	}

	// A deleted pipeline has no counts any more.
	c.exec("DELETE FROM pipelines WHERE id = $1", c.id)
	c.logs.put("E1", "after", c.now.Add(-49*time.Hour), nil, request(today))
	c.mustTurn()
	c.want("after the deletion", map[string]int64{}, "E1/c", "E2/young")
}

// TestCountTrafficOnce ends the worker at each point of a file's counting, and
// runs two workers at once: each request counts exactly once.
func TestCountTrafficOnce(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	fill := func(files int) {
		for i := range files {
			c.logs.put("E1", fmt.Sprintf("%d-%03d", files, i), c.now, nil, request(today), request(yesterday))
		}
	}

	// Before the transaction ends: Postgres refuses the commit.
	fill(1)
	c.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the worker was killed'; END $$`)
	c.exec(`CREATE CONSTRAINT TRIGGER killed AFTER INSERT ON log_files DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if _, err := c.turn(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the turn: %v", err)
	}
	c.want("before the commit", map[string]int64{}, "E1/1-000")
	c.exec("DROP TRIGGER killed ON log_files")

	// After the commit, before the file is removed.
	c.logs.fail = errors.New("S3 is down")
	if _, err := c.turn(); !errors.Is(err, c.logs.fail) {
		t.Errorf("the turn: %v", err)
	}
	c.want("after the commit", map[string]int64{today: 1, yesterday: 1}, "E1/1-000")
	c.logs.fail = nil
	c.mustTurn()
	c.want("after the next turn", map[string]int64{today: 1, yesterday: 1})

	// The same file comes again.
	fill(1)
	if turn := c.mustTurn(); turn.counted != 0 {
		t.Errorf("the file was counted again")
	}

	// Two workers have both read a file before one of them counts it.
	fill(40)
	var group sync.WaitGroup
	turns := make([]*counting, 2)
	var both sync.WaitGroup
	both.Add(len(turns))
	for i := range turns {
		meet := sync.OnceFunc(func() { both.Done(); both.Wait() })
		turns[i] = &counting{db: c.db, logs: &meeting{c.logs, meet}, now: c.now, most: 50}
		group.Go(func() {
			if err := turns[i].run(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	c.want("after two workers", map[string]int64{today: 41, yesterday: 41})
	if n := turns[0].counted + turns[1].counted; n != 40 {
		t.Errorf("the workers counted %d and %d files", turns[0].counted, turns[1].counted)
	}
}

// TestCountTrafficBounds has more files than a turn counts, and files that can't
// be read.
func TestCountTrafficBounds(t *testing.T) {
	t.Parallel()
	c := newCounted(t)
	const files = 51
	for i := range files {
		c.logs.put("E1", fmt.Sprintf("%05d", i), c.now, nil, request(today))
	}
	if turn := c.mustTurn(); turn.counted != 50 || !turn.more {
		t.Errorf("the turn counted %d files, more: %v", turn.counted, turn.more)
	}
	if turn := c.mustTurn(); turn.counted != 1 || turn.more {
		t.Errorf("the second turn counted %d files, more: %v", turn.counted, turn.more)
	}
	c.want("after two turns", map[string]int64{today: files})

	down := errors.New("S3 is down")
	c.logs.put("E1", "a", c.now, down)
	c.logs.put("E1", "b", c.now, nil, request(today))
	if _, err := c.turn(); !errors.Is(err, down) {
		t.Errorf("the turn: %v", err)
	}
	c.want("with a file that can't be read", map[string]int64{today: files + 1}, "E1/a")
	reads := 0
	for i := range 2 * maxUncounted {
		c.logs.put("E1", fmt.Sprintf("a%02d", i), c.now, down)
	}
	c.logs.reading = func() { reads++ }
	if _, err := c.turn(); !errors.Is(err, down) || reads != maxUncounted {
		t.Errorf("%d files were tried, %v", reads, err)
	}
}
