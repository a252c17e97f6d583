package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newRetry(a *app) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "retry P D",
		Short: "Repeat an ended deployment",
		Long: `Repeat an ended deployment as a new one: build and deploy the same commit or,
for a release, deploy the same files.`,
		Args: arguments(2, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return retry(cmd.Context(), a, args[0], args[1], w)
		},
	}
	w.addFollow(cmd)
	w.addFlags(cmd)
	return cmd
}

func retry(ctx context.Context, a *app, pipeline, ref string, w waiting) error {
	if err := w.check(); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	id, err := deploymentID(ctx, c, pipeline, ref)
	if err != nil {
		return err
	}
	d, err := c.RetryDeployment(ctx, pipeline, id)
	if err != nil {
		return err
	}
	w.follow = w.follow && d.Kind == troy.Automated
	return a.await(ctx, c, pipeline, d, w)
}
