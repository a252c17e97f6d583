package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

// PullRequestEvent is what Troy learned of a pull request. It follows from the
// difference from what Troy knew, so a lost delivery is made up for by the next
// one or by the reconciliation.
type PullRequestEvent string

const (
	// PullRequestOpened: it was opened or reopened.
	PullRequestOpened PullRequestEvent = "opened"
	// PullRequestPushed: it has another newest commit.
	PullRequestPushed PullRequestEvent = "pushed"
	// PullRequestReady: it may have a preview now, because it is not a draft any
	// more or the settings changed.
	PullRequestReady PullRequestEvent = "ready"
	// PullRequestEdited: anything else changed, such as the title, the labels
	// or the target branch, or it became a draft.
	PullRequestEdited PullRequestEvent = "edited"
	// PullRequestClosed: it was merged, declined or deleted.
	PullRequestClosed PullRequestEvent = "closed"
)

// PullRequestEvents returns all events.
func PullRequestEvents() []PullRequestEvent {
	return []PullRequestEvent{PullRequestOpened, PullRequestPushed, PullRequestReady, PullRequestEdited, PullRequestClosed}
}

// PullRequestPreview is the state of a pull request's preview.
type PullRequestPreview string

const (
	// PreviewNone: there never was one.
	PreviewNone PullRequestPreview = "none"
	// PreviewOpen: it shows something, or will.
	PreviewOpen PullRequestPreview = "open"
	// PreviewGone: it was deleted, for whatever cause.
	PreviewGone PullRequestPreview = "gone"
)

// PullRequestPreviews returns all states.
func PullRequestPreviews() []PullRequestPreview {
	return []PullRequestPreview{PreviewNone, PreviewOpen, PreviewGone}
}

// PullRequestAction is what Troy does.
type PullRequestAction string

const (
	// PullRequestIgnore does nothing.
	PullRequestIgnore PullRequestAction = "ignore"
	// PullRequestBuild requests a decision about the newest commit, and opens
	// the preview.
	PullRequestBuild PullRequestAction = "build"
	// PullRequestUpdate updates the preview's title and branch.
	PullRequestUpdate PullRequestAction = "update"
	// PullRequestClose closes the preview.
	PullRequestClose PullRequestAction = "close"
)

// pullRequestActions is the table of actions for pull requests that are to have
// previews. A preview that a user deleted, that expired or that made room for
// others comes back with the next commit.
var pullRequestActions = map[PullRequestEvent]map[PullRequestPreview]PullRequestAction{
	PullRequestOpened: {PreviewNone: PullRequestBuild, PreviewOpen: PullRequestBuild, PreviewGone: PullRequestBuild},
	PullRequestPushed: {PreviewNone: PullRequestBuild, PreviewOpen: PullRequestBuild, PreviewGone: PullRequestBuild},
	PullRequestReady:  {PreviewNone: PullRequestBuild, PreviewOpen: PullRequestUpdate, PreviewGone: PullRequestBuild},
	PullRequestEdited: {PreviewNone: PullRequestIgnore, PreviewOpen: PullRequestUpdate, PreviewGone: PullRequestIgnore},
	PullRequestClosed: {PreviewNone: PullRequestIgnore, PreviewOpen: PullRequestClose, PreviewGone: PullRequestIgnore},
}

// ActOnPullRequest returns what an event does to a preview. wanted is false if
// the pipeline's settings give the pull request none.
func ActOnPullRequest(e PullRequestEvent, preview PullRequestPreview, wanted bool) PullRequestAction {
	switch {
	case wanted:
		return pullRequestActions[e][preview]
	case preview == PreviewOpen:
		return PullRequestClose
	}
	return PullRequestIgnore
}

// pullRequestEvent compares what the forge says with what Troy knew.
func pullRequestEvent(known bool, old queries.PullRequest, now troy.PullRequest, wanted bool) PullRequestEvent {
	switch {
	case !now.Open:
		return PullRequestClosed
	case !known || !old.Open:
		return PullRequestOpened
	case !sameHead(old, now):
		return PullRequestPushed
	case wanted && !old.Wanted:
		return PullRequestReady
	}
	return PullRequestEdited
}

// sameHead compares commits of which either may be shortened.
func sameHead(old queries.PullRequest, now troy.PullRequest) bool {
	return now.HeadCommit != "" && (strings.HasPrefix(old.HeadCommit, now.HeadCommit) || old.HeadCommit != "" && strings.HasPrefix(now.HeadCommit, old.HeadCommit))
}

// unwanted says why a pull request has no preview by the settings, or returns "".
func unwanted(p queries.Pipeline, pr troy.PullRequest) (string, error) {
	var settings troy.BuildSettings
	if err := json.Unmarshal(p.BuildSettings, &settings); err != nil {
		return "", fmt.Errorf("read the build settings: %w", err)
	}
	switch {
	case settings.PullRequests == troy.NoPullRequests:
		return "the pipeline's setting pull_requests is none", nil
	case settings.PullRequests == troy.ReadyPullRequests && pr.Draft:
		return "it is a draft, and the pipeline's setting pull_requests is ready", nil
	case settings.SkipBots && pr.Author.Bot:
		return "its author is a bot, and the pipeline's setting skip_bots is on", nil
	}
	return "", nil
}

// pullRequest records a change to a pull request, and acts on it in all
// pipelines of its repository.
func (in *Intake) pullRequest(ctx context.Context, q *queries.Queries, e troy.PullRequest) (Outcome, error) {
	if in.cfg.NoPreviews != "" {
		return ignored(nil, "pull request %d of %s: %s", e.Number, e.Repository.FullName, in.cfg.NoPreviews), nil
	}
	if err := repositorySeen(ctx, q, e.Repository, e.Installation); err != nil {
		return Outcome{}, err
	}
	bound, err := pipelinesOf(ctx, q, e.Repository)
	if err != nil {
		return Outcome{}, err
	}
	var n notes
	for _, one := range bound {
		p, err := q.PipelineLock(ctx, one.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return Outcome{}, fmt.Errorf("lock pipeline %s: %w", one.ID, err)
		}
		if err := in.seePullRequest(ctx, q, p, e, &n); err != nil {
			return Outcome{}, err
		}
	}
	return n.outcome("no pipeline builds " + e.Repository.FullName), nil
}

// seePullRequest records what the forge says of a pull request in one pipeline,
// and acts on it. The pipeline is locked.
func (in *Intake) seePullRequest(ctx context.Context, q *queries.Queries, p queries.Pipeline, e troy.PullRequest, n *notes) error {
	if p.Status.InDeletion() {
		n.add("%s: the pipeline is being deleted", p.Slug)
		return nil
	}
	old, err := q.PullRequestOf(ctx, queries.PullRequestOfParams{PipelineID: p.ID, RepositoryID: e.Repository.ID, Number: e.Number})
	known := err == nil
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read pull request %d: %w", e.Number, err)
	}
	changed := e.Updated
	switch {
	case changed.IsZero():
		changed = time.Now()
	case known && changed.Before(old.ChangedAt.Truncate(time.Second)):
		n.add("%s: a newer delivery about pull request %d was accepted before", p.Slug, e.Number)
		return nil
	}
	v, preview, err := pullRequestPreview(ctx, q, p.ID, e.Repository.ID, e.Number)
	if err != nil {
		return err
	}
	why, err := unwanted(p, e)
	if err != nil {
		return err
	}
	event := pullRequestEvent(known, old, e, why == "")
	action := ActOnPullRequest(event, preview, why == "")
	head := e.HeadCommit
	if known && sameHead(old, e) && len(old.HeadCommit) > len(head) || head == "" {
		head = old.HeadCommit
	}
	row, err := q.PullRequestSee(ctx, queries.PullRequestSeeParams{
		ID: uuid.Must(uuid.NewV7()), PipelineID: p.ID, RepositoryID: e.Repository.ID, Number: e.Number, Title: e.Title, Url: e.URL, Head: e.Head,
		HeadCommit: head, HeadRepository: e.HeadRepository, HeadFullName: e.HeadFullName, Base: e.Base, Draft: e.Draft, Open: e.Open,
		AuthorID: e.Author.ID, Author: e.Author.Name, ChangedAt: changed, Build: action == PullRequestBuild,
		Wanted: why == "", Decision: why,
	})
	if err != nil {
		return fmt.Errorf("record pull request %d: %w", e.Number, err)
	}
	n.add("%s: pull request %d was %s, which asks Troy to %s its preview", p.Slug, e.Number, event, action)
	if why != "" && e.Open && (!known || !old.Open || old.Decision != why || !sameHead(old, e)) {
		if err := unpreviewed(ctx, q, p, head, why); err != nil {
			return err
		}
	}
	if row.Build {
		// A worker that decides at this moment decides about the previous
		// version, which changes nothing.
		if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypePullRequest, SubjectID: row.ID}); err != nil {
			return err
		}
	}
	switch action {
	case PullRequestBuild:
		n.changed, n.pipeline = true, &p.ID
	case PullRequestUpdate:
		return q.PreviewDescribe(ctx, queries.PreviewDescribeParams{ID: v.ID, Title: cut(e.Title), Author: cut(e.Author.Name), Branch: cut(e.Head), Url: e.URL})
	case PullRequestClose:
		n.changed, n.pipeline = true, &p.ID
		cause := fmt.Sprintf("pull request %d was closed", e.Number)
		if why != "" && e.Open {
			cause = fmt.Sprintf("pull request %d has no preview: %s", e.Number, why)
		}
		actor := e.Sender
		if actor != reconciliation || e.Action != "" {
			actor = atForge(e.Sender, string(e.Repository.Provider))
		}
		return in.ClosePreview(ctx, q, p, v, cause, actor)
	}
	return nil
}

func pullRequestPreview(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, repository string, number int64) (queries.Preview, PullRequestPreview, error) {
	v, err := q.PreviewOfSource(ctx, queries.PreviewOfSourceParams{
		PipelineID: pipeline, Kind: troy.PullRequestPreview, Source: PullRequestSource(repository, number),
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return v, PreviewNone, nil
	case err != nil:
		return v, "", fmt.Errorf("read the preview of pull request %d: %w", number, err)
	case v.ClosedAt != nil:
		return v, PreviewGone, nil
	}
	return v, PreviewOpen, nil
}

// PullRequestsFound accepts what the forge answers about the pull requests of a
// pipeline's repository. If the list is complete, before has those that were
// open before the forge was asked. They are closed if the list lacks them, unless
// a delivery changed them meanwhile. It returns how many pull requests differ
// from what was known.
func (in *Intake) PullRequestsFound(ctx context.Context, pipeline uuid.UUID, list []troy.PullRequest, before []queries.PullRequest) (differ int, err error) {
	versions := map[uuid.UUID]int64{}
	for _, row := range before {
		versions[row.ID] = row.Version
	}
	err = in.ChangePreviews(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		differ = 0
		open, err := q.PullRequestsOpen(ctx, pipeline)
		if err != nil {
			return fmt.Errorf("read the open pull requests: %w", err)
		}
		known := map[string]queries.PullRequest{}
		for _, row := range open {
			known[PullRequestSource(row.RepositoryID, row.Number)] = row
		}
		var n notes
		for _, pr := range list {
			id := PullRequestSource(pr.Repository.ID, pr.Number)
			row, found := known[id]
			delete(known, id)
			why, err := unwanted(p, pr)
			if err != nil {
				return err
			}
			if found && unchanged(row, pr) && row.Wanted == (why == "") {
				if err := in.decideAgain(ctx, q, row); err != nil {
					return err
				}
				continue
			}
			differ++
			if err := in.seePullRequest(ctx, q, p, pr, &n); err != nil {
				return err
			}
		}
		for _, row := range known {
			if versions[row.ID] != row.Version {
				continue
			}
			differ++
			if err := in.seePullRequest(ctx, q, p, closed(p, row), &n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("accept the pull requests of pipeline %s: %w", pipeline, err)
	}
	return differ, nil
}

// unchanged reports whether an open pull request is as Troy knows it.
func unchanged(row queries.PullRequest, pr troy.PullRequest) bool {
	return pr.Open && sameHead(row, pr) && row.Draft == pr.Draft && row.Title == pr.Title && row.Url == pr.URL && row.Base == pr.Base && row.Head == pr.Head
}

// decideAgain requests a decision that was given up.
func (in *Intake) decideAgain(ctx context.Context, q *queries.Queries, row queries.PullRequest) error {
	if !row.Build {
		return nil
	}
	_, err := q.WorkRestore(ctx, tasks.TypePullRequest, row.ID)
	return err
}

// reconciliation is the actor of changes that follow from a comparison with the
// forge's list.
const reconciliation = "reconciliation"

// atForge names a user of a forge as an actor. People choose their names at a
// forge, so one must not look like a user of Troy.
func atForge(name, provider string) string { return orUnknown(name) + " at " + provider }

// closed describes a pull request that the forge does not list any more. The
// forge does not say when it was closed, so any later answer about it counts.
func closed(p queries.Pipeline, row queries.PullRequest) troy.PullRequest {
	return troy.PullRequest{
		Repository: troy.ForgeRepository{Provider: troy.Provider(text(nil, p.RepositoryProvider)), ID: row.RepositoryID, FullName: text(nil, p.RepositoryFullName)},
		Number:     row.Number, Title: row.Title, URL: row.Url, Head: row.Head, HeadCommit: row.HeadCommit, HeadRepository: row.HeadRepository,
		HeadFullName: row.HeadFullName, Base: row.Base, Draft: row.Draft, Author: troy.ForgeUser{ID: row.AuthorID, Name: row.Author}, Sender: reconciliation,
		Updated: row.ChangedAt,
	}
}

// command records a comment that asks for a build. A worker asks the forge
// whether its author may.
func (in *Intake) command(ctx context.Context, q *queries.Queries, e troy.PullRequestCommand) (Outcome, error) {
	bound, err := pipelinesOf(ctx, q, e.Repository)
	if err != nil {
		return Outcome{}, err
	}
	var n notes
	for _, p := range bound {
		row, err := q.PullRequestOf(ctx, queries.PullRequestOfParams{PipelineID: p.ID, RepositoryID: e.Repository.ID, Number: e.Number})
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return Outcome{}, err
		}
		added, err := q.PullRequestCommandAdd(ctx, queries.PullRequestCommandAddParams{
			ID: uuid.Must(uuid.NewV7()), PullRequestID: row.ID, AuthorID: e.Author.ID, Author: e.Author.Name, CommitSha: e.Commit, WrittenAt: e.Time,
		})
		if err != nil {
			return Outcome{}, err
		}
		if added == 0 {
			n.add("%s: too many commands on pull request %d wait", p.Slug, e.Number)
			continue
		}
		if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypePullRequest, SubjectID: row.ID}); err != nil {
			return Outcome{}, err
		}
		n.changed, n.pipeline = true, &p.ID
		n.add("%s: %s asks for the preview of pull request %d", p.Slug, orUnknown(e.Author.Name), e.Number)
	}
	return n.outcome(fmt.Sprintf("no pipeline previews pull request %d of %s", e.Number, e.Repository.FullName)), nil
}

// externalID returns the id that Troy gave to a check. ours is false if the check
// is not Troy's.
func externalID(e troy.Rerequest) (id uuid.UUID, ours bool) {
	id, err := uuid.Parse(e.ExternalID)
	return id, err == nil
}

// pressed turns the button of a check that waits for an approval into a command.
// It returns false if the check is not one of a preview.
func pressed(ctx context.Context, q *queries.Queries, e troy.Rerequest) (troy.PullRequestCommand, bool, error) {
	id, ours := externalID(e)
	if !ours {
		return troy.PullRequestCommand{}, false, nil
	}
	v, err := q.PreviewGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (v.Number == nil || v.RepositoryID == nil || *v.RepositoryID != e.Repository.ID) {
		return troy.PullRequestCommand{}, false, nil
	}
	if err != nil {
		return troy.PullRequestCommand{}, false, err
	}
	return troy.PullRequestCommand{
		Repository: e.Repository, Installation: e.Installation, Number: *v.Number, Author: troy.ForgeUser{Name: e.Sender}, Commit: e.Commit, Time: time.Now(),
	}, true, nil
}

// rerunPreview builds the commit of a preview's deployment again after a user
// pressed the re-run button of its check. It returns false if the check is not
// one of a preview's deployment.
func (in *Intake) rerunPreview(ctx context.Context, q *queries.Queries, e troy.Rerequest) (out Outcome, ofPreview bool, err error) {
	id, ours := externalID(e)
	if !ours {
		return out, false, nil
	}
	d, err := q.DeploymentGet(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && d.PreviewID == nil {
		return out, false, nil
	}
	if err != nil {
		return out, false, fmt.Errorf("read deployment %s: %w", id, err)
	}
	p, err := lock(ctx, q, d.PipelineID)
	if err != nil {
		return out, true, err
	}
	if text(nil, p.RepositoryID) != e.Repository.ID {
		return out, false, nil
	}
	v, err := q.PreviewGet(ctx, *d.PreviewID)
	if err != nil {
		return out, true, fmt.Errorf("read the preview of deployment %d: %w", d.Number, err)
	}
	newest, err := q.PreviewNewest(ctx, v.ID)
	if err != nil {
		return out, true, fmt.Errorf("read the newest deployment of the preview %s: %w", v.Label, err)
	}
	// The head of a pull request has no deployment before it is approved. The head
	// of a branch is known only from its newest deployment.
	older := text(nil, d.CommitSha) != text(nil, newest.CommitSha) || v.Kind == troy.PullRequestPreview && text(nil, d.CommitSha) != text(nil, v.HeadCommit)
	switch {
	case !d.State.Ended():
		return ignored(&p.ID, "%s: deployment %d has not ended yet", p.Slug, d.Number), true, nil
	case older:
		return ignored(&p.ID, "%s: commit %s is not the newest of the preview %s", p.Slug, short(e.Commit), v.Label), true, nil
	}
	made, err := in.retryPreview(ctx, q, p, d, "re-run by "+orUnknown(e.Sender))
	if troy.KindOf(err) == troy.Conflict {
		return ignored(&p.ID, "%s: %s", p.Slug, err.Error()), true, nil
	}
	if err != nil {
		return out, true, err
	}
	return Outcome{Result: Accepted, Detail: fmt.Sprintf("%s: commit %s is queued again as deployment %d", p.Slug, short(e.Commit), made.Number), PipelineID: &p.ID}, true, nil
}
