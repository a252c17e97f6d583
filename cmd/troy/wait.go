package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// waiting is how release, rollback and promote end.
type waiting struct {
	no      bool
	timeout time.Duration
	// unpublished: success is not being live, but being there.
	unpublished bool
}

func (w *waiting) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.no, "no-wait", false, "return at once and print the deployment's id")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 30*time.Minute, "wait at most so `long`, 0 for ever")
}

func (w *waiting) check() error {
	if w.timeout < 0 {
		return troy.Errorf(troy.Invalid, "%s is below 0", w.timeout).At("--timeout")
	}
	return nil
}

// await waits until the deployment has ended, and prints the address of what
// is live, or the deployment as JSON.
func (a *app) await(ctx context.Context, c *client.Client, pipeline string, d client.Deployment, w waiting) error {
	if w.no {
		if a.json {
			return a.printJSON(d)
		}
		_, _ = fmt.Fprintf(a.err, "Deployment %d of %s is %s.\n", d.Number, clean(pipeline), d.State)
		_, _ = fmt.Fprintln(a.out, d.ID)
		return nil
	}
	d, err := a.poll(ctx, c, pipeline, d, w.timeout)
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(d); err != nil {
			return err
		}
	}
	if d.State != troy.Succeeded {
		return ended(pipeline, d)
	}
	if a.json {
		return nil
	}
	if w.unpublished {
		_, _ = fmt.Fprintf(a.err, "Deployment %d is uploaded, not published. To publish it: troy promote %s %d\n", d.Number, clean(pipeline), d.Number)
		_, _ = fmt.Fprintln(a.out, d.ID)
		return nil
	}
	url := d.URL
	if url == "" {
		p, err := c.Pipeline(ctx, pipeline)
		if err != nil {
			return err
		}
		url = p.URL
	}
	if d.Live {
		_, _ = fmt.Fprintf(a.err, "Deployment %d is live.\n", d.Number)
	} else {
		_, _ = fmt.Fprintf(a.err, "Deployment %d succeeded; another one is live by now.\n", d.Number)
	}
	_, _ = fmt.Fprintln(a.out, clean(url))
	return nil
}

func (a *app) poll(ctx context.Context, c *client.Client, pipeline string, d client.Deployment, timeout time.Duration) (client.Deployment, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	p := a.newProgress()
	defer p.stop()
	number, state := d.Number, troy.DeploymentState("")
	say := func(d client.Deployment) {
		if d.State != state && !d.State.Ended() {
			state = d.State
			p.say(fmt.Sprintf("Deployment %d of %s: %s", d.Number, clean(pipeline), d.State))
		}
	}
	say(d)
	d, err := c.Wait(ctx, pipeline, d.ID, say)
	if err == nil {
		return d, nil
	}
	hint := fmt.Sprintf("deployment %d goes on (to see: troy deployment show %s %d; to stop it: troy deployment cancel %s %d)",
		number, clean(pipeline), number, clean(pipeline), number)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("deployment %d has not ended after %s: %w", number, timeout, context.DeadlineExceeded)
	}
	return d, &hintError{err, hint}
}

// ended says in one sentence how a deployment that did not succeed ended.
func ended(pipeline string, d client.Deployment) error {
	message := fmt.Sprintf("deployment %d of %s ", d.Number, pipeline)
	switch d.State {
	case troy.Cancelled:
		message += "was cancelled"
	case troy.Superseded:
		message += "was superseded by a newer one"
	default:
		message += "failed"
	}
	if d.Cause != "" {
		message += ": " + d.Cause
	}
	return &failedError{message}
}

// expectation reads --expect-live: "none", or a deployment.
func expectation(ctx context.Context, c *client.Client, pipeline, ref string) (string, error) {
	if ref == "" || ref == "none" {
		return ref, nil
	}
	id, err := deploymentID(ctx, c, pipeline, ref)
	if id == uuid.Nil {
		return "", err
	}
	return id.String(), err
}
