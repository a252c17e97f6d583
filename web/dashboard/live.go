package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// mostStreams is how many pages a process keeps up to date at a time.
	mostStreams = 200
	// mostStreamsOfOne is how many of them one token may have.
	mostStreamsOfOne = 40
	// livePoll is how often a page that is open is looked at.
	livePoll = time.Second
	// heartbeat is how often a silent stream shows that it is alive.
	heartbeat = 15 * time.Second
	// streamTime ends a stream, whose reader comes back.
	streamTime = 30 * time.Minute
	// writeTime is how long a part of a stream may take to be sent.
	writeTime = 30 * time.Second
)

// part makes what of a page moves, and names its digest. A reader that says
// which one it has seen is sent nothing until another one is made, so that it
// catches up after a broken connection.
type part func(*visit) ([]byte, error)

// digest names what was made.
func digest(made []byte) string {
	sum := sha256.Sum256(made)
	return hex.EncodeToString(sum[:8])
}

// live makes a handler that sends a part of a page as server-sent events
// (html.spec.whatwg.org/multipage/server-sent-events.html) whenever it differs
// from what the reader has. "reload" asks for the page anew: the reader is no
// longer signed in, or what the page shows is gone.
func (d *Dashboard) live(p part) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d.deps.Note(r.Context(), Note{Route: route(r)})
		v := &visit{w: w, r: r}
		if !credentials.Streams(r) {
			d.fail(v, troy.Errorf(troy.Invalid, "this address is a stream of events, which the page itself reads"))
			return
		}
		if err := d.welcome(v); err != nil {
			if signedOut(r, err) {
				// The page asks for itself, and so is sent to sign in.
				w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
				if err := newSender(w).send(reload); err != nil {
					d.deps.Note(r.Context(), Note{Err: err})
				}
				return
			}
			d.fail(v, err)
			return
		}
		end, ok := d.streams.Take(v.who.ID)
		if !ok {
			reply.Error(w, troy.Errorf(troy.Unavailable, "too many pages are kept up to date at the moment"))
			return
		}
		defer end()
		if err := d.follow(v, p); err != nil && r.Context().Err() == nil { // the reader is still there
			d.deps.Note(r.Context(), Note{Err: err})
		}
	}
}

func (d *Dashboard) follow(v *visit, p part) error {
	seen := v.r.Header.Get("Last-Event-ID")
	if seen == "" {
		seen = v.r.URL.Query().Get("seen")
	}
	v.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	v.w.Header().Set("X-Accel-Buffering", "no") // nginx would hold the events back
	v.w.WriteHeader(http.StatusOK)
	s := newSender(v.w)
	if err := s.send("retry: 1000\n\n"); err != nil {
		return err
	}
	tick := time.NewTicker(livePoll)
	defer tick.Stop()
	start, alive := time.Now(), time.Now()
	for time.Since(start) < streamTime {
		made, err := d.look(v, p)
		switch kind := troy.KindOf(err); {
		case err != nil && (kind == troy.Unauthenticated || kind == troy.Forbidden || kind == troy.NotFound):
			return s.send(reload)
		case err != nil:
			return err // the reader comes back
		}
		if id := digest(made); id != seen {
			if err := s.event(id, made); err != nil {
				return err
			}
			seen, alive = id, time.Now()
		}
		if time.Since(alive) >= heartbeat {
			if err := s.send(": nothing new\n\n"); err != nil {
				return err
			}
			alive = time.Now()
		}
		select {
		case <-v.ctx().Done():
			return nil
		case <-d.deps.Stopping:
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// look makes the part for a reader who may still see it.
func (d *Dashboard) look(v *visit, p part) ([]byte, error) {
	ctx, cancel := context.WithTimeout(v.ctx(), most)
	defer cancel()
	now := &visit{w: v.w, r: v.r.WithContext(ctx)}
	if err := d.welcome(now); err != nil {
		return nil, err
	}
	return p(now)
}

type sender struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// reload is the event that makes a page ask for itself anew.
const reload = "event: reload\ndata: \n\n"

func newSender(w http.ResponseWriter) *sender {
	return &sender{w: w, control: http.NewResponseController(w)}
}

func (s *sender) send(text string) error {
	// A writer without deadlines, as in tests, has no connection to hold.
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTime))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.control.Flush()
}

// event sends a part. A line of it is a line of the event.
func (s *sender) event(id string, made []byte) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "event: live\nid: %s\n", id)
	made = bytes.ReplaceAll(made, []byte("\r"), nil)
	for line := range bytes.SplitSeq(bytes.TrimRight(made, "\n"), []byte("\n")) {
		text.WriteString("data: ")
		text.Write(line)
		text.WriteByte('\n')
	}
	text.WriteByte('\n')
	return s.send(text.String())
}
