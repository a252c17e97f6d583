package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newDeploymentList(a *app) *cobra.Command {
	var limit number
	cmd := &cobra.Command{
		Use:   "list P",
		Short: "List a pipeline's deployments, newest first; * is live",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deploymentList(cmd.Context(), a, args[0], limit.n)
		},
	}
	addLimit(cmd, &limit)
	return cmd
}

func deploymentList(ctx context.Context, a *app, pipeline string, limit int) error {
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
	a.deploymentTable(deployments, sources(ctx, c, pipeline, deployments))
	return nil
}

// sources returns the numbers of the deployments whose files were published
// again. It reads those that are not in the list.
func sources(ctx context.Context, c *client.Client, pipeline string, deployments []client.Deployment) map[uuid.UUID]int64 {
	numbers := map[uuid.UUID]int64{}
	for _, d := range deployments {
		numbers[d.ID] = d.Number
	}
	for _, d := range deployments {
		if !republished(d) || numbers[*d.SourceDeploymentID] != 0 {
			continue
		}
		if source, err := c.Deployment(ctx, pipeline, *d.SourceDeploymentID); err == nil {
			numbers[source.ID] = source.Number
		}
	}
	return numbers
}

// republished reports whether a deployment is a rollback or a promotion.
func republished(d client.Deployment) bool {
	return d.SourceDeploymentID != nil && (d.Kind == troy.Rollback || d.Kind == troy.Promotion)
}

func (a *app) deploymentTable(deployments []client.Deployment, numbers map[uuid.UUID]int64) {
	now := time.Now()
	rows := make([][]cell, len(deployments))
	failed := false
	for i, d := range deployments {
		number := fmt.Sprint(d.Number)
		if d.Live {
			number += " *"
		}
		failed = failed || d.Cause != ""
		rows[i] = []cell{
			{text: number}, stateCell(d.State), {text: string(d.Kind)}, {text: a.out.when(d.CreatedAt, now)}, {text: d.Actor},
			{text: messageOf(d, numbers)}, {text: d.Cause}, {text: d.Commit}, {text: d.Branch}, {text: fmt.Sprint(d.Files)}, {text: troy.Size(d.Bytes)}, {text: d.ID.String()},
		}
	}
	a.out.table([]column{
		{title: "NO"}, {title: "STATE"}, {title: "KIND"}, {title: "CREATED"}, {title: "BY", least: 8},
		{title: "MESSAGE", least: 12, optional: failed}, {title: "CAUSE", least: 12, wide: !failed},
		{title: "COMMIT", wide: true}, {title: "BRANCH", wide: true}, {title: "FILES", wide: true}, {title: "SIZE", wide: true}, {title: "ID", wide: true},
	}, rows)
}

// messageOf returns the deployment's message or, for a rollback or a promotion,
// the deployment that its files come from.
func messageOf(d client.Deployment, numbers map[uuid.UUID]int64) string {
	if !republished(d) {
		return d.Message
	}
	number, ok := numbers[*d.SourceDeploymentID]
	if !ok {
		return d.Message
	}
	text := fmt.Sprintf("of deployment %d", number)
	if d.Message != "" {
		text += ": " + d.Message
	}
	return text
}
