package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newDeploy(a *app) *cobra.Command {
	var (
		commit, upload, message string
		w                       waiting
	)
	cmd := &cobra.Command{
		Use:   "deploy P",
		Short: "Build and deploy a commit, or a folder of this machine",
		Long: `Build and deploy a commit of a pipeline's repository: the one given
by --commit or, by default, the newest commit of the pipeline's branch. The
phases of the build are shown as they end, or with --follow its whole log. If
the build fails, the last lines of its log are shown.

With --upload, the server builds a folder of this machine instead, also for a
pipeline without a repository. It gets what git does not ignore, without .git,
node_modules and .env files; the paths in .troyignore, which has the syntax of
.gitignore, are left out too, and a line "!.env" includes a path again.`,
		Example: `  troy deploy blog
  troy deploy blog --follow
  troy deploy blog --commit "$(git rev-parse HEAD)"
  troy deploy blog --upload . --message "Try the new theme"`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case upload != "" && commit != "":
				return troy.Errorf(troy.Invalid, "it can't be combined with --commit").At("--upload")
			case upload != "":
				return deployUpload(cmd.Context(), a, args[0], upload, message, w)
			case message != "":
				return troy.Errorf(troy.Invalid, "it needs --upload; a commit has a message of its own").At("--message")
			}
			return deploy(cmd.Context(), a, args[0], commit, w)
		},
	}
	cmd.Flags().StringVar(&commit, "commit", "", "the commit's full `id`")
	cmd.Flags().StringVar(&upload, "upload", "", "build this `folder` instead of a commit")
	cmd.Flags().StringVarP(&message, "message", "m", "", "a `text` to show with the uploaded folder")
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
