package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

func newDeploymentList(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list P",
		Short: "List a pipeline's deployments, newest first; * is live",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deploymentList(cmd.Context(), a, args[0], limit)
		},
	}
	addLimit(cmd, &limit)
	return cmd
}

func deploymentList(ctx context.Context, a *app, pipeline string, limit int) error {
	if err := checkLimit(limit); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	deployments, err := take(c.Deployments(ctx, pipeline), limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(deployments)
	}
	if len(deployments) == 0 {
		_, _ = fmt.Fprintln(a.err, "No deployments.")
		return nil
	}
	a.deploymentTable(deployments)
	return nil
}

func (a *app) deploymentTable(deployments []client.Deployment) {
	now := time.Now()
	rows := make([][]cell, len(deployments))
	for i, d := range deployments {
		number := fmt.Sprint(d.Number)
		if d.Live {
			number += " *"
		}
		rows[i] = []cell{
			{text: number}, stateCell(d.State), {text: string(d.Kind)}, {text: ago(d.CreatedAt, now)},
			{text: d.ID.String()}, {text: d.Message},
		}
	}
	a.out.table([]column{
		{title: "NO"}, {title: "STATE"}, {title: "KIND"}, {title: "CREATED"},
		{title: "ID"}, {title: "MESSAGE", least: 12, optional: true},
	}, rows)
}
