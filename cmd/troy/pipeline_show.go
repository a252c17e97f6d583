package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

func newPipelineShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show P",
		Short: "Show a pipeline",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pipelineShow(cmd.Context(), a, args[0])
		},
	}
}

func pipelineShow(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Pipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	return a.printPipeline(ctx, c, p)
}

// numberOf returns a deployment's number as people write it, or the id if the
// number can't be found.
func numberOf(ctx context.Context, c *client.Client, pipeline string, id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	d, err := c.Deployment(ctx, pipeline, *id)
	if err != nil {
		return id.String()
	}
	return fmt.Sprintf("deployment %d", d.Number)
}

func (a *app) printPipeline(ctx context.Context, c *client.Client, p client.Pipeline) error {
	if a.json {
		return a.printJSON(struct {
			client.Pipeline
			ETag string `json:"etag,omitempty"` // for pipeline set --if-match
		}{p, p.ETag})
	}
	now := time.Now()
	position := ""
	repository, branch, root, cancels := "", "", "", ""
	if r := p.Repository; r != nil {
		repository, branch, root = fmt.Sprintf("%s:%s", r.Provider, r.FullName), r.Branch, r.Root
	}
	if p.CancelRunning {
		cancels = "stop the running build"
	}
	locked := ""
	if l := p.Lock; l != nil {
		locked = fmt.Sprintf("by %s: %s", l.By, l.Reason)
	}
	next := ""
	switch {
	case needsProvisioning(p) != "":
		next = "troy pipeline provision " + p.Slug
	case restorable(p):
		next = "troy restore " + p.Slug
	}
	if p.QueuePosition != nil {
		position = fmt.Sprint(*p.QueuePosition)
	}
	stored := ""
	if usage, err := c.Usage(ctx, p.ID.String()); err == nil && usage.Files > 0 { // an older server has none
		stored = storedField(usage)
	}
	fields := []field{
		{"Pipeline", p.Slug},
		{"Name", p.Name},
		{"Status", p.Status.String()},
		{"Cause", p.Cause},
		{"Next", next},
		{"Locked", locked},
		{"Deletion", a.deletion(p, now)},
		{"In queue", position},
		{"URL", p.URL},
		{"Live", numberOf(ctx, c, p.ID.String(), p.LiveDeploymentID)},
		{"Stored", stored},
		{"App", p.AppID},
		{"Repository", repository},
		{"Branch", branch},
		{"Root", root},
		{"Problem", p.SourceProblem},
		{"Schedule", a.scheduleField(p.Schedule, now)},
		{"Watches", strings.Join(p.WatchPaths, ", ")},
	}
	fields = append(fields, buildSettingFields(p.Build)...)
	a.out.view(append(fields,
		field{"New commits", cancels},
		field{"Created", a.out.when(p.CreatedAt, now)},
		field{"Updated", a.out.when(p.UpdatedAt, now)},
		field{"ID", p.ID.String()},
	)...)
	return nil
}
