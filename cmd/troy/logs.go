package main

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newLogs(a *app) *cobra.Command {
	var follow, raw bool
	cmd := &cobra.Command{
		Use:   "logs P [D]",
		Short: "Show what a build printed",
		Long: `Show what a build printed: that of D or, without it, of the newest deployment
that is built. With --follow it is shown as it comes, until the build has
ended; while the build waits, its place in the queue is told. A connection that
breaks is made again.

Builds are other people's programs. On a terminal, of their control sequences
only colours are kept; --raw keeps all of them. What goes to a file or a pipe
is never changed.`,
		Args: arguments(1, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := ""
			if len(args) > 1 {
				ref = args[1]
			}
			return logs(cmd.Context(), a, args[0], ref, follow, raw)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show it as it comes, until the build has ended")
	cmd.Flags().BoolVar(&raw, "raw", false, "keep all control sequences on a terminal")
	return cmd
}

func logs(ctx context.Context, a *app, pipeline, ref string, follow, raw bool) error {
	if a.json {
		return troy.Errorf(troy.Invalid, "a log is text, not JSON").At("--json")
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	id, err := loggedDeployment(ctx, c, pipeline, ref)
	if err != nil {
		return err
	}
	var out io.Writer = a.out
	if a.out.terminal && !raw {
		tame := &tamer{w: a.out, colour: a.out.colour}
		defer tame.end()
		out = tame
	}
	counted := &countingWriter{w: out}
	if !follow {
		if err := c.Log(ctx, pipeline, id, 0, counted); err != nil || counted.n > 0 {
			return err
		}
		return a.explainSilence(ctx, c, pipeline, id)
	}
	if err := a.waitForBuild(ctx, c, pipeline, id); err != nil {
		return err
	}
	if _, err := c.FollowLog(ctx, pipeline, id, out); err != nil {
		return err
	}
	if tame, ok := out.(*tamer); ok {
		tame.end()
	}
	d, err := c.Deployment(ctx, pipeline, id)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(a.err, clean(howItStands(pipeline, d)))
	return nil
}

// waitForBuild returns when the build has begun, and tells that it waits.
func (a *app) waitForBuild(ctx context.Context, c *client.Client, pipeline string, id uuid.UUID) error {
	d, err := c.Deployment(ctx, pipeline, id)
	if err != nil || d.Kind != troy.Automated || d.State != troy.Waiting {
		return err
	}
	t := a.newTeller(c, pipeline)
	defer t.progress.stop()
	t.tell(ctx, d)
	return untilBegun(ctx, c, d, t)
}

// countingWriter counts what is written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// explainSilence says on stderr why a log is empty.
func (a *app) explainSilence(ctx context.Context, c *client.Client, pipeline string, id uuid.UUID) error {
	d, err := c.Deployment(ctx, pipeline, id)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("The build of deployment %d of %s has printed nothing", d.Number, pipeline)
	switch {
	case d.State == troy.Waiting:
		t := a.newTeller(c, pipeline)
		text = fmt.Sprintf("Deployment %d of %s waits for its build%s", d.Number, pipeline, t.queued(ctx))
	case !d.State.Ended():
		text += " yet"
		if d.Build != nil && len(d.Build.Phases) > 0 {
			text += "; its phase is " + phaseName(d.Build.Phases[len(d.Build.Phases)-1])
		}
	}
	_, _ = fmt.Fprintln(a.err, clean(text)+".")
	return nil
}

// howItStands says in a sentence what became of a deployment whose build has
// ended.
func howItStands(pipeline string, d client.Deployment) string {
	switch {
	case !d.State.Ended():
		return fmt.Sprintf("The build of deployment %d of %s has ended; it is %s.", d.Number, pipeline, d.State)
	case d.State == troy.Succeeded:
		return fmt.Sprintf("Deployment %d of %s succeeded.", d.Number, pipeline)
	}
	return "The " + ended(pipeline, d).Error() + "."
}

// loggedDeployment is the deployment that is meant, the newest that is built
// if none is named.
func loggedDeployment(ctx context.Context, c *client.Client, pipeline, ref string) (uuid.UUID, error) {
	if ref != "" {
		return deploymentID(ctx, c, pipeline, ref)
	}
	for d, err := range c.Deployments(ctx, pipeline) {
		if err != nil {
			return uuid.Nil, err
		}
		if d.Kind == troy.Automated {
			return d.ID, nil
		}
	}
	return uuid.Nil, troy.Errorf(troy.NotFound, "no deployment of pipeline %s was built, so there is no log", pipeline)
}
