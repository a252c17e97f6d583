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

// waiting are the options of commands that wait for a deployment.
type waiting struct {
	no      bool
	timeout duration
	// unpublished: the deployment succeeds without going live.
	unpublished bool
	// preview is the label of the preview that shows the deployment.
	preview string
	// follow shows the build's log.
	follow bool
	// rules shows the problems of the site's rules.
	rules bool
}

func (w *waiting) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.no, "no-wait", false, "return at once and print the deployment's id")
	w.timeout.Duration = 30 * time.Minute
	cmd.Flags().Var(&w.timeout, "timeout", "wait at most this `long`; 0: no limit")
}

// addFollow adds --follow, for commands that build.
func (w *waiting) addFollow(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.follow, "follow", "f", false, "show the build's log on stderr while it runs")
}

func (w *waiting) check() error {
	if w.no && w.follow {
		return troy.Errorf(troy.Invalid, "it can't be combined with --no-wait").At("--follow")
	}
	return nil
}

// needsProvisioning returns what has to be done before anything of the pipeline
// can go live, or "".
func needsProvisioning(p client.Pipeline) string {
	if p.Status.InDeletion() || !p.Status.CanBecome(troy.ProvisionRequest) {
		return ""
	}
	return fmt.Sprintf("the pipeline %s is %s, so nothing goes live until it is provisioned; run: troy pipeline provision %s", p.Slug, p.Status, p.Slug)
}

// await waits until the deployment has ended, and prints the live site's
// address, or the deployment as JSON.
func (a *app) await(ctx context.Context, c *client.Client, pipeline string, d client.Deployment, w waiting) error {
	t := a.newTeller(c, pipeline)
	needs := "" // what does not happen by itself
	if d.State == troy.Waiting {
		p, err := c.Pipeline(ctx, pipeline)
		if err != nil {
			return err
		}
		needs = needsProvisioning(p)
		t.know(p)
	}
	if w.no {
		return a.begun(pipeline, d, needs)
	}
	if needs != "" {
		if a.json {
			if err := a.printJSON(d); err != nil {
				return err
			}
		}
		return troy.Errorf(troy.Conflict, "deployment %d waits: %s", d.Number, needs)
	}
	d, err := a.poll(ctx, c, t, d, w)
	if err != nil {
		return err
	}
	if w.rules && !a.json {
		a.showRules(ctx, c, pipeline, d)
	}
	if a.json {
		if err := a.printJSON(d); err != nil {
			return err
		}
	}
	if d.State != troy.Succeeded {
		a.showEnd(ctx, c, pipeline, d, w.follow)
		return ended(pipeline, d)
	}
	if a.json {
		return nil
	}
	if w.unpublished {
		_, _ = fmt.Fprintf(a.err, "Deployment %d is uploaded but not published. To publish it, run: troy promote %s %d\n", d.Number, clean(pipeline), d.Number)
		_, _ = fmt.Fprintln(a.out, d.ID)
		return nil
	}
	if w.preview != "" {
		return a.showPreview(ctx, c, pipeline, d, w.preview)
	}
	url := d.URL
	if url == "" {
		p, err := c.Pipeline(ctx, pipeline)
		if err != nil {
			return err
		}
		url = p.URL
	}
	of := ""
	if republished(d) {
		of = fmt.Sprintf(" (%s of %s)", d.Kind, numberOf(ctx, c, pipeline, d.SourceDeploymentID))
	}
	if d.Live {
		_, _ = fmt.Fprintf(a.err, "Deployment %d%s is live.\n", d.Number, of)
	} else {
		_, _ = fmt.Fprintf(a.err, "Deployment %d%s succeeded; another one is live now.\n", d.Number, of)
	}
	_, _ = fmt.Fprintln(a.out, clean(url))
	return nil
}

// begun prints a deployment without waiting for it.
func (a *app) begun(pipeline string, d client.Deployment, needs string) error {
	if a.json {
		return a.printJSON(d)
	}
	_, _ = fmt.Fprintf(a.err, "Deployment %d of %s is %s.\n", d.Number, clean(pipeline), d.State)
	if needs != "" {
		_, _ = fmt.Fprintf(a.err, "Note: %s\n", clean(needs))
	}
	_, _ = fmt.Fprintln(a.out, d.ID)
	return nil
}

func (a *app) poll(ctx context.Context, c *client.Client, t *teller, d client.Deployment, w waiting) (client.Deployment, error) {
	if w.timeout.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.timeout.Duration)
		defer cancel()
	}
	defer t.progress.stop()
	pipeline, id, number := t.pipeline, d.ID, d.Number
	t.tell(ctx, d)
	var err error
	if w.follow {
		err = a.followBuild(ctx, c, pipeline, d, t)
	}
	if err == nil {
		d, err = c.Wait(ctx, pipeline, id, func(d client.Deployment) { t.tell(ctx, d) })
	}
	if err == nil {
		return d, nil
	}
	hint := fmt.Sprintf("deployment %d continues (to see it: troy deployment show %s %d; to stop it: troy deployment cancel %s %d)",
		number, clean(pipeline), number, clean(pipeline), number)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &timeoutError{fmt.Sprintf("deployment %d has not ended after %s", number, w.timeout.Duration)}
	}
	return d, &hintError{err, hint}
}

// timeoutError is context.DeadlineExceeded with a message.
type timeoutError struct{ message string }

func (e *timeoutError) Error() string        { return e.message }
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// ended returns an error that says how an unsuccessful deployment ended.
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

// expectation returns the id for --expect-live: "none", or a deployment's.
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
