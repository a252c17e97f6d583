package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newRestore(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore P",
		Short: "Undo the deletion of a pipeline before it begins",
		Long: `Undo the deletion of a pipeline before it begins. The pipeline returns to the
status that it had. Deployments that the deletion cancelled are requested again,
and commits that were pushed meanwhile are built.`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return restore(cmd.Context(), a, args[0])
		},
	}
}

func restore(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.RestorePipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	_, err = fmt.Fprintf(a.err, "%s is restored. Its status is %s.\n", p.Slug, p.Status)
	return err
}
