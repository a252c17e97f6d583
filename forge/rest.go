package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/troy-iaas/troy"
)

const (
	// maxAnswer bounds the body of an answer, in bytes.
	maxAnswer = 8 << 20
	// maxReason bounds a forge's own error message, in characters.
	maxReason = 300
	// callTimeout bounds one call with its answer.
	callTimeout = 30 * time.Second
	userAgent   = "troy (static site deployments)"
)

// REST is an HTTP client for the adapters. It follows no redirect, bounds every
// answer and every wait, and keeps credentials out of errors.
type REST struct {
	base   *url.URL
	client *http.Client
}

// NewREST returns a REST for an API at an address. It accepts plain http only
// for loopback addresses, since every call has a credential. transport may be
// nil for the standard one.
func NewREST(base string, transport http.RoundTripper) (*REST, error) {
	u, err := ParseBase(base)
	if err != nil {
		return nil, err
	}
	if transport == nil {
		transport = Transport()
	}
	return &REST{base: u, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Transport returns the standard transport of a REST.
func Transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	// An archive is already gzipped and must not be unpacked.
	t.DisableCompression = true
	t.ResponseHeaderTimeout = callTimeout
	return t
}

// ParseBase parses a forge's address: https, or http on a loopback address,
// with only a host and a path.
func ParseBase(base string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil {
		return nil, fmt.Errorf("the address %q can't be read", base)
	}
	switch {
	case u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("the address %q is not https://host/path", u.Redacted())
	case u.Scheme == "https", u.Scheme == "http" && IsLoopback(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("the address %q is not https: credentials would be sent unencrypted", base)
}

// IsLoopback reports whether a host, without its port, is this machine.
func IsLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// Call is one call to an API.
type Call struct {
	// Name is the call's name in errors, if not its method and path.
	Name   string
	Method string
	// Path is absolute, with its parts escaped (url.PathEscape).
	Path   string
	Query  url.Values
	Header http.Header
	// Authorization is the header's value, or empty.
	Authorization string
	// JSON is sent as the body, or Form if JSON is nil.
	JSON any
	Form url.Values
	// Into receives the answer's JSON, if not nil. Unknown fields are ignored.
	Into any
}

func (c Call) name() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Method + " " + c.Path
}

// StatusError is an answer other than 2xx.
type StatusError struct {
	What   string // the call
	Status int
	Header http.Header
	Reason string // the forge's own message, one line
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s: answered %d", e.What, e.Status)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Do makes a call and reads its answer. For an answer other than 2xx it returns
// a *StatusError, or a *RateLimitError if the answer says so.
func (c *REST) Do(ctx context.Context, call Call) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	res, err := c.send(ctx, call)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	what := call.name()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("%s: read the answer: %w", what, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, refusal(what, res, body)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("%s: the answer has more than %d bytes", what, maxAnswer)
	}
	if call.Into != nil {
		if err := json.Unmarshal(body, call.Into); err != nil {
			return nil, fmt.Errorf("%s: the answer is not the expected JSON: %w", what, shape(err))
		}
	}
	return res.Header, nil
}

// shape returns the part of a JSON error without the answer's content.
func shape(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q has another type", t.Field)
	}
	return errors.New("malformed")
}

func (c *REST) send(ctx context.Context, call Call) (*http.Response, error) {
	what := call.name()
	target, err := url.Parse(c.base.String() + call.Path)
	if err != nil {
		return nil, fmt.Errorf("%s: the path can't be read", what)
	}
	target.RawQuery = call.Query.Encode()
	var body io.Reader
	kind := ""
	switch {
	case call.JSON != nil:
		data, err := json.Marshal(call.JSON)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		body, kind = bytes.NewReader(data), "application/json"
	case call.Form != nil:
		body, kind = strings.NewReader(call.Form.Encode()), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	for name, values := range call.Header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", userAgent)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if call.Authorization != "" {
		req.Header.Set("Authorization", call.Authorization)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, withoutURL(err))
	}
	return res, nil
}

// withoutURL drops the address in net/http's errors: a redirect's has a
// signature in it.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// refusal classifies an answer other than 2xx.
func refusal(what string, res *http.Response, body []byte) error {
	if wait, limited := rateLimit(res); limited {
		return &RateLimitError{Wait: wait, What: what}
	}
	return &StatusError{What: what, Status: res.StatusCode, Header: res.Header, Reason: reason(body)}
}

// rateLimit returns the wait that an answer asks for: Retry-After in seconds,
// or the reset time in seconds of the epoch, otherwise a minute
// (docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api;
// Bitbucket answers 429 with the same headers).
func rateLimit(res *http.Response) (time.Duration, bool) {
	after, hasAfter := number(res.Header.Get("Retry-After"))
	spent := res.Header.Get("X-Ratelimit-Remaining") == "0"
	switch res.StatusCode {
	case http.StatusTooManyRequests:
	case http.StatusForbidden:
		if !hasAfter && !spent {
			return 0, false
		}
	case http.StatusServiceUnavailable:
		if !hasAfter {
			return 0, false
		}
	default:
		return 0, false
	}
	wait := time.Minute
	if hasAfter {
		wait = time.Duration(min(after, 3600)) * time.Second
	} else if reset, ok := number(res.Header.Get("X-Ratelimit-Reset")); ok && spent {
		// The clocks may differ a little.
		wait = time.Until(time.Unix(reset, 0)) + time.Second
	}
	return min(max(wait, time.Second), time.Hour), true
}

func number(s string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil && n >= 0
}

// reason returns a forge's message in the body of a refusal: GitHub's
// "message", Bitbucket's "error.message", OAuth's "error_description".
func reason(body []byte) string {
	var said struct {
		Message     string          `json:"message"`
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	// A body that is not JSON, like a proxy's page, has nothing worth
	// repeating.
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	text := said.Message
	if text == "" {
		var inner struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(said.Error, &inner) == nil {
			text = inner.Message
		}
	}
	if text == "" {
		text = said.Description
	}
	return Line(text, maxReason)
}

// Line makes one printable line of an untrusted text, of at most n
// characters.
func Line(s string, n int) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return ' '
		case unicode.IsControl(c) || c == unicode.ReplacementChar:
			return -1
		}
		return c
	}, s)
	return troy.Cut(strings.TrimSpace(s), n)
}
