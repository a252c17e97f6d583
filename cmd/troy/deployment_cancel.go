package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newDeploymentCancel(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel P D",
		Short: "Cancel a deployment that has not gone live",
		Args:  arguments(2, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deploymentCancel(cmd.Context(), a, args[0], args[1])
		},
	}
}

// newCancel returns a short form of `deployment cancel`.
func newCancel(a *app) *cobra.Command { return newDeploymentCancel(a) }

func deploymentCancel(ctx context.Context, a *app, pipeline, ref string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	id, err := deploymentID(ctx, c, pipeline, ref)
	if err != nil {
		return err
	}
	d, err := c.CancelDeployment(ctx, pipeline, id)
	if err != nil {
		return err
	}
	return a.printDeployment(ctx, c, pipeline, d)
}
