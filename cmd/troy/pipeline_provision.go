package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newPipelineProvision(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "provision P",
		Short: "Request provisioning, or retry it after a failure",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pipelineProvision(cmd.Context(), a, args[0])
		},
	}
}

func pipelineProvision(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.ProvisionPipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	return a.printPipeline(ctx, c, p)
}
