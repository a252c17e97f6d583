package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
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

// statusPage is how many pipelines status reads at first.
const statusPage = 200

// statusAll prints what is wrong, what is running and what is live.
func statusAll(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if a.json {
		pipelines, err := take(c.Pipelines(ctx, ""), 0)
		if err != nil {
			return err
		}
		return a.printJSON(pipelines)
	}
	pipelines, err := take(c.Pipelines(ctx, ""), statusPage+1)
	if err != nil {
		return err
	}
	if len(pipelines) == 0 {
		_, _ = fmt.Fprintln(a.err, "No pipelines. To create one: troy pipeline create NAME")
		return nil
	}
	more := len(pipelines) > statusPage
	if more {
		if pipelines, err = withUrgent(ctx, c, pipelines[:statusPage]); err != nil {
			return err
		}
	}
	a.overview(pipelines)
	if more {
		_, _ = fmt.Fprintf(a.err, "The newest %d, and all that are running or wrong. All: troy pipeline list\n", statusPage)
	}
	return nil
}

// withUrgent adds the pipelines whose status is not a resting place, or a
// failed one.
func withUrgent(ctx context.Context, c *client.Client, pipelines []client.Pipeline) ([]client.Pipeline, error) {
	known := map[uuid.UUID]bool{}
	for _, p := range pipelines {
		known[p.ID] = true
	}
	for _, s := range troy.Statuses() {
		if s == troy.Deleted || s.Resting() && !failed(s) {
			continue
		}
		some, err := take(c.Pipelines(ctx, s), statusPage)
		if err != nil {
			return nil, err
		}
		for _, p := range some {
			if !known[p.ID] {
				known[p.ID] = true
				pipelines = append(pipelines, p)
			}
		}
	}
	return pipelines, nil
}

func failed(s troy.Status) bool {
	return s == troy.FailedToProvision || s == troy.FailedToDeploy || s == troy.FailedToDelete
}

// overview prints pipelines in up to three tables.
func (a *app) overview(pipelines []client.Pipeline) {
	now := time.Now()
	var wrong, running, rest [][]cell
	for _, p := range pipelines {
		if text := whatIsWrong(p); text != "" {
			wrong = append(wrong, []cell{{text: p.Slug}, statusCell(p.Status), {text: text}})
		}
		if !p.Status.Resting() {
			running = append(running, []cell{{text: p.Slug}, statusCell(p.Status), {text: a.onItsWay(p, now)}})
		}
		status := statusCell(p.Status)
		if p.Lock != nil {
			status.text += ", locked"
		}
		live, since, what := cell{text: "-"}, "", ""
		if p.Live != nil {
			live, since, what = cell{text: fmt.Sprint(p.Live.Number), colour: green}, a.out.when(p.Live.Since, now), describeBrief(*p.Live)
		}
		rest = append(rest, []cell{{text: p.Slug}, status, live, {text: since}, {text: what}, {text: p.URL}})
	}
	a.section(wrong, column{title: "WRONG", least: 12}, column{title: "STATUS"}, column{title: "WHY", least: 30})
	a.section(running, column{title: "RUNNING", least: 12}, column{title: "STATUS"}, column{title: "WHAT", least: 20})
	a.out.table([]column{
		{title: "PIPELINE", spill: 20}, {title: "STATUS"}, {title: "LIVE"}, {title: "SINCE", optional: true},
		{title: "WHAT", least: 12, optional: true}, {title: "URL", spill: 40},
	}, rest)
}

// maxSection is how many rows of a section a terminal shows.
const maxSection = 20

// section prints a table and an empty line, if there are rows.
func (a *app) section(rows [][]cell, columns ...column) {
	if len(rows) == 0 {
		return
	}
	more := 0
	if !a.out.uncut && len(rows) > maxSection {
		rows, more = rows[:maxSection], len(rows)-maxSection
	}
	a.out.table(columns, rows)
	if more > 0 {
		_, _ = fmt.Fprintf(a.out, "and %d more; --wide shows all\n", more)
	}
	_, _ = fmt.Fprintln(a.out)
}

// whatIsWrong says what a pipeline needs from people, or nothing.
func whatIsWrong(p client.Pipeline) string {
	var said []string
	if p.Status == troy.PreProvisioned {
		said = append(said, "to provision it, run: troy pipeline provision "+p.Slug)
	}
	if p.Cause != "" || failed(p.Status) {
		said = append(said, p.Cause)
	}
	if p.SourceProblem != "" {
		said = append(said, "pushes are not built: "+p.SourceProblem)
	}
	return strings.Join(said, "; ")
}

// onItsWay says what a pipeline that is not at rest is doing.
func (a *app) onItsWay(p client.Pipeline, now time.Time) string {
	text := "since " + a.out.when(p.UpdatedAt, now)
	if restorable(p) {
		return fmt.Sprintf("to be deleted %s; to undo it: troy restore %s", a.deletion(p, now), p.Slug)
	}
	if n := p.Next; n != nil {
		text = fmt.Sprintf("deployment %d is %s since %s: %s", n.Number, strings.ToLower(n.State.String()), a.out.when(n.Since, now), describeBrief(*n))
	}
	if p.QueuePosition != nil {
		text += fmt.Sprintf(", place %d in the queue", *p.QueuePosition)
	}
	return text
}

// describeBrief says in a few words what a deployment is.
func describeBrief(b client.Brief) string {
	var said []string
	if b.Commit != "" {
		said = append(said, b.Commit[:min(7, len(b.Commit))])
	}
	if message, _, _ := strings.Cut(b.Message, "\n"); message != "" {
		said = append(said, message)
	}
	return strings.Join(append(said, "by "+b.By), " ")
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
	a.deploymentTable(deployments, sources(ctx, c, pipeline, deployments))
	return nil
}
