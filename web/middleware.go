package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/web/reply"
)

var requestForm = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// entry is what the log says about a request in addition to HTTP.
type entry struct {
	route                string // the pattern, for metrics
	request              string
	actor                string
	pipeline, deployment string
	err                  error
}

type entryKey struct{}

// note returns the log's entry of a request.
func note(ctx context.Context) *entry {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		return e
	}
	return &entry{}
}

// outermost gives every request an id, bounds and logs it, and answers if its
// handler panics.
func (s *server) outermost(next http.Handler, secure bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		e := &entry{request: r.Header.Get(reply.RequestHeader)}
		if !requestForm.MatchString(e.request) {
			e.request = rand.Text()
		}
		r = r.WithContext(context.WithValue(r.Context(), entryKey{}, e))
		rec := &recorder{ResponseWriter: w}
		securityHeaders(rec.Header(), secure)
		rec.Header().Set(reply.RequestHeader, e.request)
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = newBody(r.Body, http.NewResponseController(w), s.cfg.BodyIdle)
		}
		defer func() {
			if v := recover(); v != nil {
				if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(v)
				}
				s.deps.Log.ErrorContext(r.Context(), "a handler panicked", "request", e.request, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
				if rec.status == 0 {
					s.fail(rec, r, errors.New("a handler panicked"))
				}
			}
			took := time.Since(start)
			s.logRequest(r, e, rec, took)
			s.deps.Metrics.Request(r.Method, cmp.Or(e.route, "other"), rec.status, took)
		}()
		next.ServeHTTP(rec, r)
	})
}

func securityHeaders(h http.Header, secure bool) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Without a referrer, browsers send forms of a page over plain HTTP with
	// "Origin: null" (fetch.spec.whatwg.org, "append a request Origin header").
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// logRequest logs the request. Frequent answers without news, of uploads and
// health checks, have the level debug.
func (s *server) logRequest(r *http.Request, e *entry, rec *recorder, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case rec.status >= 500 && r.Context().Err() == nil: // the caller is still connected
		level = slog.LevelError
	case rec.status < 400 && (r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/files/") || r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/files") || r.URL.Path == "/healthz" || r.URL.Path == "/readyz" ||
		r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/monitor")): // changes there are logged
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("request", e.request), slog.String("method", r.Method), slog.String("path", s.hidden(r.URL.Path)),
		slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", took),
	}
	for _, a := range [][2]string{{"actor", e.actor}, {"pipeline", e.pipeline}, {"deployment", e.deployment}} {
		if a[1] != "" {
			attrs = append(attrs, slog.String(a[0], a[1]))
		}
	}
	if e.err != nil {
		attrs = append(attrs, slog.String("error", e.err.Error()))
	}
	s.deps.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// recorder records the answer's status and size.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Flush sends what was written so far, for streams.
func (r *recorder) Flush() {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	// A writer that can't flush, as in tests, has no waiting reader.
	_ = http.NewResponseController(r.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// slowestBody is the minimum speed of a body in bytes per second.
const slowestBody = 1 << 10

// body reads a request's body while it keeps arriving: it fails if a pause is
// longer than idle, if the average is slower than slowestBody, or at the time
// until, if that is set.
type body struct {
	io.ReadCloser
	control    *http.ResponseController
	idle       time.Duration
	start, set time.Time
	until      time.Time
	within     time.Duration // from start to until
	read       int64

	mu    sync.Mutex
	over  bool // all was read
	ended bool
}

func newBody(r io.ReadCloser, control *http.ResponseController, idle time.Duration) *body {
	b := &body{ReadCloser: r, control: control, idle: idle, start: time.Now()}
	b.extend(b.start)
	return b
}

// extend moves the connection's deadline. A server without deadlines, as in
// tests, has no connection.
func (b *body) extend(now time.Time) {
	deadline := now.Add(b.idle)
	if slowest := b.start.Add(b.idle + time.Duration(b.read/slowestBody)*time.Second); slowest.Before(deadline) {
		deadline = slowest
	}
	if !b.until.IsZero() && b.until.Before(deadline) {
		deadline = b.until
	}
	b.set = now
	b.setDeadline(deadline)
}

func (b *body) setDeadline(deadline time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = deadline.IsZero()
	if !b.ended {
		_ = b.control.SetReadDeadline(deadline)
	}
}

// end makes reading the body fail, also a read that is in progress. It does
// nothing after the last byte was read.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.ended = true
		_ = b.control.SetReadDeadline(b.start)
	}
}

// arriveWithin sets the connection's deadline for the whole body to this time
// from now.
func (b *body) arriveWithin(most time.Duration) {
	now := time.Now()
	b.until, b.within = now.Add(most), most
	b.extend(now)
}

// late explains why a body reached its deadline.
func (b *body) late() error {
	b.mu.Lock()
	ended := b.ended
	b.mu.Unlock()
	if ended {
		return troy.Errorf(troy.Unavailable, "another request takes over what this one did not send yet")
	}
	if !b.until.IsZero() && !time.Now().Before(b.until) {
		return troy.Errorf(troy.Unavailable, "the request's body took longer than %s to arrive", b.within)
	}
	return troy.Errorf(troy.Unavailable, "the request's body paused for %s, or arrived slower than %d bytes a second", b.idle, slowestBody)
}

func (b *body) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.set) > b.idle/30 {
		b.extend(now)
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		// Later data on the connection does not belong to this body; its
		// deadline must not end the handler's context.
		b.setDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = b.late()
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = troy.Errorf(troy.Invalid, "the request's body ended early, after %d bytes", b.read)
	}
	return n, err
}

// knownHost refuses requests whose Host is not Troy's, so that another name
// that resolves to this server (DNS rebinding) is not accepted. It accepts
// loopback with any port, since another port may be forwarded to Troy's.
func (s *server) knownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.hosts[hostKey(r.Host)] && !loopback(r.Host) {
			reply.ErrorAs(w, http.StatusMisdirectedRequest, troy.Errorf(troy.Invalid, "the host is not Troy's; its address is %s", s.cfg.URL))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func hostKey(host string) string { return strings.ToLower(host) }

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		// Without a port. An IPv6 address is in brackets (RFC 9110 §7.2).
		host = hostport
		if host == "[::1]" {
			return true
		}
	}
	if strings.HasPrefix(hostport, "[") {
		return err == nil && host == "::1"
	}
	host = strings.ToLower(host)
	return host == "localhost" || host == "127.0.0.1"
}

// sameOrigin refuses changes that a browser sends from another site's page, and
// what such a page reads with the browser's session.
func (s *server) sameOrigin(u *url.URL, next http.Handler) (http.Handler, error) {
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
		return nil, troy.Errorf(troy.Invalid, "%q is not an origin: %w", s.cfg.URL, err).At("URL")
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, troy.Errorf(troy.Forbidden, "a page of another site sent this request"))
	}))
	return protection.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if foreignRead(r) && s.sessions.Sent(r) {
			s.fail(w, r, troy.Errorf(troy.Forbidden, "a page of another site sent this request"))
			return
		}
		next.ServeHTTP(w, r)
	})), nil
}

// foreignRead reports whether a page of another origin fetches or embeds what it
// requests. Only the browser itself may go to Troy's pages from there
// (www.w3.org/TR/fetch-metadata). The cookie's SameSite=Lax alone does not stop
// pages of the same site, such as those of neighbouring hosts.
func foreignRead(r *http.Request) bool {
	from := r.Header.Get("Sec-Fetch-Site")
	if from != "same-site" && from != "cross-site" {
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document"
}
