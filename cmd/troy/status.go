package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status [P]",
		Short: "Show the status of all pipelines, or of one",
		Args:  arguments(0, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return statusAll(cmd.Context(), a)
			}
			return statusOne(cmd.Context(), a, args[0])
		},
	}
}

// statusAll prints the list of pipelines, followed by the causes of failures.
func statusAll(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	pipelines, err := take(c.Pipelines(ctx, ""), 0)
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
	first := true
	for _, p := range pipelines {
		said := p.Cause
		switch {
		case p.Status == troy.PreProvisioned:
			said = "to provision it, run: troy pipeline provision " + p.Slug
		case said == "":
			continue
		}
		if first {
			_, _ = fmt.Fprintln(a.out)
			first = false
		}
		_, _ = fmt.Fprintf(a.out, "%s: %s\n", clean(p.Slug), clean(said))
	}
	return nil
}

// statusOne prints a pipeline and its latest deployments.
func statusOne(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Pipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	if err := a.printPipeline(ctx, c, p); err != nil || a.json {
		return err
	}
	deployments, err := take(c.Deployments(ctx, pipeline), 3)
	if troy.KindOf(err) == troy.NotFound || err == nil && len(deployments) == 0 {
		return nil // deleted meanwhile, or never deployed
	}
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintln(a.out)
	a.deploymentTable(deployments)
	return nil
}
