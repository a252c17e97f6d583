package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

func newDeploymentShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show P D",
		Short: "Show a deployment",
		Args:  arguments(2, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return deploymentShow(cmd.Context(), a, args[0], args[1])
		},
	}
}

func deploymentShow(ctx context.Context, a *app, pipeline, ref string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	id, err := deploymentID(ctx, c, pipeline, ref)
	if err != nil {
		return err
	}
	d, err := c.Deployment(ctx, pipeline, id)
	if err != nil {
		return err
	}
	return a.printDeployment(d)
}

func (a *app) printDeployment(d client.Deployment) error {
	if a.json {
		return a.printJSON(d)
	}
	now := time.Now()
	source, live := "", ""
	if d.SourceDeploymentID != nil {
		source = d.SourceDeploymentID.String()
	}
	if d.Live {
		live = "now"
	}
	when := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return ago(*t, now)
	}
	a.out.view(
		field{"Number", fmt.Sprint(d.Number)},
		field{"State", d.State.String()},
		field{"Cause", d.Cause},
		field{"Live", live},
		field{"URL", d.URL},
		field{"Kind", string(d.Kind)},
		field{"Files of", source},
		field{"Message", d.Message},
		field{"Commit", d.Commit},
		field{"Branch", d.Branch},
		field{"By", d.Actor},
		field{"Files", fmt.Sprintf("%d, %s", d.Files, size(d.Bytes))},
		field{"Created", ago(d.CreatedAt, now)},
		field{"Started", when(d.StartedAt)},
		field{"Finished", when(d.FinishedAt)},
		field{"ID", d.ID.String()},
	)
	return nil
}
