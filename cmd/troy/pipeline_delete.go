package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
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

// restorable reports whether the deletion of a pipeline can be undone.
func restorable(p client.Pipeline) bool {
	return p.Deletion != nil && p.Deletion.DueAt != nil
}

// refuseDeleting returns a Conflict error if a pipeline is being deleted. The
// server refuses too, but checking first saves reading the folder.
func refuseDeleting(p client.Pipeline) error {
	if !p.Status.InDeletion() {
		return nil
	}
	undo := ""
	if restorable(p) {
		undo = "; to undo the deletion: troy restore " + p.Slug
	}
	return troy.Errorf(troy.Conflict, "the pipeline %s is %s, which does not allow releases%s", p.Slug, p.Status, undo)
}

// deletion says when the deletion of a pipeline begins and who requested it.
func (a *app) deletion(p client.Pipeline, now time.Time) string {
	d := p.Deletion
	switch {
	case d == nil:
		return ""
	case d.DueAt == nil:
		return "requested by " + d.By
	}
	return fmt.Sprintf("%s, requested by %s", a.out.until(*d.DueAt, now), d.By)
}
