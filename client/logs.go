package client

import (
	"bufio"
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

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
)

const (
	// streamSilence is the maximum silence of a stream. The server sends
	// something every 15 seconds.
	streamSilence = 45 * time.Second
	// mostEvent is the maximum length of an event's line in bytes: 32 KiB of a
	// log take at most six times that as JSON.
	mostEvent = 256 << 10
)

// Log copies a build's log to w, from byte from to its present end. If a
// connection breaks, Log reconnects and continues. It stops at an error of w.
func (c *Client) Log(ctx context.Context, pipeline string, id uuid.UUID, from int64, w io.Writer) error {
	_, err := c.resume(ctx, pipeline, id, "text/plain", from, 0, func(body io.Reader, position *int64, _ *troy.DeploymentState) error {
		buffer := make([]byte, 32<<10)
		for {
			n, err := body.Read(buffer)
			if n > 0 {
				*position += int64(n)
				if _, err := w.Write(buffer[:n]); err != nil {
					return &outputError{err}
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	return err
}

// FollowLog copies a build's log to w until the build has ended, and returns
// the state of its deployment then. Invalid UTF-8 is replaced by U+FFFD. If a
// connection breaks, FollowLog reconnects and continues; it tolerates a server
// that is away for less than two minutes. It stops at an error of w.
func (c *Client) FollowLog(ctx context.Context, pipeline string, id uuid.UUID, w io.Writer) (troy.DeploymentState, error) {
	return c.resume(ctx, pipeline, id, "text/event-stream", 0, silence, func(body io.Reader, position *int64, end *troy.DeploymentState) error {
		return readEvents(body, func(e event) error {
			n, err := strconv.ParseInt(e.id, 10, 64)
			if err != nil || n < *position {
				return troy.Errorf(troy.Internal, "an event of the log has the id %.40q", e.id)
			}
			if e.name == "end" {
				*position, *end = n, troy.DeploymentState(e.data)
				return errEnd
			}
			var text string
			if err := json.Unmarshal([]byte(e.data), &text); err != nil {
				return troy.Errorf(troy.Internal, "an event of the log cannot be read: %w", err)
			}
			*position = n
			if _, err := io.WriteString(w, text); err != nil {
				return &outputError{err}
			}
			return nil
		})
	})
}

// errEnd ends a stream after its last event.
var errEnd = errors.New("end of the log")

// outputError is an error of the log's writer.
type outputError struct{ error }

func (e *outputError) Unwrap() error { return e.error }

// resume reads a log over as many connections as necessary. Without progress it
// gives up after patience, or after the usual attempts if patience is zero.
func (c *Client) resume(ctx context.Context, pipeline string, id uuid.UUID, accept string, position int64, patience time.Duration,
	read func(io.Reader, *int64, *troy.DeploymentState) error,
) (end troy.DeploymentState, err error) {
	path, err := pipelinePath(pipeline)
	if err != nil {
		return "", err
	}
	attempts := c.Attempts
	if attempts <= 0 {
		attempts = defaultAttempts
	}
	moved := time.Now()
	for n := 1; ; n++ {
		before, began := position, time.Now()
		k := call{
			method: http.MethodGet, path: path + "/deployments/" + id.String() + "/log",
			header: http.Header{"Accept": {accept}}, query: url.Values{},
		}
		if position > 0 {
			k.query.Set("from", strconv.FormatInt(position, 10))
		}
		f := c.streamed(ctx, k, func(body io.Reader) error { return read(body, &position, &end) })
		if position > before || time.Since(began) > streamSilence/2 {
			n, moved = 1, time.Now()
		}
		switch {
		case f == nil && (end != "" || patience == 0):
			return end, nil
		case ctx.Err() != nil:
			return "", fmt.Errorf("read the log of deployment %s: %w", id, context.Cause(ctx))
		case f == nil && time.Since(moved) > patience:
			return "", troy.Errorf(troy.Internal, "read the log of deployment %s: the server ends the stream before the log's end", id)
		case f != nil && (!f.passing || patience == 0 && n >= attempts || patience > 0 && time.Since(moved) > patience):
			return "", fmt.Errorf("read the log of deployment %s: %w", id, f.err)
		}
		after := time.Duration(0)
		if f != nil {
			after = f.after
		}
		wait := time.NewTimer(c.delay(min(n, defaultAttempts), after))
		select {
		case <-ctx.Done():
			wait.Stop()
			return "", fmt.Errorf("read the log of deployment %s: %w", id, context.Cause(ctx))
		case <-wait.C:
		}
	}
}

// streamed sends one request whose response is read while it arrives.
func (c *Client) streamed(ctx context.Context, k call, read func(io.Reader) error) *failure {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(streamSilence, func() {
		cancel(troy.Errorf(troy.Unavailable, "%s %s: no data for %s", k.method, k.path, streamSilence))
	})
	defer watch.Stop()
	req, err := c.request(ctx, k)
	if err != nil {
		return &failure{err: err}
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return c.networkFailure(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return answerFailure(resp)
	}
	// A page from something other than Troy is not a log.
	if kind, want := resp.Header.Get("Content-Type"), k.header.Get("Accept"); !strings.HasPrefix(kind, want) {
		return &failure{err: troy.Errorf(troy.Internal, "%s %s: the response has the type %.80q and is not a log; is the address %s right?", k.method, k.path, kind, c.BaseURL)}
	}
	err = read(&movingBody{ReadCloser: resp.Body, watch: watch, limit: streamSilence})
	if err == nil || errors.Is(err, errEnd) {
		return nil
	}
	if out, ok := errors.AsType[*outputError](err); ok {
		return &failure{err: out.error}
	}
	return c.networkFailure(ctx, err)
}

// event is a server-sent event.
type event struct{ name, id, data string }

// readEvents reads the events of a stream, by the rules of
// html.spec.whatwg.org/multipage/server-sent-events.html that the API uses. It
// ignores an incomplete event at the stream's end.
func readEvents(r io.Reader, each func(event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), mostEvent)
	var e event
	given := false
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if given {
				if err := each(e); err != nil {
					return err
				}
			}
			e, given = event{id: e.id}, false
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			if given {
				e.data += "\n"
			}
			e.data, given = e.data+value, true
		}
	}
	return lines.Err()
}
