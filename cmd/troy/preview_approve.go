package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newPreviewApprove(a *app) *cobra.Command {
	commit := ""
	cmd := &cobra.Command{
		Use:   "approve P LABEL",
		Short: "Build the newest commit of a stranger",
		Long: `Build the newest commit of a pull request whose author may not push to the
repository, or that is in a fork. Read the changes first. The build gets no variables. A new commit
needs another approval.`,
		Example: "  troy preview approve blog pr-12 --commit 4f2a9c1d…",
		Args:    arguments(2, "a pipeline", "a preview"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return previewApprove(cmd.Context(), a, args[0], args[1], commit)
		},
	}
	cmd.Flags().StringVar(&commit, "commit", "", "the full id of the commit that you have read (default: the newest)")
	return cmd
}

func previewApprove(ctx context.Context, a *app, pipeline, label, commit string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if commit == "" {
		v, err := c.Preview(ctx, pipeline, label)
		if err != nil {
			return err
		}
		if v.State != troy.PreviewNeedsApproval {
			return troy.Errorf(troy.Conflict, "the preview %s is %s, so no commit needs an approval", v.Label, v.StateName)
		}
		commit = v.Commit
	}
	v, err := c.ApprovePreview(ctx, pipeline, label, commit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(v)
	}
	_, _ = fmt.Fprintf(a.err, "Commit %s is queued for the preview %s.\n", clean(commit), clean(v.Label))
	_, _ = fmt.Fprintln(a.out, clean(v.URL))
	return nil
}
