package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newLock(a *app) *cobra.Command {
	reason := required{missing: "the reason is missing; it is shown to everyone whose push is held back"}
	cmd := &cobra.Command{
		Use:   "lock P --reason TEXT",
		Short: "Keep what is live from being replaced by pushes",
		Long: `Keep what is live from being replaced by pushes. While a pipeline is locked,
commits are recorded but not built, deployments of commits that wait or are
being built are cancelled, and deploy, retry and release are refused (exit code
5). Rollback and promote still work. To end the lock: troy unlock.`,
		Example: `  troy rollback blog
  troy lock blog --reason "checkout is broken since deployment 41"`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lock(cmd.Context(), a, args[0], reason.text)
		},
	}
	cmd.Flags().Var(&reason, "reason", "a `text` that says why (required)")
	return cmd
}

func lock(ctx context.Context, a *app, pipeline, reason string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.LockPipeline(ctx, pipeline, reason)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	_, err = fmt.Fprintf(a.err, "%s is locked. To unlock it: troy unlock %s\n", p.Slug, p.Slug)
	return err
}

func newUnlock(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock P",
		Short: "End a lock, and deploy the newest commit that it held back",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return unlock(cmd.Context(), a, args[0])
		},
	}
}

func unlock(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.UnlockPipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	_, err = fmt.Fprintf(a.err, "%s is unlocked. It is %s.\n", p.Slug, p.Status)
	return err
}

// refuseLocked returns a Conflict if a pipeline is locked. The server refuses
// as well; asking first saves the upload.
func refuseLocked(p client.Pipeline) error {
	if p.Lock == nil {
		return nil
	}
	return troy.Errorf(troy.Conflict, "the pipeline %s is locked by %s: %s; to unlock it: troy unlock %s", p.Slug, p.Lock.By, p.Lock.Reason, p.Slug)
}
