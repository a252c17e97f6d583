// Package health reports whether a process can do its work. It checks Troy's
// dependencies, serves /healthz, /readyz and /metrics, and logs changes.
// Package web and troyd's commands call it.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/metrics"
	"github.com/troy-iaas/troy/web/reply"
)

// Check is a test of a dependency.
type Check struct {
	Name string // "Postgres"
	// Check returns nil if the dependency works. Clients see the text of a
	// *troy.Error; of other errors they see only the class.
	Check func(ctx context.Context) error
	// TellOnly makes /readyz report a failure but still answer 200.
	TellOnly bool
}

const (
	checkTime = 2 * time.Second
	// readyFor is how long an answer of /readyz is cached, so that frequent
	// requests don't load Postgres.
	readyFor = 500 * time.Millisecond
)

// Live serves /healthz.
func Live(w http.ResponseWriter, _ *http.Request) {
	reply.Text(w, http.StatusOK, "ok\n")
}

// Ready returns a handler of /readyz. It runs all checks at once, one round at
// a time.
func Ready(checks []Check, log *slog.Logger) http.Handler {
	var mu sync.Mutex
	var lines string
	var ready bool
	var at time.Time
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if time.Since(at) > readyFor {
			lines, ready = notReady(context.WithoutCancel(r.Context()), checks, log)
			at = time.Now()
		}
		answer, fine := lines, ready
		mu.Unlock()
		if !fine {
			reply.Text(w, http.StatusServiceUnavailable, answer)
			return
		}
		reply.Text(w, http.StatusOK, "ok\n"+answer)
	})
}

// notReady returns a line for each check that failed, and whether Troy is ready
// anyway.
func notReady(ctx context.Context, checks []Check, log *slog.Logger) (lines string, ready bool) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	failed := make([]string, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			if err := c.Check(ctx); err != nil {
				log.WarnContext(ctx, "not ready", "check", c.Name, "error", err)
				failed[i] = fmt.Sprintf("%s: %s\n", c.Name, class(err))
			}
		})
	}
	wg.Wait()
	ready = true
	for i, c := range checks {
		ready = ready && (failed[i] == "" || c.TellOnly)
	}
	return strings.Join(failed, ""), ready
}

// class returns the part of an error that clients may see.
func class(err error) string {
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Kind != troy.Internal {
		return e.Message
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timed out"
	case reply.Away(err):
		return "not reachable"
	}
	return "failed"
}

// MayAll reports whether a request may do what concerns all pipelines at once.
// If not, it writes the error response. For a token that is limited to some
// pipelines, the error ends with why.
type MayAll func(w http.ResponseWriter, r *http.Request, least credentials.Role, why string) bool

// Metrics returns a handler of /metrics for Prometheus, which sends an
// unlimited viewer token as the bearer token or the password.
func Metrics(m *metrics.Metrics, mayAll MayAll) http.Handler {
	answer := m.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !mayAll(w, r, credentials.Viewer, "the metrics cover all pipelines") {
			return
		}
		reply.Limit(w)
		answer.ServeHTTP(w, r)
	})
}

// Handler returns a handler of /healthz, /readyz and /metrics, for a process
// that serves nothing else.
func Handler(checks []Check, tokens credentials.Tokens, m *metrics.Metrics) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", Live)
	mux.Handle("/readyz", Ready(checks, tokens.Log))
	mux.Handle("/metrics", Metrics(m, func(w http.ResponseWriter, r *http.Request, least credentials.Role, why string) bool {
		_, err := tokens.AuthorizeAll(r, least, why)
		if err == nil {
			return true
		}
		if troy.KindOf(err) == troy.Unauthenticated {
			w.Header().Set("WWW-Authenticate", reply.AdminChallenge)
		}
		reply.Error(w, reply.Public(err))
		return false
	}))
	return mux
}
