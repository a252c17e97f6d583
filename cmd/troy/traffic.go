package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// trafficRows is how many paths are shown without --wide.
const trafficRows = 10

func newTraffic(a *app) *cobra.Command {
	days := number{n: 30, least: 1, most: 90}
	cmd := &cobra.Command{
		Use:   "traffic P",
		Short: "Show the requests to a pipeline's site",
		Long: `Show the requests to a pipeline's site on the last days: how many there were on
each day, the most requested paths, and the missing paths with the pages that
link to them. With --wide, all days and paths are shown.`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return showTraffic(cmd.Context(), a, args[0], days.n)
		},
	}
	cmd.Flags().Var(&days, "days", "the last `N` days, 1 to 90")
	return cmd
}

func showTraffic(ctx context.Context, a *app, pipeline string, days int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	t, err := c.Traffic(ctx, pipeline, days)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(t)
	}
	if t.Requests.Requests == 0 {
		_, _ = fmt.Fprintf(a.err, "No requests in the last %s.\n", troy.Count(days, "day", "days"))
		return nil
	}
	a.trafficTables(t)
	return nil
}

func (a *app) trafficTables(t client.Traffic) {
	var rows [][]cell
	for _, d := range t.Days {
		if d.Requests.Requests > 0 || a.wide {
			rows = append(rows, trafficRow(d.Day, d.Requests))
		}
	}
	rows = append(rows, trafficRow("total", t.Requests))
	a.out.table([]column{{title: "DAY"}, {title: "REQUESTS"}, {title: "SENT"}, {title: "NOT FOUND"}, {title: "ERRORS"}}, rows)

	rows = nil
	for i, p := range t.Paths {
		if i < trafficRows || a.wide {
			rows = append(rows, []cell{{text: fmt.Sprint(p.Requests)}, {text: troy.Size(p.Bytes)}, {text: p.Path}})
		}
	}
	if len(rows) > 0 {
		_, _ = fmt.Fprintln(a.out)
		a.out.table([]column{{title: "REQUESTS"}, {title: "SENT"}, {title: "PATH", least: 20}}, rows)
	}
	rows = nil
	for i, m := range t.Missing {
		if i < trafficRows || a.wide {
			rows = append(rows, []cell{{text: fmt.Sprint(m.Requests)}, {text: m.Path, colour: yellow}, {text: m.Referrer}})
		}
	}
	if len(rows) > 0 {
		_, _ = fmt.Fprintln(a.out)
		a.out.table([]column{{title: "REQUESTS"}, {title: "MISSING", least: 20}, {title: "LINKED FROM", least: 12, optional: true}}, rows)
	}
}

func trafficRow(day string, r client.Requests) []cell {
	missing, errors := cell{text: fmt.Sprint(r.NotFound)}, cell{text: fmt.Sprint(r.Errors)}
	if r.Errors > 0 {
		errors.colour = red
	}
	return []cell{{text: day}, {text: fmt.Sprint(r.Requests)}, {text: troy.Size(r.Bytes)}, missing, errors}
}
