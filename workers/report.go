package workers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// report reports the state of an automated deployment to the forge. One row
// stands for all states of a deployment, so a report has all changes since the
// last. A failing report never fails the deployment.
func (w *Workers) report(ctx context.Context, c *claim) error {
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return w.reportSkip(ctx, c.task.Subject)
	}
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	if err := w.tell(ctx, d); err != nil {
		return err
	}
	return w.reported(ctx, c, d)
}

// reported records that the deployment's state has been reported.
func (w *Workers) reported(ctx context.Context, c *claim, d queries.Deployment) error {
	err := w.q.DeploymentReported(ctx, queries.DeploymentReportedParams{ID: d.ID, State: string(d.State), Epoch: c.epoch})
	if err != nil {
		return fmt.Errorf("record the report: %w", err)
	}
	return nil
}

// tell reports a deployment's state to its forge, if there is one.
func (w *Workers) tell(ctx context.Context, d queries.Deployment) error {
	if d.Kind != troy.Automated || d.CommitSha == nil {
		return nil
	}
	to, err := w.listener(ctx, d.PipelineID)
	if err != nil || to == nil {
		return err
	}
	p := to.pipeline
	r := to.report(d.ID, *d.CommitSha, d.State)
	r.DetailsURL = fmt.Sprintf("%s/pipelines/%s/deployments/%s", w.cfg.URL, p.Slug, d.ID)
	r.Environment, r.Started, r.Ended = p.Slug, timeOf(d.StartedAt), timeOf(d.FinishedAt)
	r.Title, r.Summary = told(d, r.SiteURL)
	if err := w.detailBuild(ctx, d, &r); err != nil {
		return err
	}
	if d.State.Ended() {
		problems, err := w.problemsOfRules(ctx, d)
		if err != nil {
			return err
		}
		r.Summary += problems
		newer, err := w.q.DeploymentNewerCommit(ctx, p.ID, d.ID)
		switch {
		case err == nil:
			r.Summary += fmt.Sprintf("\n\nDeployment %d has a newer commit. To go back to this one: `troy promote %s %d`.", newer, p.Slug, d.Number)
		case !errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("look for a newer commit: %w", err)
		}
	}
	return to.tell(ctx, r)
}

// problemsOfRules returns a paragraph about the problems of a deployment's
// rules, or "".
func (w *Workers) problemsOfRules(ctx context.Context, d queries.Deployment) (string, error) {
	report, compiled, err := intake.RulesReport(ctx, w.q, site.Tree{Pipeline: d.PipelineID, Deployment: d.TreeID})
	if err != nil || !compiled || len(report.Problems) == 0 {
		return "", err
	}
	const shown = 5
	text := fmt.Sprintf("\n\nThe site's rules have %d errors and %d warnings:\n", report.Errors, report.Warnings)
	if report.Clean() {
		text = "\n\nThe site's rules have no problems. Note:\n"
	}
	for _, p := range report.Problems[:min(shown, len(report.Problems))] {
		text += "\n    " + oneLine(p.String())
	}
	if more := report.Errors + report.Warnings + report.Notices - shown; more > 0 {
		text += fmt.Sprintf("\n    and %d more", more)
	}
	return text, nil
}

// listener is the forge that gets the reports on a pipeline's commits.
type listener struct {
	pipeline queries.Pipeline
	source   source
	siteURL  string
}

// listener returns nil if the pipeline is gone or its forge is not set up.
func (w *Workers) listener(ctx context.Context, pipeline uuid.UUID) (*listener, error) {
	p, err := w.q.PipelineGet(ctx, pipeline)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the pipeline: %w", err)
	}
	if w.deps.Forges[troy.Provider(deref(p.RepositoryProvider))] == nil {
		return nil, nil
	}
	s, err := w.sourceOf(ctx, p)
	if err != nil {
		return nil, err
	}
	host, err := w.q.PipelineAddress(ctx, p.ID)
	if err != nil {
		return nil, fmt.Errorf("read the host: %w", err)
	}
	return &listener{pipeline: p, source: s, siteURL: w.cfg.SiteURL(host)}, nil
}

// report starts a report on a commit.
func (l *listener) report(id uuid.UUID, commit string, state troy.DeploymentState) forge.Report {
	return forge.Report{
		Deployment: id.String(), Pipeline: l.pipeline.ID.String(), Commit: commit, Name: "Troy: " + l.pipeline.Slug, State: state, SiteURL: l.siteURL,
	}
}

func (l *listener) tell(ctx context.Context, r forge.Report) error {
	if err := l.source.forge.Report(ctx, l.source.repository, r); err != nil {
		return fmt.Errorf("report to %s: %w", *l.pipeline.RepositoryProvider, err)
	}
	return nil
}

// reportSkip reports to the forge why a commit is not built, and forgets the
// commit. A deployment of the same commit has its own reports.
func (w *Workers) reportSkip(ctx context.Context, id uuid.UUID) error {
	skip, err := w.q.SkipGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the skipped commit: %w", err)
	}
	built, err := w.q.SkipBuilt(ctx, id)
	if err != nil {
		return fmt.Errorf("look for a deployment of the skipped commit: %w", err)
	}
	if !built {
		if err := w.tellSkip(ctx, skip); err != nil {
			return err
		}
	}
	return w.forgetSkip(ctx, id)
}

func (w *Workers) tellSkip(ctx context.Context, skip queries.Skip) error {
	to, err := w.listener(ctx, skip.PipelineID)
	if err != nil || to == nil {
		return err
	}
	r := to.report(skip.ID, skip.CommitSha, forge.Skipped)
	r.DetailsURL, r.Started, r.Ended = to.siteURL, skip.CreatedAt, skip.CreatedAt
	r.Title = "Skipped: " + skip.Reason
	if skip.Preview {
		r.Name += previewCheck
		r.Summary = fmt.Sprintf("This pull request has no preview: %s.", skip.Reason)
		return w.tellForge(ctx, to, r, true)
	}
	r.Summary = fmt.Sprintf("This commit is not deployed: %s. To deploy it all the same: `troy deploy %s --commit %s`.", skip.Reason, to.pipeline.Slug, skip.CommitSha)
	return to.tell(ctx, r)
}

func (w *Workers) forgetSkip(ctx context.Context, id uuid.UUID) error {
	if err := w.q.SkipForget(ctx, id); err != nil {
		return fmt.Errorf("forget the skipped commit: %w", err)
	}
	return nil
}

// told describes a deployment's state in words.
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
		return "Cancelled", causeIn(d, "A user cancelled it.")
	case troy.Superseded:
		return "Superseded", causeIn(d, "A newer commit took its place.")
	}
	return "Failed to deploy", causeIn(d, "It failed.")
}

// causeIn returns a deployment's cause as a sentence in Markdown.
func causeIn(d queries.Deployment, otherwise string) string {
	if d.Cause == "" {
		return otherwise
	}
	first, size := utf8.DecodeRuneInString(d.Cause)
	return markdown(string(unicode.ToUpper(first))+strings.TrimSuffix(d.Cause[size:], ".")) + "."
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
	c.log.Warn("reporting a commit to the forge failed", "subject", c.task.Subject, "cause", cause)
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return w.forgetSkip(ctx, c.task.Subject)
	}
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	return w.reported(ctx, c, d)
}
