package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

const (
	// tailLines and tailBytes limit the part of a failed build's log that is
	// shown.
	tailLines = 20
	tailBytes = 16 << 10
	// askPlace is the interval of requests for the place in the queue.
	askPlace = 2 * time.Second
)

// teller prints the progress of a deployment on stderr.
type teller struct {
	client   *client.Client
	pipeline string
	progress *progress

	said   string
	phases int // number of ended phases that were printed
	place  int64
	asked  time.Time
}

func (a *app) newTeller(c *client.Client, pipeline string) *teller {
	return &teller{client: c, pipeline: pipeline, progress: a.newProgress()}
}

// tell prints the changes since the last call.
func (t *teller) tell(ctx context.Context, d client.Deployment) {
	var phases []client.Phase
	if d.Build != nil {
		phases = d.Build.Phases
	}
	running := ""
	for i, p := range phases {
		switch {
		case p.Ended.IsZero():
			running = ": " + phaseName(p)
			if p.Command != "" {
				running += ", " + p.Command
			}
		case i >= t.phases:
			t.phases = i + 1
			t.progress.keep("  " + clean(phaseTook(p)))
		}
	}
	if d.State.Ended() {
		return
	}
	text := fmt.Sprintf("Deployment %d of %s: %s%s", d.Number, t.pipeline, d.State, running)
	if d.State == troy.Waiting {
		text += t.queued(ctx)
	}
	if text != t.said {
		t.said = text
		t.progress.say(clean(text))
	}
}

// queued returns the pipeline's place in the queue for a sentence.
func (t *teller) queued(ctx context.Context) string {
	if time.Since(t.asked) >= askPlace {
		t.asked = time.Now()
		if p, err := t.client.Pipeline(ctx, t.pipeline); err == nil {
			t.know(p)
		}
	}
	if t.place == 0 {
		return ""
	}
	return fmt.Sprintf(", place %d in the queue", t.place)
}

// know takes the place from the pipeline, which was just requested.
func (t *teller) know(p client.Pipeline) {
	t.asked, t.place = time.Now(), 0
	if p.QueuePosition != nil {
		t.place = *p.QueuePosition
	}
}

func phaseName(p client.Phase) string { return strings.ReplaceAll(p.Phase, "_", " ") }

// phaseTook returns a phase's duration and outcome.
func phaseTook(p client.Phase) string {
	text := fmt.Sprintf("%s: %s", phaseName(p), p.Ended.Sub(p.Started).Round(100*time.Millisecond))
	if p.ExitCode != nil && *p.ExitCode != 0 {
		text += fmt.Sprintf(", exit code %d", *p.ExitCode)
	}
	return text
}

// errBegun ends the wait for the beginning of a build.
var errBegun = errors.New("the build has begun")

// untilBegun waits until the deployment has begun, and prints its place in the
// queue.
func untilBegun(ctx context.Context, c *client.Client, d client.Deployment, t *teller) error {
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	_, err := c.Wait(waiting, t.pipeline, d.ID, func(d client.Deployment) {
		t.tell(ctx, d)
		if d.State != troy.Waiting {
			stop(errBegun)
		}
	})
	if errors.Is(err, errBegun) {
		return nil
	}
	return err
}

// followBuild shows the build's log on stderr until the build has ended.
func (a *app) followBuild(ctx context.Context, c *client.Client, pipeline string, d client.Deployment, t *teller) error {
	if err := untilBegun(ctx, c, d, t); err != nil {
		return err
	}
	t.progress.stop()
	out := &tamer{w: a.err, colour: a.err.colour}
	_, err := c.FollowLog(ctx, pipeline, d.ID, out)
	out.end()
	if troy.KindOf(err) == troy.NotFound {
		return nil // it ended before anything was built
	}
	return err
}

// showEnd shows the last lines of a failed build's log, and the command that
// shows the rest.
func (a *app) showEnd(ctx context.Context, c *client.Client, pipeline string, d client.Deployment, followed bool) {
	if d.State != troy.Failed || d.Build == nil || d.Build.LogBytes == 0 {
		return
	}
	more := fmt.Sprintf("For the whole log, run: troy logs %s %d", clean(pipeline), d.Number)
	if followed {
		_, _ = fmt.Fprintln(a.err, more)
		return
	}
	var log bytes.Buffer
	from := max(0, d.Build.LogBytes-tailBytes)
	if err := c.Log(ctx, pipeline, d.ID, from, &log); err != nil {
		_, _ = fmt.Fprintln(a.err, more)
		return
	}
	text, whole := lastLines(log.String(), tailLines)
	whole = whole && from == 0
	if !whole {
		_, _ = fmt.Fprintln(a.err, "The last lines of its log:")
	} else {
		_, _ = fmt.Fprintln(a.err, "Its log:")
	}
	out := &tamer{w: a.err, colour: a.err.colour}
	_, _ = io.WriteString(out, text)
	out.end()
	if !whole {
		_, _ = fmt.Fprintln(a.err, more)
	}
}

// lastLines returns the last n lines, and whether they are the whole text.
func lastLines(text string, n int) (string, bool) {
	lines := strings.SplitAfter(strings.TrimRight(text, "\n"), "\n")
	if len(lines) <= n {
		return text, true
	}
	return strings.Join(lines[len(lines)-n:], ""), false
}
