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
		Short: "Show a build's log",
		Long: `Show the log of a build: of deployment D or, by default, of the newest one with
a build. With --follow, new lines are shown until the build has ended; while it
waits, its place in the queue is shown. A broken connection is restored.

Builds may print any control sequence. On a terminal only colours are kept;
--raw keeps all sequences. Output to a file or a pipe is never changed.`,
		Args: arguments(1, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := ""
			if len(args) > 1 {
				ref = args[1]
			}
			return logs(cmd.Context(), a, args[0], ref, follow, raw)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show new lines until the build has ended")
	cmd.Flags().BoolVar(&raw, "raw", false, "keep all control sequences, on a terminal too")
	return cmd
}

func logs(ctx context.Context, a *app, pipeline, ref string, follow, raw bool) error {
	if a.json {
		return troy.Errorf(troy.Invalid, "not supported, because logs are text").At("--json")
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

// waitForBuild waits until the build has begun, and reports its place in the
// queue.
func (a *app) waitForBuild(ctx context.Context, c *client.Client, pipeline string, id uuid.UUID) error {
	d, err := c.Deployment(ctx, pipeline, id)
	if err != nil || d.Kind != troy.Automated && d.Kind != troy.Preview || d.State != troy.Waiting {
		return err
	}
	t := a.newTeller(c, pipeline)
	defer t.progress.stop()
	t.tell(ctx, d)
	return untilBegun(ctx, c, d, t)
}

// countingWriter counts the bytes written.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// explainSilence prints on stderr why a log is empty.
func (a *app) explainSilence(ctx context.Context, c *client.Client, pipeline string, id uuid.UUID) error {
	d, err := c.Deployment(ctx, pipeline, id)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("The build of deployment %d of %s has printed nothing", d.Number, pipeline)
	switch {
	case d.State == troy.Waiting:
		t := a.newTeller(c, pipeline)
		text = fmt.Sprintf("The build of deployment %d of %s has not started%s", d.Number, pipeline, t.queued(ctx))
	case !d.State.Ended():
		text += " yet"
		if d.Build != nil && len(d.Build.Phases) > 0 {
			text += "; it is in the phase " + phaseName(d.Build.Phases[len(d.Build.Phases)-1])
		}
	}
	_, _ = fmt.Fprintln(a.err, clean(text)+".")
	return nil
}

// howItStands describes in a sentence the state of a deployment whose build has
// ended.
func howItStands(pipeline string, d client.Deployment) string {
	switch {
	case !d.State.Ended():
		return fmt.Sprintf("The build of deployment %d of %s has ended; the deployment is %s.", d.Number, pipeline, d.State)
	case d.State == troy.Succeeded:
		return fmt.Sprintf("Deployment %d of %s succeeded.", d.Number, pipeline)
	}
	return "The " + ended(pipeline, d).Error() + "."
}

// loggedDeployment returns the id of the deployment ref or, if ref is empty, of
// the newest one with a build.
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
	return uuid.Nil, troy.Errorf(troy.NotFound, "pipeline %s has no builds, so there is no log", pipeline)
}
