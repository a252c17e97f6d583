package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
)

func newFiles(a *app) *cobra.Command {
	limit := number{most: 1_000_000}
	var folder string
	cmd := &cobra.Command{
		Use:   "files P [D]",
		Short: "List a deployment's files",
		Long: `List the files of deployment D or, by default, of the live one, sorted by path.
With --folder, list what is in that folder: its folders, each with the files and
the bytes below it, then its files. "--folder /" is the site's root.`,
		Args: arguments(1, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in *string
			if cmd.Flags().Changed("folder") {
				in = new(strings.TrimPrefix(folder, "/"))
			}
			return files(cmd.Context(), a, args[0], first(args[1:]), in, limit.n)
		},
	}
	cmd.Flags().StringVar(&folder, "folder", "", "list the content of a `folder`")
	cmd.Flags().Var(&limit, "limit", "list at most `N`; 0 lists all")
	return cmd
}

func files(ctx context.Context, a *app, pipeline, ref string, folder *string, limit int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	id, err := deploymentOrLive(ctx, c, pipeline, ref)
	if err != nil {
		return err
	}
	list, err := take(c.Files(ctx, pipeline, id, folder), limit)
	if err != nil {
		return err
	}
	if len(list) == 0 && folder != nil && *folder != "" {
		return troy.Errorf(troy.NotFound, "the deployment has no folder %q", *folder).At("--folder")
	}
	if a.json {
		return a.printJSON(list)
	}
	rows := make([][]cell, len(list))
	for i, f := range list {
		digest, below := "", ""
		if f.SHA256 != nil {
			digest = f.SHA256.String()
		} else {
			below = fmt.Sprint(f.Files)
		}
		rows[i] = []cell{{text: f.Path}, {text: below}, {text: troy.Size(f.Size)}, {text: digest}}
	}
	a.out.table([]column{{title: "PATH", least: 20}, {title: "FILES", wide: folder == nil}, {title: "SIZE"}, {title: "SHA-256", wide: true}}, rows)
	return nil
}

// deploymentOrLive returns the id of the deployment ref or, if ref is empty, of
// the live one.
func deploymentOrLive(ctx context.Context, c *client.Client, pipeline, ref string) (uuid.UUID, error) {
	if ref != "" {
		return deploymentID(ctx, c, pipeline, ref)
	}
	p, err := c.Pipeline(ctx, pipeline)
	if err != nil {
		return uuid.Nil, err
	}
	if p.LiveDeploymentID == nil {
		return uuid.Nil, troy.Errorf(troy.NotFound, "nothing of %s is live; name a deployment", pipeline)
	}
	return *p.LiveDeploymentID, nil
}

func newDiff(a *app) *cobra.Command {
	limit := number{most: 1_000_000}
	var with string
	cmd := &cobra.Command{
		Use:   "diff P [D]",
		Short: "Show which files a deployment changed",
		Long: `Show which files deployment D or, by default, the live one changed, compared
with what the site had before it, or with the deployment of --with. Files are
added (+), changed (~) or removed (-).`,
		Example: `  troy diff blog
  troy diff blog 42 --with 40`,
		Args: arguments(1, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return diff(cmd.Context(), a, args[0], first(args[1:]), with, limit.n)
		},
	}
	cmd.Flags().StringVar(&with, "with", "", "compare with deployment `D`")
	cmd.Flags().Var(&limit, "limit", "list at most `N`; 0 lists all")
	return cmd
}

func diff(ctx context.Context, a *app, pipeline, ref, with string, limit int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	id, err := deploymentOrLive(ctx, c, pipeline, ref)
	if err != nil {
		return err
	}
	d, err := c.Compare(ctx, pipeline, id, strings.TrimPrefix(with, "#"), limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(d)
	}
	a.printChanges(d.Changes)
	than := "nothing was live before"
	if d.With != nil {
		than = fmt.Sprintf("compared with deployment %d", *d.With)
	}
	_, err = fmt.Fprintf(a.err, "Deployment %d: %s; %s.\n", d.Deployment, sums(d.Difference), than)
	return err
}

// sums returns the numbers of a difference as text.
func sums(d site.Difference) string {
	return fmt.Sprintf("%d added (%s), %d changed (%s), %d removed (%s), %d unchanged", d.Added.Files, troy.Size(d.Added.Bytes),
		d.Changed.Files, troy.Size(d.Changed.Bytes), d.Removed.Files, troy.Size(d.Removed.Bytes), d.Unchanged.Files)
}

func (a *app) printChanges(changes []site.Change) {
	if len(changes) == 0 {
		return
	}
	rows := make([][]cell, len(changes))
	for i, change := range changes {
		rows[i] = changeCells(change)
	}
	a.out.table([]column{{title: ""}, {title: "PATH", least: 20}, {title: "SIZE"}, {title: "BEFORE"}}, rows)
}

func changeCells(c site.Change) []cell {
	switch c.Change {
	case "added":
		return []cell{{text: "+", colour: green}, {text: c.Path}, {text: troy.Size(c.Size)}, {}}
	case "removed":
		return []cell{{text: "-", colour: red}, {text: c.Path}, {}, {text: troy.Size(c.Before)}}
	}
	return []cell{{text: "~", colour: yellow}, {text: c.Path}, {text: troy.Size(c.Size)}, {text: troy.Size(c.Before)}}
}
