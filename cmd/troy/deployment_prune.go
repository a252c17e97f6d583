package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newDeploymentPrune(a *app) *cobra.Command {
	keep := number{n: 10, least: 10, most: 10_000}
	var dry bool
	cmd := &cobra.Command{
		Use:   "prune P",
		Short: "Remove the files of old deployments",
		Long: `Remove the files of old deployments. The live deployment, the newest ones,
running ones and those that open previews show stay. A removed deployment stays
in the list, but it can't be rolled back to or promoted any more.

The size at the end is what becomes free: files that other deployments need
stay.`,
		Example: `  troy deployment prune blog --dry-run
  troy deployment prune blog --keep 20`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deploymentPrune(cmd.Context(), a, args[0], keep.n, dry)
		},
	}
	cmd.Flags().Var(&keep, "keep", "keep the `N` newest deployments, at least 10")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what would be removed")
	return cmd
}

func deploymentPrune(ctx context.Context, a *app, pipeline string, keep int, dry bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Prune(ctx, pipeline, keep, dry)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	if len(p.Deployments) == 0 {
		_, err := fmt.Fprintln(a.err, "No deployment can be pruned.")
		return err
	}
	now := time.Now()
	rows := make([][]cell, len(p.Deployments))
	for i, d := range p.Deployments {
		rows[i] = []cell{{text: fmt.Sprint(d.Number)}, {text: string(d.Kind)}, {text: string(d.State)}, {text: troy.Size(d.Bytes)}, {text: a.out.when(d.CreatedAt, now)}, {text: d.Message}}
	}
	a.out.table([]column{{title: "NUMBER"}, {title: "KIND"}, {title: "STATE"}, {title: "SIZE"}, {title: "CREATED", optional: true}, {title: "MESSAGE", least: 12, optional: true}}, rows)
	what := fmt.Sprintf("%s, which frees %s", troy.Count(len(rows), "deployment", "deployments"), troy.Size(p.Bytes))
	if dry {
		_, err = fmt.Fprintf(a.err, "This would prune %s. Nothing was changed.\n", what)
	} else {
		_, err = fmt.Fprintf(a.err, "Pruned %s. The files are removed within seconds.\n", what)
	}
	return err
}
