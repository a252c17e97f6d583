package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newPipelineDelete(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete P",
		Short: "Schedule the deletion of a pipeline, its site and its files",
		Long: `Schedule the deletion of a pipeline, its site and its files. From Failed to
Delete, retry. On a terminal you confirm by typing the slug; elsewhere --yes is
required.`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pipelineDelete(cmd.Context(), a, args[0], yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func pipelineDelete(ctx context.Context, a *app, pipeline string, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if !yes {
		p, err := c.Pipeline(ctx, pipeline)
		if err != nil {
			return err
		}
		warning := fmt.Sprintf("This deletes %s and all of its files.", clean(p.URL))
		if err := a.sure(ctx, warning, p.Slug); err != nil {
			return err
		}
	}
	p, err := c.DeletePipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	return a.printPipeline(ctx, c, p)
}
