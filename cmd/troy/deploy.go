package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newDeploy(a *app) *cobra.Command {
	var (
		commit string
		w      waiting
	)
	cmd := &cobra.Command{
		Use:   "deploy P",
		Short: "Build and deploy a commit of a pipeline's repository",
		Long: `Build and deploy a commit of a pipeline's repository: the one given
by --commit or, by default, the newest commit of the pipeline's branch. The
phases of the build are shown as they end, or with --follow its whole log. If
the build fails, the last lines of its log are shown.`,
		Example: `  troy deploy blog
  troy deploy blog --follow
  troy deploy blog --commit "$(git rev-parse HEAD)"`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deploy(cmd.Context(), a, args[0], commit, w)
		},
	}
	cmd.Flags().StringVar(&commit, "commit", "", "the commit's full `id`")
	w.rules = true
	w.addFollow(cmd)
	w.addFlags(cmd)
	return cmd
}

func deploy(ctx context.Context, a *app, pipeline, commit string, w waiting) error {
	if err := w.check(); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	d, err := c.Deploy(ctx, pipeline, commit)
	if err != nil {
		return err
	}
	return a.await(ctx, c, pipeline, d, w)
}
