package forge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
)

const (
	// maxHops bounds the redirects of a download.
	maxHops = 3
	// idleTimeout is the maximum pause of a download.
	idleTimeout = time.Minute
)

var errIdle = errors.New("no data arrived for a minute")

// Download makes a GET call and returns the body of its answer, at most max
// bytes of it. It follows a redirect without the call's headers and credential,
// over https, and only to one of the hosts (a name, or name:port if the port is
// not 443) or, for tests and GitHub Enterprise, to the API's own address. If
// the first answer is neither 200 nor a redirect, it returns an error as Do
// does.
func (c *REST) Download(ctx context.Context, call Call, hosts []string, maxBytes int64) (io.ReadCloser, error) {
	what := call.name()
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(idleTimeout, func() { cancel(errIdle) })
	give := func(err error) error {
		idle.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errIdle) {
			err = fmt.Errorf("%s: %w", what, cause)
		}
		cancel(nil)
		return err
	}
	res, err := c.send(ctx, call)
	for hop := 0; ; hop++ {
		if err != nil {
			return nil, give(err)
		}
		if res.StatusCode == http.StatusOK {
			break
		}
		next, err := c.redirect(what, res, hosts)
		if err != nil {
			return nil, give(err)
		}
		if hop == maxHops {
			return nil, give(fmt.Errorf("%s: more than %d redirects", what, maxHops))
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, next.String(), nil)
		if err != nil {
			return nil, give(fmt.Errorf("%s: follow the redirect: %w", what, withoutURL(err)))
		}
		req.Header.Set("User-Agent", userAgent)
		res, err = c.client.Do(req)
		if err != nil {
			return nil, give(fmt.Errorf("%s: follow the redirect to %s: %w", what, next.Host, withoutURL(err)))
		}
	}
	if res.ContentLength > maxBytes {
		return nil, give(errors.Join(tooLarge(what, maxBytes), res.Body.Close()))
	}
	idle.Stop()
	return &download{body: res.Body, what: what, left: maxBytes, max: maxBytes, idle: idle, ctx: ctx, cancel: cancel}, nil
}

// redirect closes an answer and returns its target, if Download may follow it.
func (c *REST) redirect(what string, res *http.Response, hosts []string) (*url.URL, error) {
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
	default:
		// Also 301 and 308: a repository that has moved is requested again by
		// its new name, with a credential for it.
		body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("%s: read the answer: %w", what, err)
		}
		return nil, refusal(what, res, body)
	}
	next, err := res.Location()
	if err != nil {
		return nil, fmt.Errorf("%s: the redirect has no address that can be read", what)
	}
	sameOrigin := next.Scheme == c.base.Scheme && strings.EqualFold(next.Host, c.base.Host)
	listed := next.Scheme == "https" && slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, next.Host) })
	if next.User != nil || !sameOrigin && !listed {
		return nil, troy.Errorf(troy.Forbidden, "%s: redirected to %s://%s, which is not among the hosts that archives may come from", what, next.Scheme, Line(next.Host, 100))
	}
	return next, nil
}

func tooLarge(what string, n int64) error {
	return troy.Errorf(troy.TooLarge, "%s: the archive has more than %d MiB", what, n>>20)
}

// download is the bounded body of an answer.
type download struct {
	body      io.ReadCloser
	what      string
	left, max int64
	idle      *time.Timer
	ctx       context.Context // of the request; Read returns its cause
	cancel    context.CancelCauseFunc
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	if int64(len(p)) > d.left+1 {
		p = p[:d.left+1]
	}
	// A slow reader is not the forge's fault.
	d.idle.Reset(idleTimeout)
	n, err := d.body.Read(p)
	d.idle.Stop()
	if int64(n) > d.left {
		n = int(d.left)
		d.left = 0
		return n, tooLarge(d.what, d.max)
	}
	d.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(d.ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("%s: read the archive: %w", d.what, err)
	}
	return n, err
}

// Close implements io.Closer.
func (d *download) Close() error {
	d.idle.Stop()
	err := d.body.Close()
	d.cancel(nil)
	return err
}
