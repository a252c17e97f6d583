package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
)

// report tells the forge how an automated deployment stands. What changed
// while it was waiting is told with the rest: there is one row for each
// deployment. A report that fails never fails the deployment.
func (w *Workers) report(ctx context.Context, c *claim) error {
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	if err := w.tell(ctx, d); err != nil {
		return err
	}
	return w.reported(ctx, c, d)
}

// reported writes down that nothing is left to tell of the deployment's state.
func (w *Workers) reported(ctx context.Context, c *claim, d queries.Deployment) error {
	err := w.q.DeploymentReported(ctx, queries.DeploymentReportedParams{ID: d.ID, State: string(d.State), Epoch: c.epoch})
	if err != nil {
		return fmt.Errorf("write down what the forge was told: %w", err)
	}
	return nil
}

// tell reports a deployment's state, if there is a forge to be told.
func (w *Workers) tell(ctx context.Context, d queries.Deployment) error {
	if d.Kind != troy.Automated || d.CommitSha == nil {
		return nil
	}
	p, err := w.q.PipelineGet(ctx, d.PipelineID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the pipeline: %w", err)
	}
	if w.deps.Forges[troy.Provider(deref(p.RepositoryProvider))] == nil {
		return nil
	}
	s, err := w.sourceOf(ctx, p)
	if err != nil {
		return err
	}
	host, err := w.q.PipelineHost(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the host: %w", err)
	}
	r := forge.Report{
		Deployment: d.ID.String(), Pipeline: p.ID.String(), Commit: *d.CommitSha, Name: "Troy: " + p.Slug, State: d.State,
		DetailsURL: fmt.Sprintf("%s/pipelines/%s/deployments/%s", w.cfg.URL, p.Slug, d.ID),
		SiteURL:    w.cfg.SiteURL(host), Environment: p.Slug, Started: timeOf(d.StartedAt), Ended: timeOf(d.FinishedAt),
	}
	b, err := w.q.BuildGet(ctx, d.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the build: %w", err)
	}
	r.Title, r.Summary = told(d, r.SiteURL)
	switch {
	case d.State == troy.Failed && b.Tail != "":
		r.Summary += "\n\nThe last lines of the log:\n\n" + indented(b.Tail)
	case d.State == troy.Succeeded && len(b.Warnings) > 0:
		r.Title += ", with a warning"
		for _, warning := range b.Warnings {
			r.Summary += "\n\nWarning: " + warning
		}
	}
	if d.State.Ended() {
		newer, err := w.q.DeploymentNewerCommit(ctx, p.ID, d.ID)
		switch {
		case err == nil:
			r.Summary += fmt.Sprintf("\n\nDeployment %d has a newer commit. To go back to this one: `troy promote %s %d`.", newer, p.Slug, d.Number)
		case !errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("look for a newer commit: %w", err)
		}
	}
	if err := s.forge.Report(ctx, s.repository, r); err != nil {
		return fmt.Errorf("report to %s: %w", *p.RepositoryProvider, err)
	}
	return nil
}

// told says in words how a deployment stands.
func told(d queries.Deployment, siteURL string) (title, summary string) {
	switch d.State {
	case troy.Waiting:
		return "Queued", fmt.Sprintf("Deployment %d is waiting for its turn.", d.Number)
	case troy.Building:
		return "Building", fmt.Sprintf("Deployment %d is being built.", d.Number)
	case troy.Publishing:
		return "Publishing", fmt.Sprintf("Deployment %d is built and being published.", d.Number)
	case troy.Succeeded:
		return "Live", fmt.Sprintf("Deployment %d is live at %s.", d.Number, siteURL)
	case troy.Cancelled:
		return "Cancelled", orElse(d.Cause, "Someone cancelled it.")
	case troy.Superseded:
		return "Superseded", orElse(d.Cause, "A newer commit took its place.")
	}
	return "Failed to deploy", orElse(d.Cause, "It failed.")
}

// indented makes Markdown show text as it is.
func indented(text string) string {
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func (w *Workers) giveUpReport(ctx context.Context, c *claim, cause string) error {
	c.log.Warn("the forge was not told how a deployment stands", "deployment", c.task.Subject, "cause", cause)
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	return w.reported(ctx, c, d)
}
