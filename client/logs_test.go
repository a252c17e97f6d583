package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

func sendEvent(w http.ResponseWriter, name string, id int, data string) {
	if name != "" {
		_, _ = fmt.Fprintf(w, "event: %s\n", name)
	}
	_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", id, data)
	_ = http.NewResponseController(w).Flush()
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestFollowLogGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	var froms []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		froms = append(froms, r.URL.Query().Get("from"))
		if accept := r.Header.Values("Accept"); len(accept) != 1 || accept[0] != "text/event-stream" {
			t.Errorf("Accept %q", accept)
		}
		stream := func() { w.Header().Set("Content-Type", "text/event-stream; charset=utf-8") }
		switch calls.Add(1) {
		case 1: // it breaks off within an event
			stream()
			sendEvent(w, "", 4, quoted("one\n"))
			_, _ = io.WriteString(w, "id: 8\ndata: \"tw")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case 2: // a proxy ends it
			stream()
			_, _ = io.WriteString(w, ": still running\n\n")
			sendEvent(w, "", 8, quoted("two\n"))
		case 3:
			refuse(w, 503, troy.Unavailable, "starting")
		default:
			stream()
			sendEvent(w, "", 11, quoted("é\r"))
			sendEvent(w, "end", 11, "failed")
		}
	})
	var out bytes.Buffer
	state, err := c.FollowLog(t.Context(), "blog", uuid.New(), &out)
	if err != nil || state != troy.Failed || out.String() != "one\ntwo\né\r" {
		t.Errorf("%s, %v, %q", state, err, out.String())
	}
	if got := strings.Join(froms, " "); got != " 4 8 8" {
		t.Errorf("read from %q", got)
	}
}

func TestLogGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if r.URL.Query().Get("from") == "" {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, " and \xff"+r.URL.Query().Get("from"))
	})
	var out bytes.Buffer
	if err := c.Log(t.Context(), "blog", uuid.New(), 0, &out); err != nil || out.String() != "half and \xff4" {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestLogsThatAreNone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter){
		"a page":           func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html") },
		"a bad id":         func(w http.ResponseWriter) { sendEvent(w, "", -1, `"x"`) },
		"no JSON":          func(w http.ResponseWriter) { sendEvent(w, "", 1, `x`) },
		"an id that falls": func(w http.ResponseWriter) { sendEvent(w, "", 9, `"x"`); sendEvent(w, "", 8, `"y"`) },
		"a refusal":        func(w http.ResponseWriter) { refuse(w, 404, troy.NotFound, "no log") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Content-Type", "text/event-stream")
				answer(w)
			})
			if _, err := c.FollowLog(t.Context(), "blog", uuid.New(), io.Discard); err == nil || calls.Load() != 1 {
				t.Errorf("%v after %d calls", err, calls.Load())
			}
		})
	}
}

type full struct{}

var errFull = errors.New("the disk is full")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestLogsEndWithTheirReader(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	started := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		sendEvent(w, "", 3, `"one"`)
		if r.URL.Path[len("/v1/pipelines/"):][:4] == "blog" {
			return
		}
		close(started)
		<-r.Context().Done()
	})
	if _, err := c.FollowLog(ctx, "blog", uuid.New(), full{}); !errors.Is(err, errFull) {
		t.Errorf("FollowLog: %v", err)
	}
	if err := c.Log(ctx, "blog", uuid.New(), 0, full{}); !errors.Is(err, errFull) {
		t.Errorf("Log: %v", err)
	}
	stop := errors.New("enough")
	go func() { <-started; cancel(stop) }()
	if _, err := c.FollowLog(ctx, "shop", uuid.New(), io.Discard); !errors.Is(err, stop) {
		t.Errorf("FollowLog: %v", err)
	}
}

func TestConfigureAndVariables(t *testing.T) {
	t.Parallel()
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), body)
		_, _ = io.WriteString(w, `{"name":"A","variables":[{"name":"A","secret":true}],"build":{"output":"dist"}}`)
	})
	check := func(err error, want string) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	branch, none, no := "main", []string{}, false
	p, err := c.ConfigurePipeline(t.Context(), "blog", PipelineChange{Repository: &RepositoryChange{Branch: &branch}, WatchPaths: &none, CancelRunning: &no})
	check(err, `PATCH /v1/pipelines/blog {"repository":{"branch":"main"},"watch_paths":[],"cancel_running":false}`)
	if p.Build.Output != "dist" {
		t.Errorf("%+v", p)
	}
	_, err = c.ConfigurePipeline(t.Context(), "blog", PipelineChange{NoRepository: true, CancelRunning: &no})
	check(err, `PATCH /v1/pipelines/blog {"repository":null,"cancel_running":false}`)
	_, err = c.SetVariable(t.Context(), "blog", "A", VariableValue{Value: "x"})
	check(err, `PUT /v1/pipelines/blog/variables/A {"value":"x","secret":false}`)
	_, err = c.SetVariable(t.Context(), "blog", "A", VariableValue{Value: "hush hush", Secret: true, Context: "preview:a/b"})
	check(err, `PUT /v1/pipelines/blog/variables/A {"value":"hush hush","secret":true,"context":"preview:a/b"}`)
	check(c.RemoveVariable(t.Context(), "blog", "a/b", ""), `DELETE /v1/pipelines/blog/variables/a%2Fb `)
	check(c.RemoveVariable(t.Context(), "blog", "A", "preview:a&b"), `DELETE /v1/pipelines/blog/variables/A?context=preview%3Aa%26b `)
	list, err := c.Variables(t.Context(), "blog")
	if check(err, `GET /v1/pipelines/blog/variables `); len(list) != 1 || !list[0].Secret || list[0].Value != nil {
		t.Errorf("%+v", list)
	}
	id := uuid.New()
	_, err = c.RetryDeployment(t.Context(), "blog", id)
	check(err, `POST /v1/pipelines/blog/deployments/`+id.String()+`/retry `)
	_, err = c.Deploy(t.Context(), "blog", "abc")
	check(err, `POST /v1/pipelines/blog/deployments {"commit":"abc"}`)
	for _, name := range []string{"", "..", strings.Repeat("x", 201)} {
		if err := c.RemoveVariable(t.Context(), "blog", name, ""); troy.KindOf(err) != troy.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}
