package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

func newPipelineDelete(a *app) *cobra.Command {
	var yes, now bool
	cmd := &cobra.Command{
		Use:   "delete P",
		Short: "Schedule the deletion of a pipeline, its site and its files",
		Long: `Schedule the deletion of a pipeline, its site and its files. It begins after
the server's grace period, 10 minutes by default. Until then the site stays up,
and troy restore undoes the deletion. With --now, it begins at once. From Failed
to Delete, retry. On a terminal you confirm by typing the slug; elsewhere --yes
is required.`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pipelineDelete(cmd.Context(), a, args[0], yes, now)
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "begin at once; this can't be undone")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func pipelineDelete(ctx context.Context, a *app, pipeline string, yes, now bool) error {
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
		if now {
			warning = fmt.Sprintf("This deletes %s and all of its files at once and can't be undone.", clean(p.URL))
		}
		if err := a.sure(ctx, warning, p.Slug); err != nil {
			return err
		}
	}
	p, err := c.DeletePipeline(ctx, pipeline, now)
	if err != nil {
		return err
	}
	return a.printPipeline(ctx, c, p)
}

// deletes says when the deletion of a pipeline begins, who requested it, and
// how to undo it.
func (a *app) deletes(p client.Pipeline, now time.Time) string {
	d := p.Deletion
	switch {
	case d == nil:
		return ""
	case d.DueAt == nil:
		return "requested by " + d.By
	}
	return fmt.Sprintf("%s, requested by %s; to undo it: troy restore %s", a.out.until(*d.DueAt, now), d.By, p.Slug)
}
