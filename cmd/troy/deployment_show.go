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
	return a.printDeployment(ctx, c, pipeline, d)
}

func (a *app) printDeployment(ctx context.Context, c *client.Client, pipeline string, d client.Deployment) error {
	if a.json {
		return a.printJSON(d)
	}
	now := time.Now()
	live, rule, phases := "", "", ""
	if b := d.Build; b != nil {
		_, rule, _ = strings.Cut(b.Rule, ": ")
		phases = phaseList(b.Phases, now)
	}
	if d.Live {
		live = "now"
	}
	files := ""
	if d.Files > 0 {
		files = fmt.Sprintf("%d, %s", d.Files, troy.Size(d.Bytes))
	}
	a.out.view(
		field{"Number", fmt.Sprint(d.Number)},
		field{"State", d.State.String()},
		field{"Cause", d.Cause},
		field{"Live", live},
		field{"URL", d.URL},
		field{"Kind", string(d.Kind)},
		field{"Files of", numberOf(ctx, c, pipeline, d.SourceDeploymentID)},
		field{"Message", d.Message},
		field{"Commit", d.Commit},
		field{"Branch", d.Branch},
		field{"By", d.Actor},
		field{"Files", files},
		field{"Build plan", rule},
		field{"Phases", phases},
		field{"Created", a.out.when(d.CreatedAt, now)},
		field{"Started", a.out.whenever(d.StartedAt, now)},
		field{"Finished", a.out.whenever(d.FinishedAt, now)},
		field{"ID", d.ID.String()},
	)
	return nil
}

// phaseList returns the duration and the outcome of each phase of a build.
func phaseList(phases []client.Phase, now time.Time) string {
	texts := make([]string, len(phases))
	for i, p := range phases {
		name := strings.ReplaceAll(p.Phase, "_", " ")
		took := p.Ended.Sub(p.Started)
		if p.Ended.IsZero() {
			took = now.Sub(p.Started)
		}
		texts[i] = fmt.Sprintf("%s %s", name, took.Round(100*time.Millisecond))
		switch {
		case p.ExitCode == nil:
			texts[i] += ", running"
		case *p.ExitCode != 0:
			texts[i] += fmt.Sprintf(" (exit code %d)", *p.ExitCode)
		}
	}
	return strings.Join(texts, ", ")
}
