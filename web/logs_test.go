package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web"
)

// built makes a deployment that is being built.
func (w *world) built(p pipeline) uuid.UUID {
	w.t.Helper()
	var d deployment
	w.send("POST", "/v1/pipelines/"+p.Slug+"/deployments", nil).into(w.t, 202, &d)
	w.building(d.ID)
	return d.ID
}

// building begins the build of a waiting deployment.
func (w *world) building(id uuid.UUID) {
	w.t.Helper()
	w.exec("UPDATE deployments SET state = 'building', started_at = now() WHERE id = $1", id)
	w.exec("INSERT INTO builds (deployment_id, attempt) VALUES ($1, 1)", id)
}

func (w *world) print(id uuid.UUID, text string) {
	w.t.Helper()
	if _, err := w.q.BuildLogAppend(w.t.Context(), queries.BuildLogAppendParams{DeploymentID: id, Bytes: []byte(text)}); err != nil {
		w.t.Fatal(err)
	}
}

// finish ends a build as the workers do: the pieces become one value.
func (w *world) finish(id uuid.UUID, state troy.DeploymentState) {
	w.t.Helper()
	var whole []byte
	pieces, err := w.q.BuildLogFrom(w.t.Context(), id, 0)
	for err == nil && len(pieces) > 0 {
		for _, piece := range pieces {
			whole = append(whole, piece.Bytes...)
		}
		pieces, err = w.q.BuildLogFrom(w.t.Context(), id, int64(len(whole)))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer encoder.Close()
	err = w.q.BuildFinish(w.t.Context(), queries.BuildFinishParams{DeploymentID: id, Log: encoder.EncodeAll(whole, nil), Phases: []byte(`[]`)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.exec("UPDATE deployments SET state = $2, finished_at = CASE WHEN $2 = 'publishing' THEN NULL ELSE now() END WHERE id = $1", id, string(state))
}

func logPath(p pipeline, id uuid.UUID) string {
	return fmt.Sprintf("/v1/pipelines/%s/deployments/%s/log", p.Slug, id)
}

type event struct{ name, id, data string }

// follow reads a stream of events into a channel, which it closes at the end.
func (w *world) follow(path string, options ...option) <-chan event {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	w.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", w.server.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.admin)
	req.Header.Set("Accept", "text/event-stream")
	for _, o := range options {
		o(req)
	}
	resp, err := w.server.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		w.t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	events := make(chan event)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		var e event
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e.data != "" {
					select {
					case events <- e:
					case <-ctx.Done():
						return
					}
				}
				e = event{}
			}
		}
	}()
	return events
}

// collect reads a stream to its end and returns the log and the last event.
func collect(t *testing.T, events <-chan event) (log string, last event) {
	t.Helper()
	for e := range events {
		last = e
		if e.name == "" {
			var text string
			if err := json.Unmarshal([]byte(e.data), &text); err != nil {
				t.Fatalf("%v in %q", err, e.data)
			}
			log += text
		}
	}
	return log, last
}

func TestLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	id := w.built(p)
	path := logPath(p, id)
	plain := func(query, want string) {
		t.Helper()
		a := w.send("GET", path+query, nil, header("Accept", "text/plain"))
		if a.status != 200 || string(a.body) != want || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %d %q %q, want %q", query, a.status, a.header.Get("Content-Type"), a.body, want)
		}
	}
	plain("", "")
	for i := range 40 {
		w.print(id, fmt.Sprintf("line %d\r\n", i))
	}
	w.print(id, "\x1b[31mred\x1b[0m \xff\n")
	var want strings.Builder
	for i := range 40 {
		fmt.Fprintf(&want, "line %d\r\n", i)
	}
	want.WriteString("\x1b[31mred\x1b[0m \xff\n")
	plain("", want.String())
	plain("?from=4", want.String()[4:])
	plain("?from=13", want.String()[13:])
	plain("?from=100000", "")
	w.finish(id, troy.Publishing)
	if n := w.count("SELECT count(*) FROM build_log"); n != 0 {
		t.Fatalf("%d pieces are left", n)
	}
	plain("", want.String())
	plain("?from=13", want.String()[13:])
	plain("?from=100000", "")

	log, last := collect(t, w.follow(path))
	if log != strings.ToValidUTF8(want.String(), "\uFFFD") || last != (event{"end", fmt.Sprint(want.Len()), "publishing"}) {
		t.Errorf("%q, %+v", log, last)
	}
	if log, _ := collect(t, w.follow(path, header("Last-Event-ID", "13"))); log != strings.ToValidUTF8(want.String()[13:], "\uFFFD") {
		t.Errorf("from 13: %q", log)
	}
	for _, bad := range []string{"x", "-1", "1.5", "99999999999999999999"} {
		w.send("GET", path+"?from="+bad, nil).refused(t, 400, "invalid", "from", "position")
		w.send("GET", path, nil, header("Last-Event-ID", bad)).refused(t, 400, "invalid", "Last-Event-ID", "position")
	}
	r := w.released(p, "one")
	w.send("GET", logPath(p, r.ID), nil).refused(t, 404, "not_found", "", "is a release, which has no build")
	w.send("GET", logPath(p, uuid.New()), nil).refused(t, 404, "not_found", "", "")
	w.send("GET", logPath(w.create("Other"), id), nil).refused(t, 404, "not_found", "", "no deployment")
}

func TestLogsAreFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	id := w.built(p)
	events := w.follow(logPath(p, id))
	next := func() event {
		t.Helper()
		e, ok := <-events
		if !ok {
			t.Fatal("the stream ended")
		}
		return e
	}
	w.print(id, "one\n")
	if e := next(); e != (event{"", "4", `"one\n"`}) {
		t.Errorf("%+v", e)
	}
	// A character that arrives in two pieces is one.
	w.print(id, "caf\xc3")
	if e := next(); e != (event{"", "7", `"caf"`}) {
		t.Errorf("%+v", e)
	}
	w.print(id, "\xa9\n")
	if e := next(); e != (event{"", "10", `"é\n"`}) {
		t.Errorf("%+v", e)
	}
	w.print(id, "last")
	w.finish(id, troy.Failed)
	if e := next(); e != (event{"", "14", `"last"`}) {
		t.Errorf("%+v", e)
	}
	if e := next(); e != (event{"end", "14", "failed"}) {
		t.Errorf("%+v", e)
	}
	if e, more := <-events; more {
		t.Errorf("after the end came %+v", e)
	}
}

// TestLogsWithoutAnEnd reads logs of builds whose worker recorded no end.
func TestLogsWithoutAnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	id := w.built(p)
	w.print(id, "one\n")
	w.exec("UPDATE deployments SET state = 'cancelled', finished_at = now() WHERE id = $1", id)
	log, last := collect(t, w.follow(logPath(p, id)))
	if log != "one\n" || last != (event{"end", "4", "cancelled"}) {
		t.Errorf("%q, %+v", log, last)
	}
	w.exec("DELETE FROM builds")
	if log, last := collect(t, w.follow(logPath(p, id))); log != "" || last != (event{"end", "0", "cancelled"}) {
		t.Errorf("never begun: %q, %+v", log, last)
	}
}

func TestStreamsEndWithTheProcess(t *testing.T) {
	t.Parallel()
	stopping := make(chan struct{})
	w := newWorld(t, func(w *world) { w.deps.Stopping = stopping })
	p := w.bind("Blog", "github", "team/blog", "main")
	id := w.built(p)
	w.print(id, "one\n")
	events := w.follow(logPath(p, id))
	<-events
	close(stopping)
	if e, more := <-events; more {
		t.Errorf("after it stopped came %+v", e)
	}
}

// TestStreamsEndWithTheirToken revokes the token of a log's follower.
func TestStreamsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"revoked": "DELETE FROM tokens WHERE role = 'viewer'",
		"expired": "UPDATE tokens SET expires_at = now() WHERE role = 'viewer'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.bind("Blog", "github", "team/blog", "main")
			id := w.built(p)
			w.print(id, "one\n")
			events, others := w.follow(logPath(p, id), as(w.token(credentials.Viewer))), w.follow(logPath(p, id))
			<-events
			<-others
			w.exec(sql)
			select {
			case e, more := <-events:
				if more {
					t.Errorf("after its end came %+v", e)
				}
			case <-time.After(20 * time.Second):
				t.Error("the log is still followed")
			}
			w.print(id, "two\n")
			if e, more := <-others; !more || e.data != `"two\n"` {
				t.Errorf("another token's stream: %+v, %t", e, more)
			}
		})
	}
}

// leaver is a reader that leaves when the first text has arrived.
type leaver struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
	got   int
}

func (l *leaver) Write(p []byte) (int, error) {
	if l.got += len(p); bytes.Contains(p, []byte("line")) {
		l.leave()
	}
	return len(p), nil
}

// TestReadersLeave has a reader leave in the middle of a log, in pieces or
// compressed, followed or not.
func TestReadersLeave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	id := w.built(p)
	const pieces, size = 64, 1 << 18
	for range pieces {
		w.print(id, strings.Repeat("line\n", size/5))
	}
	read := func(accept string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		request := httptest.NewRequest("GET", logPath(p, id), nil).WithContext(ctx)
		request.Host = "troy.test"
		request.Header.Set("Authorization", "Bearer "+w.admin)
		request.Header.Set("Accept", accept)
		reader := &leaver{ResponseRecorder: httptest.NewRecorder(), leave: cancel}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }() // http.ErrAbortHandler
			w.server.Config.Handler.ServeHTTP(reader, request)
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the reading continues", accept)
		}
		if reader.got == 0 || reader.got > 8*size {
			t.Errorf("%s: %d bytes were written, most of them after the reader left", accept, reader.got)
		}
	}
	read("text/plain")
	read("text/event-stream")
	w.finish(id, troy.Succeeded)
	read("text/plain")
	read("text/event-stream")
}

// TestLargeLogs checks that the parts of a long log fit, in pieces or
// compressed.
func TestLargeLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	id := w.built(p)
	var want bytes.Buffer
	for i := 0; want.Len() < 6<<20; i++ {
		line := fmt.Sprintf("%d é %s\n", i, uuid.NewString())
		want.WriteString(line)
	}
	for rest := want.Bytes(); len(rest) > 0; {
		n := min(len(rest), 200_001)
		w.print(id, string(rest[:n]))
		rest = rest[n:]
	}
	check := func() {
		t.Helper()
		if a := w.send("GET", logPath(p, id), nil); !bytes.Equal(a.body, want.Bytes()) {
			t.Errorf("%d bytes, want %d", len(a.body), want.Len())
		}
		if a := w.send("GET", logPath(p, id)+"?from=3000000", nil); !bytes.Equal(a.body, want.Bytes()[3000000:]) {
			t.Errorf("%d bytes, want %d", len(a.body), want.Len()-3000000)
		}
	}
	check()
	w.finish(id, troy.Succeeded)
	check()
	if log, _ := collect(t, w.follow(logPath(p, id))); log != want.String() {
		t.Errorf("%d bytes, want %d", len(log), want.Len())
	}
}

func TestOnlySoManyLogsAreFollowed(t *testing.T) {
	t.Parallel()
	err := web.FollowWhenFull(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "too many logs") {
		t.Errorf("%v; expected that too many logs are being followed", err)
	}
}

// TestReadersOfLogsMakeRoom checks that more readers can read and follow a log
// one after another than may at a time.
func TestReadersOfLogsMakeRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bind("Blog", "github", "team/blog", "main")
	id := w.built(p)
	w.print(id, "one\n")
	w.finish(id, troy.Succeeded)
	for range 65 {
		if a := w.send("GET", logPath(p, id), nil); a.status != 200 {
			t.Fatalf("without following: %d %s", a.status, a.body)
		}
	}
	for range 201 {
		if a := w.send("GET", logPath(p, id), nil, header("Accept", "text/event-stream")); a.status != 200 {
			t.Fatalf("following: %d %s", a.status, a.body)
		}
	}
}

func TestOnlySoManyLogsAreRead(t *testing.T) {
	t.Parallel()
	err := web.ReadWhenFull(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), "too many logs") {
		t.Errorf("%v; expected that too many logs are being read", err)
	}
}
