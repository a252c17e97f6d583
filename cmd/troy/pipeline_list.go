package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newPipelineList(a *app) *cobra.Command {
	var (
		status string
		limit  number
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List pipelines, newest first",
		Args:  arguments(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return pipelineList(cmd.Context(), a, status, limit.n)
		},
	}
	cmd.Flags().StringVar(&status, "status", "", "list pipelines with this `status`: ready_for_deployment")
	addLimit(cmd, &limit)
	return cmd
}

func pipelineList(ctx context.Context, a *app, status string, limit int) error {
	if status != "" {
		if _, err := troy.ParseStatus(status); err != nil {
			return unknownStatus(status, err)
		}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	pipelines, err := take(c.Pipelines(ctx, troy.Status(status)), limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(pipelines)
	}
	if len(pipelines) == 0 {
		_, _ = fmt.Fprintln(a.err, "No pipelines.")
		return nil
	}
	a.pipelineTable(pipelines)
	return nil
}

// unknownStatus returns the error for a status that does not exist, with the one
// that was probably meant, or with all.
func unknownStatus(status string, err error) error {
	var names []string
	for _, s := range troy.RowStatuses() {
		names = append(names, string(s))
	}
	if near := nearest(strings.ReplaceAll(status, " ", "_"), names); near != "" {
		return troy.Errorf(troy.Invalid, "%w; did you mean %s?", err, near).At("--status")
	}
	return troy.Errorf(troy.Invalid, "%w; expected one of: %s", err, strings.Join(names, ", ")).At("--status")
}

func (a *app) pipelineTable(pipelines []client.Pipeline) {
	now := time.Now()
	rows := make([][]cell, len(pipelines))
	for i, p := range pipelines {
		rows[i] = []cell{{text: p.Slug}, statusCell(p.Status), {text: a.out.when(p.UpdatedAt, now)}, {text: p.Name}, {text: p.ID.String()}, {text: p.URL}}
	}
	a.out.table([]column{
		{title: "PIPELINE", spill: 20}, {title: "STATUS"}, {title: "UPDATED", optional: true},
		{title: "NAME", wide: true}, {title: "ID", wide: true}, {title: "URL", spill: 20},
	}, rows)
}
