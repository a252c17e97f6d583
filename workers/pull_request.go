package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// pullRequest decides about the newest commit of a pull request: it asks the
// forge for the commit and whether its author may push to the repository, and
// requests the build of a preview. Then it answers commands in comments.
func (w *Workers) pullRequest(ctx context.Context, c *claim) error {
	row, err := w.q.PullRequestGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the pull request: %w", err)
	}
	p, err := w.q.PipelineGet(ctx, row.PipelineID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && p.Status.InDeletion() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the pipeline: %w", err)
	}
	if deref(p.RepositoryID) != row.RepositoryID {
		// The pipeline's repository does not have the commit, so it gets no report.
		return w.deps.Intake.PullRequestDecided(ctx, row.PipelineID, intake.PullRequestDecision{
			ID: row.ID, Version: row.Version, Skip: "the pipeline builds another repository", Source: intake.PreviewSource{Number: row.Number},
		})
	}
	pulls, ok := w.deps.Forges[troy.Provider(deref(p.RepositoryProvider))].(forge.PullRequests)
	if !ok || w.deps.Builder == nil {
		return w.decide(ctx, row, intake.PullRequestDecision{Skip: "this installation can't build pull requests"})
	}
	s, err := w.sourceOf(ctx, p)
	if err != nil {
		return err
	}
	if row.Build {
		if err := w.judgePullRequest(ctx, c, row, p, s, pulls); err != nil {
			return err
		}
	}
	return w.answerCommands(ctx, c, row, p, s, pulls)
}

func (w *Workers) decide(ctx context.Context, row queries.PullRequest, d intake.PullRequestDecision) error {
	d.ID, d.Version, d.Source.Number = row.ID, row.Version, row.Number
	d.Head = orElse(d.Head, row.HeadCommit)
	return w.deps.Intake.PullRequestDecided(ctx, row.PipelineID, d)
}

// judgePullRequest asks the forge about a pull request, since a delivery may be
// late or out of order.
func (w *Workers) judgePullRequest(ctx context.Context, c *claim, row queries.PullRequest, p queries.Pipeline, s source, pulls forge.PullRequests) error {
	pr, err := pulls.PullRequest(ctx, s.repository, row.Number)
	if errors.Is(err, forge.ErrNoPullRequest) {
		pr, err = troy.PullRequest{Repository: troy.ForgeRepository{Provider: troy.Provider(*p.RepositoryProvider), ID: row.RepositoryID}, Number: row.Number, Head: row.Head, Base: row.Base, Updated: row.ChangedAt}, nil
	}
	if err != nil {
		return fmt.Errorf("read pull request %d: %w", row.Number, err)
	}
	if !pr.Open {
		_, err := w.deps.Intake.PullRequestsFound(ctx, p.ID, []troy.PullRequest{pr}, nil)
		return err
	}
	if pr.HeadRepository == "" && *p.RepositoryProvider == string(troy.Bitbucket) {
		return w.decide(ctx, row, intake.PullRequestDecision{Skip: "the repository of its source branch was deleted"})
	}
	commit, err := s.forge.Commit(ctx, headSource(s, p, pr.HeadRepository, pr.HeadFullName), pr.HeadCommit)
	if err != nil {
		return fmt.Errorf("read commit %s of pull request %d: %w", pr.HeadCommit, row.Number, err)
	}
	if why, err := w.unwatched(ctx, row, p, s, pr, commit.ID); err != nil || why != "" {
		if err != nil {
			return err
		}
		return w.decide(ctx, row, intake.PullRequestDecision{Skip: why, Head: commit.ID})
	}
	trusted, why, err := trust(ctx, pulls, s, pr)
	if err != nil {
		return err
	}
	c.log.Info("decided about a pull request", "pipeline", p.ID, "number", row.Number, "commit", commit.ID, "trusted", trusted, "why", why)
	err = w.decide(ctx, row, intake.PullRequestDecision{
		Why: why,
		Source: intake.PreviewSource{
			Kind: troy.PullRequestPreview, RepositoryID: row.RepositoryID, Branch: pr.Head, Title: pr.Title, Author: pr.Author.Name, URL: pr.URL, Trusted: trusted,
		},
		Commit: intake.PreviewCommit{Commit: commit.ID, Branch: pr.Head, Author: commit.Author, Message: commit.Message},
	})
	if errors.Is(err, intake.ErrNoRoom) {
		return w.decide(ctx, row, intake.PullRequestDecision{Skip: err.Error(), Head: commit.ID})
	}
	return err
}

// headSource returns the repository in which the commits of a pull request's
// source branch are. GitHub has them in the target repository too, as
// refs/pull/N/head, whatever becomes of a fork.
func headSource(s source, p queries.Pipeline, id, fullName string) forge.Repository {
	if *p.RepositoryProvider == string(troy.Bitbucket) && id != "" && id != s.repository.ID {
		return forge.Repository{Installation: s.repository.Installation, ID: id, FullName: fullName}
	}
	return s.repository
}

// trust reports whether the code of a pull request is that of people who may
// push to the repository, and why. Not only the author has to be one of them,
// but all who may push to the source branch. A fork's owner, also one who may
// push to the repository, lets others push to the fork, and the forges don't
// tell whom.
func trust(ctx context.Context, pulls forge.PullRequests, s source, pr troy.PullRequest) (trusted bool, why string, err error) {
	author := orElse(pr.Author.Name, "the author")
	may, err := pulls.MayWrite(ctx, s.repository, pr.Author)
	switch {
	case errors.Is(err, forge.ErrForbidden):
		return false, fmt.Sprintf("Troy's credentials don't allow it to ask whether %s may push to %s", author, s.repository.FullName), nil
	case err != nil:
		return false, "", fmt.Errorf("ask whether %s may push: %w", author, err)
	case !may:
		return false, fmt.Sprintf("%s may not push to %s", author, s.repository.FullName), nil
	case pr.Fork && pr.HeadFullName == "":
		return false, "its source branch is in a deleted fork", nil
	case pr.Fork:
		return false, fmt.Sprintf("its source branch is in the fork %s, to which others may push", pr.HeadFullName), nil
	}
	return true, fmt.Sprintf("%s may push to %s", author, s.repository.FullName), nil
}

// unwatched says why a pull request changes nothing that the pipeline watches,
// or returns "". A pull request that has a preview keeps it.
func (w *Workers) unwatched(ctx context.Context, row queries.PullRequest, p queries.Pipeline, s source, pr troy.PullRequest, commit string) (string, error) {
	v, err := w.q.PreviewOfSource(ctx, queries.PreviewOfSourceParams{
		PipelineID: p.ID, Kind: troy.PullRequestPreview, Source: intake.PullRequestSource(row.RepositoryID, row.Number),
	})
	if err == nil && v.ClosedAt == nil {
		return "", nil
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("read the preview: %w", err)
	}
	if intake.WatchesAll(p) {
		return "", nil
	}
	base, err := s.forge.Head(ctx, s.repository, pr.Base)
	if err != nil {
		w.log.Warn("reading the target branch of a pull request failed; it is built", "number", row.Number, "error", err)
		return "", nil
	}
	paths, complete := w.changed(ctx, s, base, commit)
	return intake.Unconcerned(p, paths, complete), nil
}

// answerCommands approves commits for people who may push to the repository.
func (w *Workers) answerCommands(ctx context.Context, c *claim, row queries.PullRequest, p queries.Pipeline, s source, pulls forge.PullRequests) error {
	commands, err := w.q.PullRequestCommands(ctx, row.ID)
	if err != nil {
		return fmt.Errorf("read the commands: %w", err)
	}
	for _, command := range commands {
		author := troy.ForgeUser{ID: command.AuthorID, Name: command.Author}
		may, err := pulls.MayWrite(ctx, s.repository, author)
		if err != nil && !errors.Is(err, forge.ErrForbidden) {
			return fmt.Errorf("ask whether %s may push: %w", command.Author, err)
		}
		if may {
			err = w.obey(ctx, row, p, command)
		} else {
			err = troy.Errorf(troy.Forbidden, "%s may not push to %s", command.Author, s.repository.FullName)
		}
		if err != nil && !refused(err) {
			return err
		}
		c.log.Info("answered a command", "pipeline", p.ID, "number", row.Number, "author", command.Author, "refused", err)
		if err := w.q.PullRequestCommandRemove(ctx, command.ID); err != nil {
			return fmt.Errorf("remove the command: %w", err)
		}
	}
	return nil
}

// refused reports whether an error is an answer, so that a retry is of no use.
func refused(err error) bool {
	switch troy.KindOf(err) {
	case troy.Forbidden, troy.Conflict, troy.Moved, troy.NotFound, troy.Invalid:
		return true
	}
	return false
}

// obey approves the commit that a comment names, or the newest one that its
// author could see. An abbreviated id does not prove which commit its author
// saw: a stranger can make another one that begins with the same digits.
func (w *Workers) obey(ctx context.Context, row queries.PullRequest, p queries.Pipeline, command queries.PullRequestCommand) error {
	v, err := w.q.PreviewOfSource(ctx, queries.PreviewOfSourceParams{
		PipelineID: p.ID, Kind: troy.PullRequestPreview, Source: intake.PullRequestSource(row.RepositoryID, row.Number),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return troy.Errorf(troy.NotFound, "pull request %d has no preview", row.Number)
	}
	if err != nil {
		return fmt.Errorf("read the preview: %w", err)
	}
	head := deref(v.HeadCommit)
	switch {
	case command.CommitSha != "" && !strings.HasPrefix(head, command.CommitSha):
		return troy.Errorf(troy.Moved, "the newest commit of pull request %d is %s, not %s", row.Number, head, command.CommitSha)
	case command.CommitSha != head && (!strings.HasPrefix(head, row.HeadCommit) || !command.WrittenAt.After(row.HeadAt)):
		// The forge may have answered with a commit whose delivery, and so
		// whose time, has not come yet.
		return troy.Errorf(troy.Moved, "commit %s may have been pushed after the comment", head)
	}
	return w.deps.Intake.ApprovePreview(ctx, p.ID, v.Label, head, orElse(command.Author, "a collaborator")+" at "+*p.RepositoryProvider)
}

// giveUpPullRequest records why there is no decision. The reconciliation with
// the forge requests another one.
func (w *Workers) giveUpPullRequest(ctx context.Context, c *claim, cause string) error {
	c.log.Warn("deciding about a pull request failed", "subject", c.task.Subject, "cause", cause)
	row, err := w.q.PullRequestGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the pull request: %w", err)
	}
	_, err = w.q.PullRequestDecide(ctx, queries.PullRequestDecideParams{ID: row.ID, Version: row.Version, Build: row.Build, Decision: cause})
	return err
}

// lookAtPullRequests compares the open pull requests of a pipeline's repository
// with those that Troy knows, so that a lost delivery is made up for.
func (w *Workers) lookAtPullRequests(ctx context.Context, c *claim, p queries.Pipeline) error {
	pulls, ok := w.deps.Forges[troy.Provider(deref(p.RepositoryProvider))].(forge.PullRequests)
	if !ok || w.deps.Cloud.Previews == nil || w.deps.Builder == nil {
		return nil
	}
	s, err := w.sourceOf(ctx, p)
	if err != nil {
		return err
	}
	before, err := w.q.PullRequestsOpen(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("read the open pull requests: %w", err)
	}
	list, err := pulls.OpenPullRequests(ctx, s.repository)
	if err != nil {
		return fmt.Errorf("list the open pull requests: %w", err)
	}
	if !list.Complete {
		before = nil
	}
	if len(list.Unreadable) > 0 {
		c.log.Warn("the forge's descriptions of some pull requests are invalid; they stay as they are", "pipeline", p.ID, "numbers", list.Unreadable)
		before = slices.DeleteFunc(before, func(row queries.PullRequest) bool {
			return row.RepositoryID == s.repository.ID && slices.Contains(list.Unreadable, row.Number)
		})
	}
	before, err = w.confirmClosed(ctx, c, s, pulls, &list, before)
	if err != nil {
		return err
	}
	differ, err := w.deps.Intake.PullRequestsFound(ctx, p.ID, list.Open, before)
	if differ > 0 {
		c.log.Info("found pull requests that no webhook reported", "pipeline", p.ID, "pull_requests", differ)
	}
	return err
}

// maxConfirmations is how many pull requests a comparison looks up one by one.
const maxConfirmations = 100

// confirmClosed looks up the pull requests that the forge's list lacks, and
// returns those that are to be closed if it does. The list has several pages: a
// pull request that is closed between two of them hides another one.
func (w *Workers) confirmClosed(ctx context.Context, c *claim, s source, pulls forge.PullRequests, list *forge.PullRequestList, before []queries.PullRequest) (confirmed []queries.PullRequest, err error) {
	listed := map[int64]bool{}
	for _, pr := range list.Open {
		listed[pr.Number] = true
	}
	asked := 0
	for _, row := range before {
		switch {
		case row.RepositoryID != s.repository.ID || listed[row.Number]:
			confirmed = append(confirmed, row)
			continue
		case asked == maxConfirmations:
			continue // the next comparison asks
		}
		asked++
		pr, err := pulls.PullRequest(ctx, s.repository, row.Number)
		switch {
		case errors.Is(err, forge.ErrNoPullRequest) || err == nil && !pr.Open:
			confirmed = append(confirmed, row)
		case err == nil:
			list.Open = append(list.Open, pr)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		default:
			c.log.Warn("looking up a pull request that the forge's list lacks failed; it stays as it is", "pipeline", row.PipelineID, "number", row.Number, "error", err)
		}
	}
	return confirmed, nil
}
