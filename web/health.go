package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/queries"
)

// Check is something that Troy needs in order to serve.
type Check struct {
	Name string // "Postgres"
	// Check returns nil when it is as it should be. The text of a *troy.Error
	// is shown to whoever asks; of other errors only their class is.
	Check func(ctx context.Context) error
	// TellOnly has /readyz tell that the check failed and answer 200 all the
	// same.
	TellOnly bool
}

const (
	checkTime = 2 * time.Second
	// readyFor is how long an answer of /readyz stands, so that strangers who
	// ask often don't make Troy ask Postgres as often.
	readyFor = 500 * time.Millisecond
)

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	text(w, http.StatusOK, "ok\n")
}

// readyz asks all checks at once, one round at a time.
func (s *server) readyz() http.Handler {
	var mu sync.Mutex
	var lines string
	var ready bool
	var at time.Time
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if time.Since(at) > readyFor {
			lines, ready = s.notReady(context.WithoutCancel(r.Context()))
			at = time.Now()
		}
		answer, fine := lines, ready
		mu.Unlock()
		if !fine {
			text(w, http.StatusServiceUnavailable, answer)
			return
		}
		text(w, http.StatusOK, "ok\n"+answer)
	})
}

// notReady has a line for each check that failed, and says whether Troy is
// ready nevertheless.
func (s *server) notReady(ctx context.Context) (lines string, ready bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	failed := make([]string, len(s.deps.Ready))
	var wg sync.WaitGroup
	for i, c := range s.deps.Ready {
		wg.Go(func() {
			if err := c.Check(ctx); err != nil {
				s.deps.Log.WarnContext(ctx, "not ready", "check", c.Name, "error", err)
				failed[i] = fmt.Sprintf("%s: %s\n", c.Name, class(err))
			}
		})
	}
	wg.Wait()
	ready = true
	for i, c := range s.deps.Ready {
		ready = ready && (failed[i] == "" || c.TellOnly)
	}
	return strings.Join(failed, ""), ready
}

// class says of an error what a stranger may know.
func class(err error) string {
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Kind != troy.Internal {
		return e.Message
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case away(err):
		return "not reachable"
	}
	return "failed"
}

func text(w http.ResponseWriter, status int, s string) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	// The only error left is a reader who is gone.
	_, _ = io.WriteString(w, s)
}

// Health returns a handler of /healthz, /readyz and /metrics alone, for a
// process that serves nothing else.
func Health(ready []Check, db *pgxpool.Pool, m *metrics.Metrics, log *slog.Logger) http.Handler {
	s := &server{deps: Deps{DB: db, Ready: ready, Metrics: m, Log: log}, q: queries.New(db)}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.healthz)
	mux.Handle("/readyz", s.readyz())
	mux.Handle("/metrics", s.metrics())
	return mux
}

// metrics answers Prometheus, which sends a viewer's token of all pipelines as
// the bearer or the password.
func (s *server) metrics() http.Handler {
	answer := s.deps.Metrics.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.mayAll(w, r, Viewer, "the metrics are of all") {
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
		answer.ServeHTTP(w, r)
	})
}
