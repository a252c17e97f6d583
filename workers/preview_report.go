package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// previewReport makes the forge show the state of a preview: a check on each
// commit, a GitHub deployment for what the preview shows, and the comment on its
// pull request. It removes what is out of date. One row stands for all changes
// of a preview since the last report. A failing report never fails a preview.
func (w *Workers) previewReport(ctx context.Context, c *claim) error {
	v, err := w.q.PreviewGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the preview: %w", err)
	}
	to, err := w.listener(ctx, v.PipelineID)
	if err != nil {
		return err
	}
	if to != nil {
		if to.pipeline.Status == troy.Deleting || to.pipeline.Status == troy.FailedToDelete {
			return nil // the teardown retracts all reports
		}
		to.siteURL = w.cfg.SiteURL(w.deps.Intake.PreviewHost(v.Label, to.pipeline.Slug))
	}
	deployments, err := w.q.PreviewReports(ctx, v.ID)
	if err != nil {
		return fmt.Errorf("read the deployments: %w", err)
	}
	for i, d := range deployments {
		if err := w.tellPreview(ctx, c, to, v, d, i == len(deployments)-1); err != nil {
			return err
		}
	}
	if to != nil {
		over := ""
		if v.ClosedAt != nil {
			over = orElse(v.ClosedCause, "it was closed")
		}
		if err := w.tellApproval(ctx, to, v, over); err != nil {
			return err
		}
		if err := w.comment(ctx, to, v); err != nil {
			return err
		}
	}
	if err := w.q.PreviewRetracted(ctx, v.ID, c.epoch); err != nil {
		return fmt.Errorf("record the end of the reports: %w", err)
	}
	return nil
}

// tellPreview reports a deployment of a preview. If the deployment has ended and
// is neither the newest nor what the preview shows, nothing of it stays beside
// its check.
func (w *Workers) tellPreview(ctx context.Context, c *claim, to *listener, v queries.Preview, d queries.Deployment, newest bool) error {
	shown := v.LiveDeploymentID != nil && *v.LiveDeploymentID == d.ID
	over := d.State.Ended() && (v.ClosedAt != nil || !newest && !shown)
	if to != nil && d.CommitSha != nil {
		r := w.previewReportOf(to, d)
		if deref(d.ReportedState) != string(d.State) {
			if err := w.detailBuild(ctx, d, &r); err != nil {
				return err
			}
			if err := w.tellForge(ctx, to, r, over); err != nil {
				return err
			}
		}
		if pulls, ok := to.source.forge.(forge.PullRequests); ok && over {
			r.Title = "Removed"
			if err := pulls.Retract(ctx, to.source.repository, r); err != nil && !lostAtForge(err) {
				return fmt.Errorf("retract a report: %w", err)
			}
		}
	}
	state := nonEmpty(string(d.State))
	if over || to == nil || d.CommitSha == nil {
		state = nil
	}
	if err := w.q.PreviewReported(ctx, queries.PreviewReportedParams{ID: d.ID, State: state, Epoch: c.epoch}); err != nil {
		return fmt.Errorf("record the report: %w", err)
	}
	return nil
}

// previewCheck ends the names of checks of previews.
const previewCheck = " (preview)"

// previewReportOf makes the report on a deployment with a commit.
func (w *Workers) previewReportOf(to *listener, d queries.Deployment) forge.Report {
	name := to.pipeline.Slug + previewCheck
	r := to.report(d.ID, *d.CommitSha, d.State)
	r.DetailsURL = fmt.Sprintf("%s/pipelines/%s/deployments/%s", w.cfg.URL, to.pipeline.Slug, d.ID)
	r.Name, r.Environment, r.Transient = "Troy: "+name, name, true
	r.Started, r.Ended = timeOf(d.StartedAt), timeOf(d.FinishedAt)
	r.Title, r.Summary = toldPreview(d, to.siteURL)
	return r
}

const (
	// retractTime bounds what a forge may take of one attempt to delete a
	// pipeline.
	retractTime = 30 * time.Second
	// retractPatience is how long the deletion waits for a forge that does not
	// answer, and retractDelay how long it waits before it asks again.
	retractPatience = time.Minute
	retractDelay    = 2 * time.Second
)

// retractPreviews removes what the forge shows beside the checks of a pipeline
// whose status is Deleting, when no worker makes reports on it any more. A forge
// that does not answer keeps the pipeline from being deleted for a minute only.
func (w *Workers) retractPreviews(ctx context.Context, c *claim, p queries.Pipeline) error {
	held, err := w.q.PreviewReportsHeld(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("look for reports on previews: %w", err)
	}
	if held {
		return comeBack(holderDelay, "another worker still reports on a preview")
	}
	deployments, err := w.q.PreviewReportsOfPipeline(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the reported deployments of previews: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, retractTime)
	defer cancel()
	if len(deployments) > 0 {
		err = w.retractAll(bounded, p, deployments)
	}
	err = errors.Join(err, w.retractPullRequests(bounded, p))
	if err == nil {
		return nil
	}
	if !permanent(err) && c.age < retractPatience {
		return comeBack(retractDelay, "the forge has not deleted the deployments of previews: "+sentence(err))
	}
	c.log.Warn("the forge may keep deployments of previews", "pipeline", p.ID, "error", err)
	return nil
}

// retractPullRequests removes a pipeline that is being deleted from the comments
// on pull requests, and ends the checks that wait for an approval.
func (w *Workers) retractPullRequests(ctx context.Context, p queries.Pipeline) error {
	pulls, err := w.q.PullRequestsOpen(ctx, p.ID)
	if err != nil || len(pulls) == 0 {
		return err
	}
	to, err := w.listener(ctx, p.ID)
	if err != nil || to == nil {
		return err
	}
	var errs []error
	for _, row := range pulls {
		v, err := w.q.PreviewOfSource(ctx, queries.PreviewOfSourceParams{
			PipelineID: p.ID, Kind: troy.PullRequestPreview, Source: intake.PullRequestSource(row.RepositoryID, row.Number),
		})
		if err == nil && v.ClosedAt == nil {
			err = errors.Join(w.tellApproval(ctx, to, v, "the pipeline is being deleted"), w.comment(ctx, to, v))
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (w *Workers) retractAll(ctx context.Context, p queries.Pipeline, deployments []queries.Deployment) error {
	to, err := w.listener(ctx, p.ID)
	if err != nil || to == nil {
		return err
	}
	pulls, ok := to.source.forge.(forge.PullRequests)
	if !ok {
		return nil
	}
	var errs []error
	for _, d := range deployments {
		r := w.previewReportOf(to, d)
		r.Title = "Removed"
		if err := pulls.Retract(ctx, to.source.repository, r); err != nil && !lostAtForge(err) {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// tellForge reports a state. A commit that is only in a fork, or in none any
// more, has no place for reports.
func (w *Workers) tellForge(ctx context.Context, to *listener, r forge.Report, over bool) error {
	if over {
		r.Environment = ""
	}
	err := to.tell(ctx, r)
	if lostAtForge(err) {
		return nil
	}
	return err
}

// lostAtForge reports whether the repository or the commit of a report is gone.
func lostAtForge(err error) bool {
	return errors.Is(err, forge.ErrNoCommit) || errors.Is(err, forge.ErrNoRepository)
}

func toldPreview(d queries.Deployment, url string) (title, summary string) {
	if d.State == troy.Succeeded {
		return "Ready", fmt.Sprintf("The preview is at %s (deployment %d).", url, d.Number)
	}
	title, summary = told(d, url)
	if !d.Trusted {
		summary += "\n\nThe author may not push to the repository, so the build gets no variables."
	}
	return title, summary
}

// waitsForApproval reports whether the newest commit of a preview is built only
// after an approval.
func waitsForApproval(v queries.Preview) bool {
	return v.ClosedAt == nil && unapproved(v)
}

// unapproved reports whether the newest commit of a preview needs an approval
// and has none.
func unapproved(v queries.Preview) bool {
	return !v.Trusted && v.HeadCommit != nil && deref(v.ApprovedCommit) != *v.HeadCommit
}

// tellApproval reports that the newest commit waits for an approval, or that it
// does not any more. over says why the preview ends, or is empty.
func (w *Workers) tellApproval(ctx context.Context, to *listener, v queries.Preview, over string) error {
	if !unapproved(v) {
		return nil
	}
	p := to.pipeline
	r := to.report(v.ID, *v.HeadCommit, forge.NeedsApproval)
	r.Name, r.DetailsURL = "Troy: "+p.Slug+previewCheck, fmt.Sprintf("%s/pipelines/%s", w.cfg.URL, p.Slug)
	r.Started, r.Ended = v.PushedAt, v.PushedAt
	if over != "" {
		// Superseded satisfies a required check, as no preview does.
		r.State, r.Title = troy.Cancelled, "Cancelled: "+over
		r.Summary = fmt.Sprintf("Troy does not build this commit: it was not approved, and its preview has ended (%s).", over)
		return w.tellForge(ctx, to, r, true)
	}
	why := "its author may not push to the repository"
	if row, err := w.q.PullRequestOf(ctx, queries.PullRequestOfParams{PipelineID: p.ID, RepositoryID: deref(v.RepositoryID), Number: numberOf(v)}); err == nil {
		why = orElse(row.Decision, why)
	}
	r.Title = "Waiting for an approval"
	r.Summary = fmt.Sprintf("Troy builds this commit once someone who may push to the repository approves it, because %s. Read the changes first. Then press Approve, comment `/troy preview %s`, or run `troy preview approve %s %s --commit %s`. The build gets no variables.",
		why, *v.HeadCommit, p.Slug, v.Label, *v.HeadCommit)
	return w.tellForge(ctx, to, r, true)
}

func numberOf(v queries.Preview) int64 {
	if v.Number == nil {
		return 0
	}
	return *v.Number
}

// comment keeps the one comment on a pull request. It lists the previews of all
// pipelines that comment and are not being deleted, and only the report on the
// first of them writes it. If there are none, the comment is deleted.
func (w *Workers) comment(ctx context.Context, to *listener, v queries.Preview) error {
	pulls, ok := to.source.forge.(forge.PullRequests)
	if !ok || v.Kind != troy.PullRequestPreview || v.RepositoryID == nil || v.Number == nil {
		return nil
	}
	all, err := w.q.PreviewsOfPullRequest(ctx, *v.RepositoryID, *v.Number)
	if err != nil {
		return fmt.Errorf("read the previews of the pull request: %w", err)
	}
	var lines []string
	var first *queries.Preview
	for _, one := range all {
		p, err := w.q.PipelineGet(ctx, one.PipelineID)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the pipeline: %w", err)
		}
		settings, err := settingsOf(p)
		if err != nil {
			return err
		}
		if !settings.CommentPreviews || deref(p.RepositoryID) != *v.RepositoryID || p.Status.InDeletion() {
			continue
		}
		if first == nil {
			first = &one
		}
		if one.ClosedAt == nil {
			line, err := w.commentLine(ctx, p, one)
			if err != nil {
				return err
			}
			lines = append(lines, line)
		}
	}
	if first != nil && first.ID != v.ID {
		// Two workers would write two comments.
		return w.q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypePreviewReport, SubjectID: first.ID})
	}
	if len(lines) == 0 {
		return w.deleteComment(ctx, to, pulls, v, all)
	}
	if err := w.q.PreviewCommented(ctx, true, v.ID); err != nil {
		return fmt.Errorf("record the comment: %w", err)
	}
	return w.writeComment(ctx, to, pulls, v, "| Site | Preview | Commit | State |\n|---|---|---|---|\n"+strings.Join(lines, "\n"))
}

// deleteComment deletes the comment on a pull request if one of its previews may
// have written it.
func (w *Workers) deleteComment(ctx context.Context, to *listener, pulls forge.PullRequests, v queries.Preview, all []queries.Preview) error {
	all = slices.DeleteFunc(all, func(one queries.Preview) bool { return !one.Commented })
	if len(all) == 0 {
		return nil
	}
	if err := w.writeComment(ctx, to, pulls, v, ""); err != nil {
		return err
	}
	for _, one := range all {
		if err := w.q.PreviewCommented(ctx, false, one.ID); err != nil {
			return fmt.Errorf("record that the comment is deleted: %w", err)
		}
	}
	return nil
}

// writeComment writes the comment or, without a text, deletes it.
func (w *Workers) writeComment(ctx context.Context, to *listener, pulls forge.PullRequests, v queries.Preview, text string) error {
	err := pulls.Comment(ctx, to.source.repository, *v.Number, "troy:"+*v.RepositoryID, text)
	if errors.Is(err, forge.ErrForbidden) || errors.Is(err, forge.ErrNoPullRequest) {
		w.log.Warn("the comment on a pull request was not written", "pipeline", to.pipeline.ID, "number", *v.Number, "error", err)
		return nil
	}
	return err
}

func (w *Workers) commentLine(ctx context.Context, p queries.Pipeline, v queries.Preview) (string, error) {
	state, commit := "Waiting for an approval", deref(v.HeadCommit)
	if !waitsForApproval(v) {
		d, err := w.q.PreviewNewest(ctx, v.ID)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return "", fmt.Errorf("read the newest deployment: %w", err)
		}
		state = d.State.String()
		if d.State == troy.Succeeded {
			state = "Ready"
		}
	}
	url := w.cfg.SiteURL(w.deps.Intake.PreviewHost(v.Label, p.Slug))
	return fmt.Sprintf("| %s | %s | `%s` | [%s](%s/pipelines/%s) |", p.Slug, url, commit[:min(7, len(commit))], state, w.cfg.URL, p.Slug), nil
}

// giveUpPreviewReport drops the report; the next change of the preview, or the
// second net, requests another one.
func (w *Workers) giveUpPreviewReport(ctx context.Context, c *claim, cause string) error {
	c.log.Warn("reporting a preview to the forge failed", "subject", c.task.Subject, "cause", cause)
	return nil
}
