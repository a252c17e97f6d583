package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newQueueRing(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ring P [KIND]",
		Short: "Make a pipeline's waiting work due now",
		Long: `Make the waiting work of P due now, all of it or that of KIND, such as
deployment:build. Work that a worker runs is left alone.`,
		Args: arguments(1, "a pipeline", "a kind"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return hurryWork(cmd.Context(), a, args, false)
		},
	}
}

func newQueueRetry(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "retry P [KIND]",
		Short: "Try a pipeline's failing work now, with all of its attempts",
		Args:  arguments(1, "a pipeline", "a kind"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return hurryWork(cmd.Context(), a, args, true)
		},
	}
}

// hurryWork rings the waiting work of a pipeline, or retries its failing work.
func hurryWork(ctx context.Context, a *app, args []string, failing bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	f := client.WorkFilter{Pipeline: args[0], Kind: first(args[1:])}
	if failing {
		f.State = "failing"
	}
	list, err := take(c.Queue(ctx, f), maxQueue)
	if err != nil {
		return err
	}
	rung := 0
	for _, w := range list {
		if w.State == "running" {
			continue
		}
		result, err := c.RingWork(ctx, w, failing)
		if kind := troy.KindOf(err); kind == troy.NotFound || kind == troy.Conflict {
			continue // a worker was faster
		}
		if err != nil {
			return err
		}
		rung++
		_, _ = fmt.Fprintf(a.err, "%s: %s.\n", clean(w.Kind), clean(result))
	}
	if rung == 0 {
		return troy.Errorf(troy.Conflict, "%s has no such work that waits; troy queue %s shows what it has", args[0], args[0])
	}
	return nil
}

// newQueueCancel returns another name of `deployment cancel`.
func newQueueCancel(a *app) *cobra.Command {
	cmd := newDeploymentCancel(a)
	cmd.Short = "Cancel a deployment, and its build"
	return cmd
}

func newQueuePause(a *app) *cobra.Command {
	reason := required{missing: "the reason is missing; everyone who waits sees it"}
	cmd := &cobra.Command{
		Use:   "pause QUEUE --reason TEXT",
		Short: "Stop workers from beginning work of a queue",
		Long: `Stop workers from beginning work of a queue: builds, domains (checks of custom
domains), forge (calls of forges), previews (builds of previews), thumbnails
(pictures of sites) or quick (all else). What runs continues, and nothing is
lost. The pause outlives Redis. To end it, run: troy queue resume QUEUE.`,
		Args: arguments(1, "a queue"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return queuePause(cmd.Context(), a, args[0], reason.text)
		},
	}
	cmd.Flags().Var(&reason, "reason", "a `text` that says why (required)")
	return cmd
}

func queuePause(ctx context.Context, a *app, queue, reason string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	q, err := c.PauseQueue(ctx, queue, reason)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(q)
	}
	_, err = fmt.Fprintf(a.err, "The queue %s is paused. To resume it, run: troy queue resume %s\n", q.Name, q.Name)
	return err
}

func newQueueResume(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume QUEUE",
		Short: "Let workers begin work of a queue again",
		Args:  arguments(1, "a queue"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return queueResume(cmd.Context(), a, args[0])
		},
	}
}

func queueResume(ctx context.Context, a *app, queue string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	q, err := c.ResumeQueue(ctx, queue)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(q)
	}
	_, err = fmt.Fprintf(a.err, "The queue %s runs.\n", q.Name)
	return err
}

// tellPauses says which queues are paused, by whom and why.
func (a *app) tellPauses(ctx context.Context, c *client.Client) error {
	queues, err := c.Queues(ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		switch {
		case q.Pause != nil:
			_, _ = fmt.Fprintf(a.err, "The queue %s is paused by %s: %s. To resume it, run: troy queue resume %s\n", q.Name, clean(q.Pause.By), clean(q.Pause.Reason), q.Name)
		case q.PausedInRedis:
			_, _ = fmt.Fprintf(a.err, "The queue %s is paused in Asynqmon. To resume it, run: troy queue resume %s\n", q.Name, q.Name)
		}
	}
	return nil
}
