package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

func newStats(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "stats [P]",
		Short: "Count the deployments of each of the last 30 days",
		Long: `Count the deployments that ended on each of the last 30 days in UTC, of all
pipelines or of P, and show how long builds took: P50 is the time that half of
them took at most, P95 that of 95 %. Days without deployments are left out.

"troy traffic P" counts the requests to a site.`,
		Args: arguments(0, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return showStats(cmd.Context(), a, first(args))
		},
	}
}

func showStats(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	s, err := c.Stats(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(s)
	}
	rows := [][]cell{}
	for _, d := range s.Days {
		if d.Succeeded+d.Failed+d.Cancelled+d.Superseded > 0 {
			rows = append(rows, statsRow(d))
		}
	}
	if len(rows) == 0 {
		_, _ = fmt.Fprintln(a.err, "No deployment ended in the last 30 days.")
		return nil
	}
	a.out.table([]column{
		{title: "DAY"}, {title: "SUCCEEDED"}, {title: "FAILED"}, {title: "FAILED %"}, {title: "CANCELLED"}, {title: "SUPERSEDED"}, {title: "P50"}, {title: "P95"},
	}, rows)
	if s.Cut {
		_, _ = fmt.Fprintln(a.err, "Older deployments are not counted.")
	}
	return nil
}

func statsRow(d client.Day) []cell {
	rate := ""
	if ended := d.Succeeded + d.Failed; ended > 0 {
		rate = fmt.Sprintf("%.1f", 100*float64(d.Failed)/float64(ended))
	}
	failed := cell{text: fmt.Sprint(d.Failed)}
	if d.Failed > 0 {
		failed.colour = red
	}
	return []cell{
		{text: d.Day}, {text: fmt.Sprint(d.Succeeded)}, failed, {text: rate}, {text: fmt.Sprint(d.Cancelled)}, {text: fmt.Sprint(d.Superseded)},
		{text: buildTime(d.BuildP50)}, {text: buildTime(d.BuildP95)},
	}
}

func buildTime(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	return time.Duration(*seconds * float64(time.Second)).Round(time.Second / 10).String()
}
