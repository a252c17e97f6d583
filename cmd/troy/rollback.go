package main

import (
	"context"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

func newRollback(a *app) *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use:   "rollback P [D]",
		Short: "Publish an earlier deployment again",
		Long: `Publish an earlier deployment again: D or, by default, the previous live one.
Nothing is built or uploaded.`,
		Args: arguments(1, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref := ""
			if len(args) > 1 {
				ref = args[1]
			}
			return rollback(cmd.Context(), a, args[0], ref, w)
		},
	}
	w.addFlags(cmd)
	return cmd
}

func rollback(ctx context.Context, a *app, pipeline, ref string, w waiting) error {
	if err := w.check(); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	to := uuid.Nil
	if ref != "" {
		if to, err = deploymentID(ctx, c, pipeline, ref); err != nil {
			return err
		}
	}
	d, err := c.Rollback(ctx, pipeline, to)
	if err != nil {
		return err
	}
	return a.await(ctx, c, pipeline, d, w)
}
