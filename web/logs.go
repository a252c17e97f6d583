package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

const (
	// logPoll is the poll interval of a followed log.
	logPoll = 300 * time.Millisecond
	// heartbeat is the interval of heartbeats in a silent stream. Proxies close
	// streams that are silent for a minute.
	heartbeat = 15 * time.Second
	// tokenLook is the interval at which a stream's token is checked. After the
	// token was revoked or has expired, the stream ends, and its reader is
	// refused when it reconnects.
	tokenLook = 2 * time.Second
	// followTime ends a stream, so that its reader's role and pipelines are
	// checked again when it reconnects for the rest.
	followTime = 30 * time.Minute
	// logQuiet is how long Troy waits for the log of an ended deployment whose
	// build has no recorded end: a worker that stops a build still records it.
	logQuiet = 3 * time.Second
	// mostFollowers is the maximum number of logs that a process streams at a
	// time.
	mostFollowers = 200
	// mostReaders is the maximum number of logs that a process sends at a time to
	// readers that do not follow them. Each can need the memory for decompressing
	// one.
	mostReaders = 64
	// readTime bounds the answer to such a reader, who can ask for the rest.
	readTime = 5 * time.Minute
	// logChunk is the maximum number of log bytes in one event.
	logChunk = 32 << 10
	// writeTime is the maximum time for sending a part of a stream.
	writeTime = 30 * time.Second
)

// deploymentLog answers with a build's current log, or with a stream of events
// while the build runs.
func (s *server) deploymentLog(c *gin.Context, who caller) error {
	d, err := s.loggedDeployment(c, who)
	if err != nil {
		return err
	}
	if !intake.HasBuild(d) {
		return troy.Errorf(troy.NotFound, "deployment %d is a %s, which has no build and no log", d.Number, d.Kind)
	}
	from, err := logPosition(c.Request)
	if err != nil {
		return err
	}
	log := &buildLog{q: s.q, deployment: d.ID, position: from}
	if strings.Contains(c.Request.Header.Get("Accept"), "text/event-stream") {
		return s.followLog(c, who, log)
	}
	return s.plainLog(c, log)
}

// deploymentShowLog is the log for browsers with a session, below the
// deployment's page.
func (s *server) deploymentShowLog(c *gin.Context) error {
	who, err := s.visitor(c.Request, credentials.Viewer)
	if err != nil {
		return err
	}
	return s.deploymentLog(c, who)
}

// loggedDeployment bounds the look-up, since the stream that follows has no
// bound.
func (s *server) loggedDeployment(c *gin.Context, who caller) (queries.Deployment, error) {
	unbound := c.Request
	ctx, cancel := context.WithTimeout(unbound.Context(), quick)
	defer cancel()
	c.Request = unbound.WithContext(ctx)
	d, err := s.deployment(c, who)
	c.Request = unbound
	return d, err
}

// logPosition returns the position from which to read a log: after the last
// event that the reader got, or the query's from, in bytes.
func logPosition(r *http.Request) (int64, error) {
	field, text := "from", r.URL.Query().Get("from")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		field, text = "Last-Event-ID", last
	}
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, troy.Errorf(troy.Invalid, "expected a position in the log, a number of bytes").At(field)
	}
	return n, nil
}

// stream begins an answer that is sent piece by piece.
func stream(c *gin.Context, contentType string) (write func([]byte) error) {
	c.Header("Content-Type", contentType)
	c.Header("X-Accel-Buffering", "no") // nginx would buffer the pieces
	c.Writer.WriteHeader(http.StatusOK)
	c.Writer.WriteHeaderNow()
	control := http.NewResponseController(c.Writer)
	return func(p []byte) error {
		// A writer without deadlines, as in tests, has no connection.
		_ = control.SetWriteDeadline(time.Now().Add(writeTime))
		_, err := c.Writer.Write(p)
		return err
	}
}

// plainLog sends a log once.
func (s *server) plainLog(c *gin.Context, log *buildLog) error {
	select {
	case s.reads <- struct{}{}:
		defer func() { <-s.reads }()
	default:
		return troy.Errorf(troy.Unavailable, "too many logs are being read; try again")
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), readTime)
	defer cancel()
	var write func([]byte) error
	begin := func() func([]byte) error {
		if write == nil {
			write = stream(c, "text/plain; charset=utf-8")
		}
		return write
	}
	_, err := log.copy(ctx, func(p []byte) error { return begin()(p) })
	if err != nil && write == nil {
		return err
	}
	if err != nil {
		s.deps.Log.WarnContext(c.Request.Context(), "a log was sent in part", "request", note(c.Request.Context()).request, "error", err)
		// The answer has begun; aborting it shows the reader that it is
		// incomplete.
		panic(http.ErrAbortHandler)
	}
	begin()
	return nil
}

// broken ends a stream of events; the reader reconnects for the rest.
func broken(c *gin.Context, err error) error {
	if c.Request.Context().Err() == nil { // the reader is still connected
		note(c.Request.Context()).err = err
	}
	return nil
}

// followLog sends a build's log as server-sent events
// (html.spec.whatwg.org/multipage/server-sent-events.html). The data of each is
// text as a JSON string, since a carriage return would end a line of the event;
// its id is the position in the log after it. The last event is "end" with the
// deployment's state.
func (s *server) followLog(c *gin.Context, who caller, log *buildLog) error {
	select {
	case s.follows <- struct{}{}:
		defer func() { <-s.follows }()
	default:
		return troy.Errorf(troy.Unavailable, "too many logs are being followed; try again, or read it without following")
	}
	ctx := c.Request.Context()
	e := &events{write: stream(c, "text/event-stream; charset=utf-8"), flush: c.Writer.Flush, sent: log.position}
	// Otherwise readers reconnect only after three seconds.
	if err := e.send("retry: 1000\n\n"); err != nil {
		return broken(c, err)
	}
	tick := time.NewTicker(logPoll)
	defer tick.Stop()
	start, moved, alive, looked := time.Now(), time.Now(), time.Now(), time.Now()
	for time.Since(start) < followTime {
		if time.Since(looked) >= tokenLook {
			if stands, err := s.stands(c.Request, who); err != nil || !stands {
				return broken(c, err)
			}
			looked = time.Now()
		}
		before := log.position
		state, err := log.copy(ctx, e.text)
		if err != nil {
			return broken(c, err)
		}
		now := time.Now()
		if log.position > before {
			moved, alive = now, now
		}
		if logEnded(state, now.Sub(moved)) {
			if err := e.end(state.State); err != nil {
				return broken(c, err)
			}
			return nil
		}
		if now.Sub(alive) >= heartbeat {
			alive = now
			if err := e.send(": still running\n\n"); err != nil {
				return broken(c, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.deps.Stopping:
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// stands reports whether a stream's reader still has access: the token is valid
// and, for a browser, its session too.
func (s *server) stands(r *http.Request, who caller) (bool, error) {
	if r.Header.Get("Authorization") == "" {
		_, err := s.sessions.Find(r)
		if troy.KindOf(err) == troy.Unauthenticated {
			return false, nil
		}
		return err == nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), quick)
	defer cancel()
	stands, err := s.q.TokenStands(ctx, who.ID)
	if err != nil {
		return false, fmt.Errorf("check the token: %w", err)
	}
	return stands, nil
}

// logEnded reports whether nothing can follow what was read. quiet is the time
// since the last text.
func logEnded(state queries.BuildLogStateRow, quiet time.Duration) bool {
	switch {
	case state.Finished && state.Whole:
		return true
	case !state.State.Ended():
		return false
	}
	return !state.Started || quiet >= logQuiet
}

// events writes server-sent events.
type events struct {
	write func([]byte) error
	flush func()
	sent  int64  // position in the log after the last event
	held  []byte // an incomplete character at the end
}

func (e *events) send(text string) error {
	err := e.write([]byte(text))
	if err == nil {
		e.flush()
	}
	return err
}

// text sends more of the log, in whole characters.
func (e *events) text(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), logChunk)
		chunk := append(e.held, p[:n]...)
		p = p[n:]
		whole := len(chunk) - partial(chunk)
		if whole > 0 {
			if err := e.chunk(chunk[:whole]); err != nil {
				return err
			}
		}
		e.held = append([]byte(nil), chunk[whole:]...)
	}
	return nil
}

func (e *events) chunk(chunk []byte) error {
	// Bytes that are not UTF-8 become U+FFFD, which JSON can carry.
	text, err := json.Marshal(string(chunk))
	if err != nil {
		return err
	}
	e.sent += int64(len(chunk))
	return e.send(fmt.Sprintf("id: %d\ndata: %s\n\n", e.sent, text))
}

func (e *events) end(state troy.DeploymentState) error {
	if len(e.held) > 0 {
		if err := e.chunk(e.held); err != nil {
			return err
		}
	}
	return e.send(fmt.Sprintf("event: end\nid: %d\ndata: %s\n\n", e.sent, string(state)))
}

// partial returns the number of bytes at the end of p that begin an incomplete
// UTF-8 character.
func partial(p []byte) int {
	for n := 1; n <= min(len(p), utf8.UTFMax-1); n++ {
		if b := p[len(p)-n]; utf8.RuneStart(b) {
			if b >= utf8.RuneSelf && !utf8.FullRune(p[len(p)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
