package intake

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
	"github.com/troy-iaas/troy/watch"
)

// Accepted: a forge's event was accepted and changed something.
const Accepted Result = "accepted"

// Delivery is one verified message from a forge.
type Delivery struct {
	Provider troy.Provider
	ID       string // the forge's delivery id; repeated when it is sent again
	Type     string // the forge's name of the event
	// BodySHA256 is set for pushes: ids are not signed, so the same body under
	// another id is the same push.
	BodySHA256 []byte
}

// ForgeEvent accepts a forge's event in one transaction. Repeating a delivery
// changes nothing.
func (in *Intake) ForgeEvent(ctx context.Context, d Delivery, e troy.ForgeEvent) (Outcome, error) {
	var out Outcome
	var err error
	if pushes, ok := e.(troy.PushEvent); ok {
		out, err = in.pushes.take(ctx, d, pushes)
	} else {
		out, err = in.takeEvent(ctx, d, e)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("accept %s delivery %s: %w", d.Provider, d.ID, err)
	}
	if out.Result == Accepted || out.asked {
		in.ask(out.first)
	}
	return out, nil
}

func (in *Intake) takeEvent(ctx context.Context, d Delivery, e troy.ForgeEvent) (out Outcome, err error) {
	err = pgx.BeginFunc(ctx, in.db, func(tx pgx.Tx) error {
		q := queries.New(tx)
		fresh, err := in.recordDelivery(ctx, q, queries.DeliveryRecordParams{Source: string(d.Provider), ID: d.ID, Type: d.Type, BodySha256: d.BodySHA256})
		if err == nil && !fresh {
			out = heardBefore()
			return nil
		}
		if err != nil {
			return err
		}
		if out, err = in.forgeEvent(ctx, q, e); err != nil {
			return err
		}
		return q.DeliverySettle(ctx, settled(d, out))
	})
	return out, err
}

func heardBefore() Outcome {
	return Outcome{Result: Duplicate, Detail: "the delivery was accepted before"}
}

func settled(d Delivery, out Outcome) queries.DeliverySettleParams {
	return queries.DeliverySettleParams{
		Source: string(d.Provider), ID: d.ID, Outcome: string(out.Result), Detail: out.Detail, PipelineID: out.PipelineID,
	}
}

func (in *Intake) forgeEvent(ctx context.Context, q *queries.Queries, e troy.ForgeEvent) (Outcome, error) {
	switch e := e.(type) {
	case troy.InstallationChange:
		return installationChanged(ctx, q, e)
	case troy.RepositoryChange:
		return repositoryChanged(ctx, q, e)
	case troy.Rerequest:
		c, ofPreview, err := pressed(ctx, q, e)
		switch {
		case err != nil:
			return Outcome{}, err
		case ofPreview:
			return in.command(ctx, q, c)
		}
		if out, ofPreview, err := in.rerunPreview(ctx, q, e); ofPreview || err != nil {
			return out, err
		}
		return rerequested(ctx, q, e)
	case troy.PullRequest:
		return in.pullRequest(ctx, q, e)
	case troy.PullRequestCommand:
		return in.command(ctx, q, e)
	case troy.Ping:
		return ignored(nil, "the webhook works"), nil
	case troy.Ignored:
		return ignored(nil, "%s", e.Reason), nil
	}
	return Outcome{}, fmt.Errorf("unknown forge event %T", e)
}

// notes collects descriptions of what an event did.
type notes struct {
	lines    []string
	changed  bool
	asked    bool   // for work; may be true where nothing changed
	first    string // the queue to ring first
	pipeline *uuid.UUID
}

func (n *notes) add(format string, args ...any) {
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) outcome(nothing string) Outcome {
	out := Outcome{Result: Ignored, Detail: strings.Join(n.lines, "; "), PipelineID: n.pipeline, asked: n.asked, first: n.first}
	if n.changed {
		out.Result = Accepted
	}
	if out.Detail == "" {
		out.Detail = nothing
	}
	return out
}

// branchGone is the problem of a pipeline whose branch does not exist. Problems
// with this prefix end when the branch is found.
func branchGone(branch string) string {
	return fmt.Sprintf("the branch %s does not exist in the repository; push it again, or choose another", branch)
}

// BranchFound records whether a pipeline's branch exists. While it does not,
// the pipeline has a problem.
func (in *Intake) BranchFound(ctx context.Context, pipeline uuid.UUID, branch string, found bool) error {
	problem := ""
	if !found {
		problem = branchGone(branch)
	}
	err := in.locked(ctx, pipeline, func(q *queries.Queries, _ queries.Pipeline) error {
		_, err := q.PipelineBranchProblem(ctx, problem, pipeline)
		return err
	})
	return err
}

// BranchProblem reports whether a problem is a missing branch. The branch may
// come back at any time, so it is still polled.
func BranchProblem(problem string) bool { return strings.HasPrefix(problem, "the branch ") }

// branchOf returns the branch that a pipeline builds.
func branchOf(p queries.Pipeline, defaultBranch string) string {
	if p.RepositoryBranch != nil && *p.RepositoryBranch != "" {
		return *p.RepositoryBranch
	}
	return defaultBranch
}

// notBuilt explains why a push does not make a deployment of a pipeline; it
// returns the empty string if it does.
func notBuilt(p queries.Pipeline, defaultBranch string, push troy.Push) string {
	branch := branchOf(p, defaultBranch)
	switch {
	case push.Kind == troy.Tag:
		return fmt.Sprintf("the tag %s is not built", push.Name)
	case push.Deleted:
		return fmt.Sprintf("the branch %s was deleted", push.Name)
	case branch == "":
		return "its production branch is not known"
	case push.Name != branch:
		return fmt.Sprintf("the push is to the branch %s, but the pipeline builds %s", push.Name, branch)
	case p.Status.InDeletion():
		return "the pipeline is " + p.Status.String()
	case p.SourceProblem != "":
		return p.SourceProblem
	case p.HeadCommit != nil && *p.HeadCommit == push.After:
		return "the commit is already known"
	}
	return ""
}

// skipReason explains why a push to a pipeline's branch is skipped; it returns
// the empty string if the push is built. The forge gets the reason, since a
// user may wait for the commit's check.
func skipReason(p queries.Pipeline, push troy.Push) string {
	switch {
	case push.Skip != "":
		return push.Skip
	}
	return Unconcerned(p, push.Paths, push.PathsComplete)
}

// WatchesAll reports whether any changed file concerns a pipeline.
func WatchesAll(p queries.Pipeline) bool {
	return len(p.WatchPaths) == 0 && watchedFolder(p) == "" && len(p.Unwatched) == 0
}

// Watches reports whether one of the changed files concerns a pipeline. If the
// list is not complete, it returns true.
func Watches(p queries.Pipeline, paths []string, complete bool) bool {
	return Unconcerned(p, paths, complete) == ""
}

// Unconcerned explains why none of the changed files concerns a pipeline; it
// returns the empty string if one does or the list is not complete.
func Unconcerned(p queries.Pipeline, paths []string, complete bool) string {
	if !complete {
		return ""
	}
	const none = "no file that the pipeline watches changed"
	var in []string
	if !watch.Includes(p.WatchPaths) && len(paths) > 0 {
		if paths, in = watch.Unwatched(unwatched(p), paths); len(paths) == 0 {
			const shown = 3
			names := strings.Join(in[:min(shown, len(in))], ", ")
			if more := len(in) - shown; more > 0 {
				names += fmt.Sprintf(" and %d more", more)
			}
			return "only parts of the workspace changed that the site does not use: " + names
		}
	}
	switch root := watchedFolder(p); {
	case watch.Concerns(p.WatchPaths, root, paths, complete):
		return ""
	case len(p.WatchPaths) == 0 && len(in) == 0:
		return "no file in the folder " + root + " changed"
	}
	return none
}

// unwatched is what the newest build found in the workspace that does not
// concern the site. It is out of date if it includes the root folder.
func unwatched(p queries.Pipeline) []string {
	root := path.Clean(text(nil, p.RepositoryRoot))
	if _, in := watch.Unwatched(p.Unwatched, []string{root}); len(in) > 0 {
		return nil
	}
	return p.Unwatched
}

// watchedFolder is what a pipeline without patterns watches: its root folder
// or, if that is a member of a workspace, the whole workspace, apart from what
// is recorded as unwatched: its lockfile and its other packages may be part of
// the site.
func watchedFolder(p queries.Pipeline) string {
	root := text(nil, p.RepositoryRoot)
	switch {
	case root == "" || p.Workspace == ".":
		return ""
	case p.Workspace != "" && strings.HasPrefix(root, p.Workspace+"/"):
		// The root folder may have changed since the workspace was found.
		return p.Workspace
	}
	return root
}

func installationChanged(ctx context.Context, q *queries.Queries, e troy.InstallationChange) (Outcome, error) {
	state, problem := "active", ""
	switch e.Action {
	case troy.InstallationDeleted:
		state, problem = "deleted", fmt.Sprintf("the GitHub app was uninstalled from %s", e.Account)
	case troy.InstallationSuspended:
		state, problem = "suspended", fmt.Sprintf("the GitHub app is suspended for %s", e.Account)
	}
	if err := q.InstallationSeen(ctx, queries.InstallationSeenParams{
		Provider: string(e.Provider), ID: e.ID, Account: e.Account, State: state,
	}); err != nil {
		return Outcome{}, err
	}
	for _, r := range e.Added {
		if e.Action == troy.InstallationDeleted {
			// The event lists the repositories of its installation. If the app
			// was installed again and this event is late, another installation
			// may have them by now.
			break
		}
		if err := repositorySeen(ctx, q, r, e.ID); err != nil {
			return Outcome{}, err
		}
		if _, err := pipelinesOf(ctx, q, r); err != nil {
			return Outcome{}, err
		}
	}
	n, err := q.PipelinesOfInstallationProblem(ctx, queries.PipelinesOfInstallationProblemParams{
		Problem: problem, Provider: string(e.Provider), InstallationID: e.ID,
	})
	if err != nil {
		return Outcome{}, err
	}
	for _, r := range e.Removed {
		if err := q.RepositoryLeft(ctx, queries.RepositoryLeftParams{Provider: string(r.Provider), ID: r.ID, InstallationID: e.ID}); err != nil {
			return Outcome{}, err
		}
		gone, err := q.PipelinesSourceProblem(ctx, queries.PipelinesSourceProblemParams{
			Problem: "the GitHub app has no access to " + r.FullName + " any more", Provider: string(r.Provider), RepositoryID: r.ID,
		})
		if err != nil {
			return Outcome{}, err
		}
		n += gone
	}
	return Outcome{Result: Accepted, Detail: fmt.Sprintf("installation %s: %s, %s added, %d removed, %s notified", e.ID, e.Action, troy.Count(len(e.Added), "repository", "repositories"), len(e.Removed), troy.Count(n, "pipeline", "pipelines"))}, nil
}

func repositoryChanged(ctx context.Context, q *queries.Queries, e troy.RepositoryChange) (Outcome, error) {
	if err := repositorySeen(ctx, q, e.Repository, e.Installation); err != nil {
		return Outcome{}, err
	}
	bound, err := pipelinesOf(ctx, q, e.Repository)
	if err != nil {
		return Outcome{}, err
	}
	if e.Action == troy.RepositoryDeleted {
		if _, err := q.PipelinesSourceProblem(ctx, queries.PipelinesSourceProblemParams{
			Problem: "the repository " + e.Repository.FullName + " was deleted", Provider: string(e.Repository.Provider), RepositoryID: e.Repository.ID,
		}); err != nil {
			return Outcome{}, err
		}
	}
	if len(bound) == 0 {
		return ignored(nil, "no pipeline builds %s", e.Repository.FullName), nil
	}
	return Outcome{Result: Accepted, Detail: fmt.Sprintf("%s: %s, %s notified", e.Repository.FullName, e.Action, troy.Count(len(bound), "pipeline", "pipelines")), PipelineID: &bound[0].ID}, nil
}

// rerequested deploys a commit again after a user pressed the re-run button.
func rerequested(ctx context.Context, q *queries.Queries, e troy.Rerequest) (Outcome, error) {
	bound, err := pipelinesOf(ctx, q, e.Repository)
	if err != nil {
		return Outcome{}, err
	}
	var n notes
	for _, p := range bound {
		last, err := q.DeploymentOfCommit(ctx, p.ID, e.Commit)
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return Outcome{}, err
		}
		if e.ExternalID != "" && e.ExternalID != last.ID.String() {
			if id, err := uuid.Parse(e.ExternalID); err == nil {
				if d, err := q.DeploymentGet(ctx, id); err == nil && d.PipelineID != p.ID {
					continue
				}
			}
		}
		p, err := q.PipelineLock(ctx, p.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // deleted meanwhile
		}
		if err != nil {
			return Outcome{}, fmt.Errorf("lock pipeline %s: %w", last.PipelineID, err)
		}
		switch {
		case p.SourceProblem != "":
			n.add("%s: %s", p.Slug, p.SourceProblem)
			continue
		case p.LockedAt != nil:
			n.add("%s: %s", p.Slug, lockedBy(p))
			continue
		}
		newer, err := q.DeploymentNewerCommit(ctx, p.ID, last.ID)
		if err == nil {
			// The commit's check gets the reason too.
			if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeReport, SubjectID: last.ID}); err != nil {
				return Outcome{}, err
			}
			n.changed, n.pipeline = true, &p.ID
			n.add("%s: commit %s is not built again, because deployment %d has a newer one; to go back to it, promote deployment %d", p.Slug, short(e.Commit), newer, last.Number)
			continue
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return Outcome{}, err
		}
		id, err := buildAgain(ctx, q, last, "re-run at GitHub", "re-run by "+orUnknown(e.Sender))
		if errors.Is(err, pgx.ErrNoRows) {
			n.add("%s: the pipeline is being deleted", p.Slug)
			continue
		}
		if err != nil {
			return Outcome{}, err
		}
		made, err := q.DeploymentGet(ctx, id)
		if err != nil {
			return Outcome{}, err
		}
		n.changed, n.pipeline = true, &p.ID
		n.add("%s: commit %s is queued again as deployment %d", p.Slug, short(e.Commit), made.Number)
	}
	return n.outcome("no pipeline has deployed commit " + short(e.Commit)), nil
}

// buildAgain makes a new deployment of the commit of an earlier one. It returns
// Conflict if that was built from an upload.
func buildAgain(ctx context.Context, q *queries.Queries, d queries.Deployment, cause, actor string) (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return id, err
	}
	if gone, err := uploaded(ctx, q, d.ID); err != nil {
		return id, err
	} else if gone {
		return id, troy.Errorf(troy.Conflict, "the source of deployment %d was uploaded and is not kept; upload it again: troy deploy P --upload PATH", d.Number)
	}
	return q.DeploymentCreate(ctx, queries.DeploymentCreateParams{
		ID: id, TreeID: id, PipelineID: d.PipelineID, Kind: troy.Automated, SourceDeploymentID: &d.ID, CommitSha: d.CommitSha,
		Branch: d.Branch, Author: d.Author, Message: d.Message, Actor: actor, Cause: cause,
	})
}

func repositorySeen(ctx context.Context, q *queries.Queries, r troy.ForgeRepository, installation string) error {
	var of *string
	if installation != "" {
		of = &installation
		if err := q.InstallationKnown(ctx, string(r.Provider), installation); err != nil {
			return err
		}
	}
	return q.RepositorySeen(ctx, queries.RepositorySeenParams{
		Provider: string(r.Provider), ID: r.ID, FullName: r.FullName, DefaultBranch: r.DefaultBranch, InstallationID: of,
	})
}

// pipelinesOf reads the pipelines of a repository, and records the repository's
// id and current name in them.
func pipelinesOf(ctx context.Context, q *queries.Queries, r troy.ForgeRepository) ([]queries.Pipeline, error) {
	bound, err := q.PipelinesOfRepository(ctx, queries.PipelinesOfRepositoryParams{
		Provider: string(r.Provider), RepositoryID: r.ID, FullName: r.FullName,
	})
	if err != nil {
		return nil, err
	}
	for _, p := range bound {
		if err := q.PipelineBindRepository(ctx, queries.PipelineBindRepositoryParams{RepositoryID: r.ID, FullName: r.FullName, ID: p.ID}); err != nil {
			return nil, err
		}
	}
	return bound, nil
}

// short abbreviates a commit id.
func short(commit string) string { return commit[:min(7, len(commit))] }

func orUnknown(name string) string {
	if name == "" {
		return "someone"
	}
	return name
}
