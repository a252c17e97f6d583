package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

// serve starts a server and returns a client of it with short waits.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return clientOf(t, server.URL)
}

func clientOf(t *testing.T, address string) *Client {
	t.Helper()
	c, err := New(address, "secret-token")
	if err != nil {
		t.Fatal(err)
	}
	c.base = time.Millisecond
	c.patience = 0
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c
}

func refuse(w http.ResponseWriter, status int, code troy.ErrorKind, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message}})
}

func TestNewRefusesAddressesAndTokens(t *testing.T) {
	t.Parallel()
	for address, says := range map[string]string{
		"": "empty", "ftp://troy.example.com": "http or https", "http://": "no host", "http://:8080": "no host", "https://u:p@troy.example.com": "more than",
		"http://t.example/?a=b": "more than", "http://a b/": "not a valid address", "http://[::1": "not a valid address", "https://u:p@[::1": "not a valid address",
		"troy.example.com": "mean https://troy.example.com?", "troy.example.com/v1": "mean https://troy.example.com/v1?", "localhost:8080": "mean http://localhost:8080?",
		"127.0.0.1:8080": "mean http://127.0.0.1:8080?", "10.1.2.3": "mean http://10.1.2.3?", "//troy.example.com": "mean https://troy.example.com?", "[::1]:8080": "mean http://[::1]:8080?",
		"what is this": "not a valid address", "/srv/troy": "mean https://srv/troy?",
	} {
		_, err := New(address, "")
		e, ok := errors.AsType[*troy.Error](err)
		if !ok || e.Kind != troy.Invalid || e.Field != "url" || !strings.Contains(e.Message, says) || strings.Contains(e.Message, "u:p") {
			t.Errorf("New(%q): %v, want an invalid url that says %s", address, err, says)
		}
	}
	for address, want := range map[string]string{
		"https://troy.example.com": "https://troy.example.com", "HTTPS://troy.example.com/": "https://troy.example.com", " http://localhost:8080/v1\n": "http://localhost:8080",
		"http://t.example/v1/": "http://t.example", "http://t.example/troy/v1//": "http://t.example/troy", "http://t.example/v10": "http://t.example/v10",
	} {
		if c, err := New(address, ""); err != nil || c.BaseURL != want {
			t.Errorf("New(%q): %v, want %s", address, err, want)
		}
	}
	if _, err := New("http://t.example", "abc\nX-Evil: 1"); troy.KindOf(err) != troy.Invalid || strings.Contains(err.Error(), "abc") {
		t.Errorf("a token with a line end: %v", err)
	}
}

func TestRequestsCarryWhoAsks(t *testing.T) {
	t.Parallel()
	var got *http.Request
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		_, _ = io.WriteString(w, `{"slug":"blog","status":"ready_for_deployment","from_the_future":1}`)
	})
	c.BaseURL += "/troy"
	p, err := c.Pipeline(t.Context(), "a/../b c")
	if err != nil || p.Status != troy.ReadyForDeployment {
		t.Fatalf("Pipeline: %+v, %v", p, err)
	}
	if want := "/troy/v1/pipelines/a%2F..%2Fb%20c"; got.URL.EscapedPath() != want {
		t.Errorf("path %s, want %s", got.URL.EscapedPath(), want)
	}
	if got.Header.Get("Authorization") != "Bearer secret-token" || got.Header.Get("User-Agent") != "troy-client" {
		t.Errorf("headers %v", got.Header)
	}
	for _, bad := range []string{"", ".", "..", strings.Repeat("x", 201)} {
		if _, err := c.Pipeline(t.Context(), bad); troy.KindOf(err) != troy.Invalid {
			t.Errorf("Pipeline(%q): %v, want an error without a request", bad, err)
		}
	}
}

func TestRefusalsKeepTheirKind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, body string
		status     int
		header     http.Header
		want       troy.Error
	}{
		{"details", `{"error":{"code":"conflict","message":"files are missing","details":["a","b"]}}`, 409, nil,
			troy.Error{Kind: troy.Conflict, Message: "files are missing", Details: []string{"a", "b"}}},
		{"field", `{"error":{"code":"invalid","message":"is empty","field":"name"}}`, 400, nil,
			troy.Error{Kind: troy.Invalid, Message: "is empty", Field: "name"}},
		{"moved", `{"error":{"code":"precondition_failed","message":"moved"}}`, 412, nil,
			troy.Error{Kind: troy.Moved, Message: "moved"}},
		{"a code from the future", `{"error":{"code":"gone_fishing","message":"no"}}`, 403, nil,
			troy.Error{Kind: troy.Forbidden, Message: "no"}},
		{"internal", `{"error":{"code":"internal","message":"Internal error"}}`, 500, http.Header{"X-Request-Id": {"r-1"}},
			troy.Error{Kind: troy.Internal, Message: "Internal error (request r-1)"}},
		{"not Troy", `<html>`, 404, nil,
			troy.Error{Kind: troy.NotFound, Message: "the server answered 404 Not Found; the response is not from Troy; is the address right?"}},
		{"redirect", ``, 302, http.Header{"Location": {"https://login.example/"}},
			troy.Error{Kind: troy.Internal, Message: "the server answered 302 Found and points to https://login.example/; the response is not from Troy; is the address right?"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				for name, values := range test.header {
					w.Header()[name] = values
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := c.Pipeline(t.Context(), "blog")
			got, ok := errors.AsType[*troy.Error](err)
			if !ok {
				t.Fatalf("error %v is not a *troy.Error", err)
			}
			if got.Kind != test.want.Kind || got.Message != test.want.Message || got.Field != test.want.Field || !cmp.Equal(got.Details, test.want.Details) {
				t.Errorf("got  %+v\nwant %+v", got, &test.want)
			}
			if calls.Load() != 1 {
				t.Errorf("%d calls, want 1", calls.Load())
			}
		})
	}
}

func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	troys503 := func(w http.ResponseWriter) { refuse(w, 503, troy.Unavailable, "Postgres is away") }
	proxys502 := func(w http.ResponseWriter) { w.WriteHeader(502) }
	cut := func(w http.ResponseWriter) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	unsure := func(w http.ResponseWriter) { refuse(w, 503, troy.Unsure, "it may have been done") }
	get := func(c *Client) error { _, err := c.Pipeline(t.Context(), "blog"); return err }
	create := func(c *Client) error { _, err := c.CreatePipeline(t.Context(), NewPipeline{Name: "Blog"}); return err }
	begin := func(c *Client) error {
		_, err := c.BeginRelease(t.Context(), "blog", "key", NewRelease{})
		return err
	}
	for _, test := range []struct {
		name  string
		fail  func(http.ResponseWriter)
		call  func(*Client) error
		calls int64
	}{
		{"GET after Troy's 503", troys503, get, 3},
		{"GET after a proxy's 502", proxys502, get, 3},
		{"GET after a lost answer", cut, get, 3},
		{"POST after Troy's 503", troys503, create, 3},
		{"POST after a proxy's 502", proxys502, create, 3},
		{"POST after a lost answer", cut, create, 3},
		{"POST that may have been done", unsure, create, 3},
		{"POST with a key after a lost answer", cut, begin, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			var first atomic.Pointer[string]
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				// A retry has the key of the first attempt.
				key := r.Header.Get("Idempotency-Key")
				if !first.CompareAndSwap(nil, &key) && *first.Load() != key || (key == "") != (r.Method == http.MethodGet) {
					t.Errorf("%s has the key %q, the first one %q", r.Method, key, *first.Load())
				}
				if calls.Add(1) < 3 {
					test.fail(w)
					return
				}
				_, _ = io.WriteString(w, "{}")
			})
			// Each request uses its own connection, because net/http repeats
			// some requests on a reused connection.
			c.HTTP.Transport.(*http.Transport).DisableKeepAlives = true
			err := test.call(c)
			if (err == nil) != (test.calls == 3) {
				t.Errorf("error %v", err)
			}
			if err != nil && troy.KindOf(err) != troy.Unavailable {
				t.Errorf("kind %s, want unavailable", troy.KindOf(err))
			}
			if calls.Load() != test.calls {
				t.Errorf("%d calls, want %d", calls.Load(), test.calls)
			}
		})
	}
}

func TestAttemptsEnd(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		refuse(w, 503, troy.Unavailable, "away")
	})
	if _, err := c.Pipeline(t.Context(), "blog"); troy.KindOf(err) != troy.Unavailable || err.Error() != "away" {
		t.Errorf("error %v", err)
	}
	if calls.Load() != defaultAttempts {
		t.Errorf("%d calls, want %d", calls.Load(), defaultAttempts)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	var first atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now().UnixNano()
		if first.CompareAndSwap(0, now) {
			w.Header().Set("Retry-After", "1")
			refuse(w, 503, troy.Unavailable, "away")
			return
		}
		_, _ = fmt.Fprintf(w, `{"name":%q}`, time.Duration(now-first.Load()))
	})
	p, err := c.Pipeline(t.Context(), "blog")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := time.ParseDuration(p.Name); err != nil || d < time.Second {
		t.Errorf("asked again after %s, want a second at least", p.Name)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	_ = listener.Close()
	c := clientOf(t, address)
	_, err = c.Pipeline(t.Context(), "blog")
	if troy.KindOf(err) != troy.Unavailable || !strings.Contains(err.Error(), address) {
		t.Errorf("error %v", err)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	c := &Client{base: backoffBase}
	for n := 1; n < 40; n++ {
		if d := c.delay(n, 0); d < 0 || d > backoffCap {
			t.Errorf("delay %d is %s", n, d)
		}
	}
	// A server may be away for hundreds of attempts, which must not come all at once.
	for _, n := range []int{36, 37, 65, 1000} {
		var longest time.Duration
		for range 20 {
			longest = max(longest, c.delay(n, 0))
		}
		if longest < backoffBase {
			t.Errorf("the longest of 20 delays %d is %s", n, longest)
		}
	}
	for after, least := range map[time.Duration]time.Duration{3 * time.Second: 3 * time.Second, time.Hour: retryAfterCap} {
		if d := c.delay(1, after); d < least || d > least+backoffBase {
			t.Errorf("delay after %s is %s", after, d)
		}
	}
	for value, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "99999999999": retryAfterCap, "-1": 0, "soon": 0, "Mon, 02 Jan 2006 15:04:05 GMT": 0} {
		if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("Retry-After %q is %s, want %s", value, got, want)
		}
	}
}

func TestAnAnswerHasABound(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("x", 1000)
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, `{"name":%q}`, name) })
	if p, err := c.Pipeline(t.Context(), "blog"); err != nil || p.Name != name {
		t.Fatalf("%d bytes: %v", len(p.Name), err)
	}
	c.maxAnswer = 1000
	if _, err := c.Pipeline(t.Context(), "blog"); err == nil || !strings.Contains(err.Error(), "more than 1000 bytes") {
		t.Errorf("error %v", err)
	}
}

func TestPagesAreFollowed(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("status") != "deployed" || r.URL.Query().Get("limit") != "200" {
			refuse(w, 400, troy.Invalid, r.URL.RawQuery)
			return
		}
		switch r.URL.Query().Get("after") {
		case "":
			_, _ = io.WriteString(w, `{"pipelines":[{"slug":"c"},{"slug":"b"}],"next":"b&="}`)
		case "b&=":
			_, _ = io.WriteString(w, `{"pipelines":[{"slug":"a"}],"next":"b&="}`)
		}
	})
	var slugs []string
	for p, err := range c.Pipelines(t.Context(), troy.Deployed) {
		if err != nil {
			t.Fatal(err)
		}
		slugs = append(slugs, p.Slug)
	}
	if diff := cmp.Diff([]string{"c", "b", "a"}, slugs); diff != "" {
		t.Error(diff)
	}
	for _, err := range c.Pipelines(t.Context(), "bad") {
		if troy.KindOf(err) != troy.Invalid {
			t.Errorf("error %v", err)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	states := []string{`{"state":"waiting"}`, "", `{"state":"publishing"}`, `{"state":"failed","cause":"no space"}`}
	var calls atomic.Int64
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		answer := states[min(int(calls.Add(1)), len(states))-1]
		if answer == "" {
			refuse(w, 503, troy.Unavailable, "away")
			return
		}
		_, _ = io.WriteString(w, answer)
	})
	c.Attempts = 1 // the 503 reaches Wait
	var seen []troy.DeploymentState
	d, err := c.Wait(t.Context(), "blog", uuid.New(), func(d Deployment) { seen = append(seen, d.State) })
	if err != nil || d.Cause != "no space" {
		t.Fatalf("Wait: %+v, %v", d, err)
	}
	if diff := cmp.Diff([]troy.DeploymentState{troy.Waiting, troy.Publishing, troy.Failed}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"state":"waiting"}`) })
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Wait(ctx, "blog", uuid.New(), func(Deployment) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
