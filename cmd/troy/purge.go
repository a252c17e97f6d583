package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newPurge(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "purge P [PATH]",
		Short: "Remove assets that the site keeps from earlier deployments",
		Long: `Remove assets of earlier deployments, which stay reachable for a week after a
deployment left them out: the file at PATH, the files of a folder if PATH ends
in a slash, or by default all of them. Files of the live deployment stay. The
CDN drops its copies of the site. If no earlier file is at PATH, nothing is
removed, and the exit code is 4.`,
		Example: `  troy purge blog assets/report-BX3kz0aQ.pdf
  troy purge blog assets/
  troy purge blog`,
		Args: arguments(1, "a pipeline", "a path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := ""
			if len(args) > 1 {
				what = args[1]
			}
			return purge(cmd.Context(), a, args[0], what)
		},
	}
}

func purge(ctx context.Context, a *app, pipeline, what string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Purge(ctx, pipeline, what)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	if what == "" {
		what = "All old assets"
	}
	_, err = fmt.Fprintf(a.err, "%s will be removed from %s within seconds.\n", clean(what), p.Slug)
	return err
}
