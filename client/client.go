// Package client is the Go client of Troy's HTTP API (docs/api.md). The CLI and
// the end-to-end tests use it for every call. Every method takes a context,
// retries if that is safe and the server or the network is temporarily
// unavailable, and returns a refusal by the server as a *troy.Error.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

const (
	// defaultAttempts is the default number of attempts of a call.
	defaultAttempts = 5
	// backoffBase and backoffCap bound the random wait before another attempt;
	// retryAfterCap bounds the wait that a server may request.
	backoffBase   = 200 * time.Millisecond
	backoffCap    = 5 * time.Second
	retryAfterCap = 30 * time.Second
	// callTimeout bounds one attempt of a call, which may send a manifest of
	// 100,000 files. Uploads have stallTimeout instead.
	callTimeout = 2 * time.Minute
	// mostAnswer is the maximum size of a response in bytes. The missing files
	// of a release of 100,000 take about 25 MB.
	mostAnswer = 64 << 20
	// idleConnections is greater than DefaultParallel, so that uploads reuse
	// their connections.
	idleConnections = 128
)

// Client calls one Troy server. Its fields must not change after the first
// call. Its methods are safe for concurrent use.
type Client struct {
	// BaseURL is the server's address without the API's path:
	// "https://troy.example.com".
	BaseURL string
	// Token is the bearer token.
	Token string
	// HTTP sends the requests.
	HTTP *http.Client
	// UserAgent identifies the caller.
	UserAgent string
	// Attempts is the maximum number of attempts of a call; 0 means 5. The
	// calls of a release are retried for at least two minutes.
	Attempts int
	// Away, if not nil, is called with the reason when the server can't be
	// reached and a call of a release is being retried, and with nil when the
	// server answers again. Calls come from several goroutines, one at a time.
	Away func(err error)

	presence     presence
	patience     time.Duration // how long to retry while the server is away
	base         time.Duration // of the backoff
	stallTimeout time.Duration // of an upload without progress
	maxAnswer    int64         // bytes
	compress     bool          // the batches of an upload
}

// New returns a client. baseURL is an http or https URL; its path is the prefix
// that a proxy adds to the API's paths, and may end in the API's own /v1.
// Errors are Invalid with the field "url" or "token".
func New(baseURL, token string) (*Client, error) {
	u, err := parseURL(baseURL)
	if err != nil {
		return nil, err
	}
	for _, r := range token {
		// RFC 6750 §2.1 allows fewer characters. No printable one can end or
		// split the header.
		if r <= ' ' || r > '~' {
			return nil, troy.Errorf(troy.Invalid, "the token contains a space, a line end or another invalid character").At("token")
		}
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          idleConnections,
		MaxIdleConnsPerHost:   idleConnections,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		// The headers and a small file fit into one write.
		WriteBufferSize: smallFile + 4<<10,
	}
	return &Client{
		BaseURL: strings.TrimRight(u.String(), "/"),
		Token:   token,
		HTTP: &http.Client{
			Transport: transport,
			// The API has no redirects. Following one would turn a POST into a
			// GET, or send the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		UserAgent:    "troy-client",
		patience:     silence,
		base:         backoffBase,
		stallTimeout: stallTimeout,
		maxAnswer:    mostAnswer,
		// To the same machine, compression takes longer than it saves.
		compress: !loopback(u.Hostname()),
	}, nil
}

// loopback reports whether a host is this machine by its name or address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// call is one call of the API.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	// tag receives the ETag of the response; nil means that it is not needed.
	tag *string
	// body returns a new reader for each attempt; nil means no body.
	body func() (io.Reader, error)
	size int64
	// repeatable: sending the call twice has the same effect as once.
	repeatable bool
	// upload: an attempt may continue as long as it makes progress.
	upload bool
	// patient: the call is retried while the server is away for a while.
	patient bool
	// failed, if not nil, is called with the beginning of an attempt that did
	// not succeed.
	failed func(began time.Time)
	// again, if not nil, is called before another attempt, and returns the size
	// of its body. If it is 0, nothing is left to do.
	again func(ctx context.Context, f *failure) (size int64, err error)
}

func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.do(ctx, call{method: http.MethodGet, path: path, query: query, repeatable: true}, out)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	k, err := jsonCall(http.MethodPost, path, in)
	if err != nil {
		return err
	}
	if k.header == nil {
		k.header = http.Header{}
	}
	// The server carries out requests with the same key once.
	k.header.Set("Idempotency-Key", uuid.NewString())
	k.repeatable = true
	return c.do(ctx, k, out)
}

func jsonCall(method, path string, in any) (call, error) {
	k := call{method: method, path: path}
	if in == nil {
		return k, nil
	}
	b, err := json.Marshal(in)
	if err != nil {
		return k, fmt.Errorf("encode the body of %s %s: %w", method, path, err)
	}
	k.header = http.Header{"Content-Type": {"application/json"}}
	k.body = func() (io.Reader, error) { return bytes.NewReader(b), nil }
	k.size = int64(len(b))
	return k, nil
}

// do makes the call, retries it while that can help, and decodes the response
// into out, which may be nil.
func (c *Client) do(ctx context.Context, k call, out any) error {
	attempts := c.Attempts
	if attempts <= 0 {
		attempts = defaultAttempts
	}
	var since time.Time // of the first failure in a row
	for n := 1; ; n++ {
		began := time.Now()
		f := c.attempt(ctx, k, out)
		if f == nil {
			c.presence.answered(c)
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s %s: %w", k.method, k.path, context.Cause(ctx))
		}
		if !f.harmless && (!k.repeatable || !f.passing) {
			return f.err
		}
		if k.failed != nil {
			k.failed(began)
		}
		if since.IsZero() {
			since = time.Now()
		}
		switch {
		case k.patient && c.presence.missing(c, since, f.err) < c.patience:
		case k.patient && n >= attempts:
			return gaveUp(f.err, c.patience)
		case n >= attempts:
			return f.err
		}
		wait := time.NewTimer(c.delay(n, f.after))
		select {
		case <-ctx.Done():
			wait.Stop()
			return fmt.Errorf("%s %s: %w", k.method, k.path, context.Cause(ctx))
		case <-wait.C:
		}
		if k.again == nil {
			continue
		}
		var err error
		if k.size, err = k.again(ctx, f); err != nil || k.size == 0 {
			return err
		}
	}
}

// delay returns the wait after the n-th attempt: the time that the server
// requested, or "full jitter"
// (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
func (c *Client) delay(n int, after time.Duration) time.Duration {
	most := min(c.base<<min(n-1, 10), backoffCap) // a larger shift would overflow
	if most <= 0 {
		return min(after, retryAfterCap)
	}
	if after > 0 {
		// Add some jitter, so that clients don't all return at once.
		return min(after, retryAfterCap) + rand.N(c.base) //nolint:gosec // jitter is not a secret
	}
	return rand.N(most) //nolint:gosec // jitter is not a secret
}

// failure is the error of an attempt.
type failure struct {
	err error
	// passing: another attempt may succeed. harmless: the server did nothing,
	// so even a call that is not repeatable may be retried.
	passing, harmless bool
	after             time.Duration // the wait that the server requested
	stored            *int          // of a batch's files, if the server said it
	unsent            bool          // no connection was made
}

func (c *Client) attempt(ctx context.Context, k call, out any) *failure {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := callTimeout
	if k.upload {
		limit = c.stallTimeout
	}
	watch := time.AfterFunc(limit, func() {
		cancel(troy.Errorf(troy.Unavailable, "%s %s: no progress for %s", k.method, k.path, limit))
	})
	defer watch.Stop()

	req, err := c.request(ctx, k)
	if err != nil {
		return &failure{err: err}
	}
	if k.upload && req.Body != nil && (k.size > smallFile || k.size < 0) {
		req.Body = &movingBody{ReadCloser: req.Body, watch: watch, limit: limit}
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return c.networkFailure(ctx, err)
	}
	defer func() {
		// Read the rest, so that the connection can be reused.
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		_ = resp.Body.Close()
	}()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return answerFailure(resp)
	}
	if k.tag != nil {
		*k.tag = resp.Header.Get("ETag")
	}
	if out == nil {
		return nil
	}
	answer := &io.LimitedReader{R: resp.Body, N: c.maxAnswer + 1}
	if err := decodeAnswer(answer, out); err != nil {
		if answer.N <= 0 {
			err = fmt.Errorf("more than %d bytes", c.maxAnswer)
		}
		if ctx.Err() != nil {
			return c.networkFailure(ctx, err)
		}
		// A 2xx response from something other than Troy, or a truncated one.
		return &failure{
			err:     troy.Errorf(troy.Internal, "%s %s: the response is not from Troy (%w); is the address %s right?", k.method, k.path, err, c.BaseURL),
			passing: errors.Is(err, io.ErrUnexpectedEOF),
		}
	}
	return nil
}

func decodeAnswer(r io.Reader, out any) error {
	d := json.NewDecoder(r)
	if release, ok := out.(*Release); ok {
		*release = Release{}
		return release.decode(d)
	}
	return d.Decode(out)
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	var body io.Reader
	if k.body != nil && k.size != 0 {
		var err error
		if body, err = k.body(); err != nil {
			return nil, err
		}
	}
	target := c.BaseURL + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		if closer, ok := body.(io.Closer); ok {
			_ = closer.Close()
		}
		return nil, troy.Errorf(troy.Invalid, "%s %s: %w", k.method, k.path, err)
	}
	req.ContentLength = k.size
	req.Header.Set("Accept", "application/json")
	for name, values := range k.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", c.UserAgent)
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return req, nil
}

// networkFailure is a request without a response.
func (c *Client) networkFailure(ctx context.Context, err error) *failure {
	f := &failure{passing: true}
	if cause, ok := errors.AsType[*troy.Error](context.Cause(ctx)); ok {
		f.err = cause
		return f
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the method and the address, which the message already has
	}
	if e, ok := errors.AsType[*troy.Error](err); ok { // the body's reader failed
		return &failure{err: e}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		f.passing = false
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		f.harmless, f.unsent = true, true
	}
	f.err = troy.Errorf(troy.Unavailable, "cannot reach %s: %s", c.BaseURL, reason(err))
	return f
}

// movingBody extends the deadline of an attempt while its body is being read.
type movingBody struct {
	io.ReadCloser
	watch *time.Timer
	limit time.Duration
}

func (b *movingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err != nil:
		// The system still has to send what it keeps of the body.
		b.watch.Reset(2 * b.limit)
	case n > 0:
		b.watch.Reset(b.limit)
	}
	return n, err
}

// retryAfter returns the time of a Retry-After header in seconds or as a date
// (RFC 9110 §10.2.3), or 0 if there is none.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(v); err == nil && seconds > 0 {
		return time.Duration(min(seconds, int(retryAfterCap/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// segment escapes a caller's string as one segment of a path, so that it can't
// lead to another endpoint.
func segment(field, s string) (string, error) {
	if s == "" || s == "." || s == ".." || len(s) > 200 {
		return "", troy.Errorf(troy.Invalid, "%q is neither an id nor a slug", s).At(field)
	}
	return url.PathEscape(s), nil
}
