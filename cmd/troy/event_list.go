package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

func newEventList(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list P",
		Short: "List a pipeline's events, oldest first; also of a deleted one",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return eventList(cmd.Context(), a, args[0], limit)
		},
	}
	addLimit(cmd, &limit)
	return cmd
}

func eventList(ctx context.Context, a *app, pipeline string, limit int) error {
	if err := checkLimit(limit); err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	events, err := take(c.Events(ctx, pipeline), 0)
	if err != nil {
		return err
	}
	if limit > 0 && len(events) > limit {
		// The API lists the oldest first; the newest are asked for.
		events = events[len(events)-limit:]
	}
	if a.json {
		return a.printJSON(events)
	}
	if len(events) == 0 {
		_, _ = fmt.Fprintln(a.err, "No events.")
		return nil
	}
	a.eventTable(events)
	return nil
}

func (a *app) eventTable(events []client.Event) {
	now := time.Now()
	rows := make([][]cell, len(events))
	for i, e := range events {
		rows[i] = []cell{{text: fmt.Sprint(e.Version)}, {text: ago(e.Time, now)}, statusCell(e.To), {text: e.Actor}, {text: e.Cause}}
	}
	a.out.table([]column{
		{title: "NO"}, {title: "TIME"}, {title: "STATUS"}, {title: "BY", least: 12}, {title: "CAUSE", least: 16},
	}, rows)
}
