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

func newEventList(a *app) *cobra.Command {
	var limit number
	cmd := &cobra.Command{
		Use:   "list P",
		Short: "List the events of an existing or deleted pipeline, oldest first",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eventList(cmd.Context(), a, args[0], limit.n)
		},
	}
	addLimit(cmd, &limit)
	return cmd
}

func eventList(ctx context.Context, a *app, pipeline string, limit int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	events, err := take(c.Events(ctx, pipeline), 0)
	if err != nil {
		return err
	}
	if limit > 0 && len(events) > limit {
		// The API lists the oldest first; keep the newest.
		events = events[len(events)-limit:]
	}
	if a.json {
		return a.printJSON(events)
	}
	if len(events) == 0 {
		_, _ = fmt.Fprintln(a.err, "No events.")
		return nil
	}
	numbers, err := deploymentNumbers(ctx, c, pipeline, events)
	if err != nil {
		return err
	}
	a.eventTable(events, numbers)
	return nil
}

func (a *app) eventTable(events []client.Event, numbers map[uuid.UUID]int64) {
	now := time.Now()
	rows := make([][]cell, len(events))
	for i, e := range events {
		number := ""
		if e.DeploymentID != nil {
			number = e.DeploymentID.String()
			if n, ok := numbers[*e.DeploymentID]; ok {
				number = fmt.Sprint(n)
			}
		}
		rows[i] = []cell{{text: fmt.Sprint(e.Version)}, {text: a.out.when(e.Time, now)}, statusCell(e.To), {text: number}, {text: e.Actor}, {text: e.Cause}}
	}
	a.out.table([]column{
		{title: "NO"}, {title: "TIME"}, {title: "STATUS"}, {title: "DEPLOYMENT", least: 10}, {title: "BY", least: 8}, {title: "CAUSE", least: 16},
	}, rows)
}

// deploymentNumbers returns the numbers of the deployments in events. A deleted
// pipeline has no deployments.
func deploymentNumbers(ctx context.Context, c *client.Client, pipeline string, events []client.Event) (map[uuid.UUID]int64, error) {
	wanted := map[uuid.UUID]bool{}
	for _, e := range events {
		if e.DeploymentID != nil {
			wanted[*e.DeploymentID] = true
		}
	}
	numbers := map[uuid.UUID]int64{}
	if len(wanted) == 0 {
		return numbers, nil
	}
	for d, err := range c.Deployments(ctx, pipeline) {
		switch {
		case troy.KindOf(err) == troy.NotFound:
			return numbers, nil
		case err != nil:
			return nil, err
		}
		numbers[d.ID] = d.Number
		if delete(wanted, d.ID); len(wanted) == 0 {
			break
		}
	}
	return numbers, nil
}
