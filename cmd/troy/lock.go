package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newLock(a *app) *cobra.Command {
	reason := required{missing: "the reason is missing; everyone whose push is held back sees it"}
	cmd := &cobra.Command{
		Use:   "lock P --reason TEXT",
		Short: "Stop pushes from replacing the live deployment",
		Long: `Stop pushes from replacing the live deployment. While a pipeline is locked,
commits are recorded but not built, and deploy, retry and release fail (exit
code 5). Locking cancels deployments of commits that are waiting or building.
Rollback and promote still work. To unlock the pipeline, run: troy unlock.`,
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
	_, err = fmt.Fprintf(a.err, "%s is locked. To unlock it, run: troy unlock %s\n", p.Slug, p.Slug)
	return err
}

func newUnlock(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock P",
		Short: "Unlock a pipeline and deploy the newest commit that waited",
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
	_, err = fmt.Fprintf(a.err, "%s is unlocked. Its status is %s.\n", p.Slug, p.Status)
	return err
}

// refuseLocked returns a Conflict error if a pipeline is locked. The server
// refuses too, but checking first saves the upload.
func refuseLocked(p client.Pipeline) error {
	if p.Lock == nil {
		return nil
	}
	return troy.Errorf(troy.Conflict, "the pipeline %s is locked by %s: %s; to unlock it: troy unlock %s", p.Slug, p.Lock.By, p.Lock.Reason, p.Slug)
}
