package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// Defaults of Config's settings of previews.
const (
	PreviewsExpire = 14 * 24 * time.Hour
	MaxPreviews    = 50
)

// maxPreviewText is the maximum length of a title or a name from a forge, in
// bytes. Longer ones are cut.
const maxPreviewText = 300

// PreviewSource is what a preview shows.
type PreviewSource struct {
	Kind troy.PreviewKind
	// RepositoryID and Number identify a pull request. The repository is the
	// one that the pull request changes.
	RepositoryID string
	Number       int64
	// Branch is the head of a pull request, or the previewed branch.
	Branch string
	// Label is the label of a release's preview.
	Label string
	// Title, Author and URL are for people.
	Title, Author, URL string
	// Trusted means that the author may write to the repository.
	Trusted bool
}

// id returns what identifies the source among those of its kind.
func (s PreviewSource) id() string {
	switch s.Kind {
	case troy.PullRequestPreview:
		return PullRequestSource(s.RepositoryID, s.Number)
	case troy.BranchPreview:
		return s.Branch
	}
	return s.Label
}

// PullRequestSource returns the source of a pull request's preview.
func PullRequestSource(repositoryID string, number int64) string {
	return fmt.Sprintf("%s#%d", repositoryID, number)
}

// label returns the label that the source asks for.
func (s PreviewSource) label(slug string) string {
	switch s.Kind {
	case troy.PullRequestPreview:
		return troy.PullRequestLabel(s.Number)
	case troy.BranchPreview:
		return troy.BranchLabel(s.Branch, slug)
	}
	return s.Label
}

// ChangePreviews locks a pipeline and runs f, which may open, build and close
// its previews, in one transaction.
func (in *Intake) ChangePreviews(ctx context.Context, pipeline uuid.UUID, f func(q *queries.Queries, p queries.Pipeline) error) error {
	err := in.locked(ctx, pipeline, f)
	return err
}

// PreviewHost returns the host of a preview of the site with a slug, or "" if
// sites can't have previews.
func (in *Intake) PreviewHost(label, slug string) string {
	suffix := in.PreviewHosts().Suffix
	if suffix == "" {
		return ""
	}
	return site.PreviewHost(label, slug, suffix)
}

// PreviewHosts says which hosts are those of previews.
func (in *Intake) PreviewHosts() site.PreviewHosts {
	if in.cfg.NoPreviews != "" {
		return site.PreviewHosts{}
	}
	return site.PreviewHosts{Suffix: cmp.Or(in.cfg.PreviewSuffix, in.cfg.SitesSuffix), Sites: in.cfg.SitesSuffix}
}

// mayPreview returns a Conflict if a pipeline can't have previews now.
func (in *Intake) mayPreview(p queries.Pipeline) error {
	if in.cfg.NoPreviews != "" {
		return troy.Errorf(troy.Conflict, "%s", in.cfg.NoPreviews)
	}
	return notInDeletion(p, Previewing)
}

// OpenPreview makes the preview of a source, opens it again, or updates what is
// known of the source. If the pipeline then has too many previews, it closes the
// one whose newest push is the oldest, unless all are pinned. The pipeline is
// locked.
func (in *Intake) OpenPreview(ctx context.Context, q *queries.Queries, p queries.Pipeline, s PreviewSource, actor string) (queries.Preview, error) {
	if err := in.mayPreview(p); err != nil {
		return queries.Preview{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return queries.Preview{}, err
	}
	label, err := freeLabel(ctx, q, p, s)
	if err != nil {
		return queries.Preview{}, err
	}
	open := queries.PreviewOpenParams{
		ID: id, PipelineID: p.ID, Kind: s.Kind, Source: s.id(), Label: label, Branch: cut(s.Branch), Title: cut(s.Title),
		Author: cut(s.Author), Url: s.URL, Trusted: s.Trusted, Actor: actor, ValidSeconds: in.previewsExpire().Seconds(),
	}
	if s.Kind == troy.PullRequestPreview {
		open.RepositoryID, open.Number = &s.RepositoryID, &s.Number
	}
	v, err := q.PreviewOpen(ctx, open)
	if err != nil {
		return v, fmt.Errorf("open the preview %s of %s: %w", label, p.Slug, err)
	}
	return v, in.makeRoom(ctx, q, p, v, actor)
}

// LabelsKept is how long after the removal of a preview its label is kept for
// its source, because people may still have links to it.
const LabelsKept = 30 * 24 * time.Hour

// freeLabel returns the label of a source's preview. Another source that
// asks for the same label gets one with a hash, unless the preview that has the
// label was removed long ago: then that one gets the hash.
func freeLabel(ctx context.Context, q *queries.Queries, p queries.Pipeline, s PreviewSource) (string, error) {
	label := s.label(p.Slug)
	v, err := q.PreviewOfLabel(ctx, p.ID, label)
	switch {
	case errors.Is(err, pgx.ErrNoRows), err == nil && v.Kind == s.Kind && v.Source == s.id():
		return label, nil
	case err != nil:
		return "", fmt.Errorf("look for the preview %s: %w", label, err)
	case v.RemovedAt == nil || time.Since(*v.RemovedAt) < LabelsKept:
		return troy.DistinctLabel(label, string(s.Kind)+" "+s.id(), p.Slug), nil
	}
	own, err := q.PreviewOfSource(ctx, queries.PreviewOfSourceParams{PipelineID: p.ID, Kind: s.Kind, Source: s.id()})
	if err == nil {
		return own.Label, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("look for the preview of %s: %w", s.id(), err)
	}
	if err := q.PreviewRelabel(ctx, troy.DistinctLabel(label, string(v.Kind)+" "+v.Source, p.Slug), v.ID); err != nil {
		return "", fmt.Errorf("take the label of the removed preview %s: %w", label, err)
	}
	return label, nil
}

// ErrNoRoom says why a stranger's commit gets no preview where there are too many.
var ErrNoRoom = errors.New("a commit that needs an approval does not replace them; it gets one with its next push, if there is room then")

// makeRoom closes the oldest previews above the maximum, but neither keep nor a
// pinned one. If keep needs an approval, it closes only others that do.
func (in *Intake) makeRoom(ctx context.Context, q *queries.Queries, p queries.Pipeline, keep queries.Preview, actor string) error {
	most := int64(cmp.Or(in.cfg.MaxPreviews, MaxPreviews))
	open, err := q.PreviewsOpen(ctx, p.ID)
	if err != nil {
		return fmt.Errorf("count the previews of %s: %w", p.Slug, err)
	}
	for ; open > most; open-- {
		v, err := q.PreviewToEvict(ctx, p.ID, keep.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.Conflict, "the pipeline %s has %d pinned previews, which is the maximum; unpin or delete one: troy preview list %s", p.Slug, open-1, p.Slug)
		}
		if err != nil {
			return fmt.Errorf("look for the oldest preview of %s: %w", p.Slug, err)
		}
		if !keep.Trusted && keep.LiveDeploymentID == nil && !unapproved(v) {
			return troy.Errorf(troy.Conflict, "the pipeline %s has %d previews, which is the maximum: %w", p.Slug, most, ErrNoRoom)
		}
		cause := fmt.Sprintf("it made room for the preview %s; a pipeline has at most %d", keep.Label, most)
		if err := in.ClosePreview(ctx, q, p, v, cause, actor); err != nil {
			return err
		}
	}
	return nil
}

// unapproved reports whether a preview shows nothing, since a stranger's commit
// was not approved.
func unapproved(v queries.Preview) bool {
	return !v.Trusted && v.LiveDeploymentID == nil && (v.ApprovedCommit == nil || *v.ApprovedCommit != text(nil, v.HeadCommit))
}

func (in *Intake) previewsExpire() time.Duration {
	return cmp.Or(in.cfg.PreviewsExpire, PreviewsExpire)
}

// PreviewCommit is a commit to build for a preview. An empty Commit means the
// head of the branch.
type PreviewCommit struct{ Commit, Branch, Author, Message string }

// BuildPreview requests the build of a commit for an open preview, in place of
// builds that have not ended. If the author is not trusted and the commit is not
// approved, it only records the commit and returns false. It returns the
// deployment that exists if the newest one is of the same commit and did not
// fail. The pipeline is locked.
func (in *Intake) BuildPreview(ctx context.Context, q *queries.Queries, p queries.Pipeline, v queries.Preview, c PreviewCommit, actor string) (queries.Deployment, bool, error) {
	none := queries.Deployment{}
	if err := errors.Join(checkCommit(c.Commit), in.mayPreview(p)); err != nil {
		return none, false, err
	}
	if p.RepositoryFullName == nil {
		return none, false, troy.Errorf(troy.Conflict, "the pipeline %s has no repository; send a release instead", p.Slug)
	}
	if p.SourceProblem != "" && !BranchProblem(p.SourceProblem) {
		return none, false, troy.Errorf(troy.Conflict, "the pipeline %s cannot be built: %s", p.Slug, p.SourceProblem)
	}
	if !v.Trusted && (v.ApprovedCommit == nil || *v.ApprovedCommit != c.Commit) {
		err := q.PreviewSetHead(ctx, queries.PreviewSetHeadParams{ID: v.ID, HeadCommit: c.Commit, ValidSeconds: in.previewsExpire().Seconds()})
		return none, false, err
	}
	newest, err := q.PreviewNewest(ctx, v.ID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return none, false, fmt.Errorf("read the newest deployment of the preview %s: %w", v.Label, err)
	case c.Commit != "" && newest.CommitSha != nil && *newest.CommitSha == c.Commit && holds(newest, v):
		return newest, true, nil
	}
	d, err := in.deployPreview(ctx, q, p, v, queries.PreviewDeploymentCreateParams{
		CommitSha: optional(c.Commit), Branch: optional(cut(c.Branch)), Author: optional(cut(c.Author)), Message: c.Message, Actor: actor,
	})
	return d, err == nil, err
}

// holds reports whether a deployment runs or is what the preview shows.
func holds(d queries.Deployment, v queries.Preview) bool {
	return !d.State.Ended() || v.LiveDeploymentID != nil && *v.LiveDeploymentID == d.ID
}

// deployPreview makes a deployment of an open preview. Without an id it is to be
// built.
func (in *Intake) deployPreview(ctx context.Context, q *queries.Queries, p queries.Pipeline, v queries.Preview, d queries.PreviewDeploymentCreateParams) (queries.Deployment, error) {
	if d.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return queries.Deployment{}, err
		}
		d.ID = id
	}
	if d.TreeID == uuid.Nil {
		d.TreeID = d.ID
	}
	d.PreviewID, d.Trusted, d.ValidSeconds = v.ID, v.Trusted, in.previewsExpire().Seconds()
	remember(ctx, d.ID)
	_, err := q.PreviewDeploymentCreate(ctx, d)
	if errors.Is(err, pgx.ErrNoRows) && !p.Status.InDeletion() {
		return queries.Deployment{}, troy.Errorf(troy.Conflict, "the preview %s of %s was deleted", v.Label, p.Slug)
	}
	if err := guarded(ctx, q, p.ID, Previewing, err); err != nil {
		return queries.Deployment{}, err
	}
	return q.DeploymentGet(ctx, d.ID)
}

// ClosePreview closes a preview and requests its removal, for the cause in
// words. It does nothing if the preview is closed. The pipeline is locked.
func (in *Intake) ClosePreview(ctx context.Context, q *queries.Queries, p queries.Pipeline, v queries.Preview, cause, actor string) error {
	_, err := q.PreviewClose(ctx, queries.PreviewCloseParams{ID: v.ID, Cause: cause, Actor: actor})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("close the preview %s of %s: %w", v.Label, p.Slug, err)
	}
	return Audit(ctx, q, Change{Action: PreviewDelete, Subject: v.Label, Detail: cause, Actor: actor, Pipeline: &p})
}

// onPreview changes one open preview of a pipeline.
func (in *Intake) onPreview(ctx context.Context, pipeline uuid.UUID, label string, f func(q *queries.Queries, p queries.Pipeline, v queries.Preview) error) error {
	err := in.ChangePreviews(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		v, err := q.PreviewOfLabel(ctx, pipeline, label)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.NotFound, "the pipeline %s has no preview %s", p.Slug, troy.Clip(label))
		}
		if err != nil {
			return err
		}
		return f(q, p, v)
	})
	if err != nil {
		return fmt.Errorf("change the preview %s of pipeline %s: %w", troy.Clip(label), pipeline, err)
	}
	return nil
}

func refuseClosed(v queries.Preview) error {
	if v.ClosedAt == nil {
		return nil
	}
	return troy.Errorf(troy.Conflict, "the preview %s was deleted at %s: %s", v.Label, stamp(*v.ClosedAt), v.ClosedCause)
}

// DeletePreview deletes a preview. It does nothing if that was done before.
func (in *Intake) DeletePreview(ctx context.Context, pipeline uuid.UUID, label, actor string) error {
	return in.onPreview(ctx, pipeline, label, func(q *queries.Queries, p queries.Pipeline, v queries.Preview) error {
		return in.ClosePreview(ctx, q, p, v, "deleted by "+actor, actor)
	})
}

// ExpirePreview closes a preview whose time has passed. It does nothing if the
// preview was renewed, pinned or deleted meanwhile.
func (in *Intake) ExpirePreview(ctx context.Context, pipeline, id uuid.UUID) error {
	return in.ChangePreviews(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		v, err := q.PreviewGet(ctx, id)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && (v.ClosedAt != nil || v.Pinned || v.ExpiresAt.After(time.Now())) {
			return nil
		}
		if err != nil {
			return err
		}
		cause := "no push since " + v.PushedAt.UTC().Format(time.DateOnly)
		return in.ClosePreview(ctx, q, p, v, cause, "expiry")
	})
}

// PinPreview keeps a preview from expiring and from making room for others, or
// ends that.
func (in *Intake) PinPreview(ctx context.Context, pipeline uuid.UUID, label string, pinned bool, actor string) error {
	return in.onPreview(ctx, pipeline, label, func(q *queries.Queries, p queries.Pipeline, v queries.Preview) error {
		if err := refuseClosed(v); err != nil || v.Pinned == pinned {
			return err
		}
		if err := q.PreviewSetPinned(ctx, queries.PreviewSetPinnedParams{ID: v.ID, Pinned: pinned, ValidSeconds: in.previewsExpire().Seconds()}); err != nil {
			return err
		}
		action := PreviewUnpin
		if pinned {
			action = PreviewPin
		}
		return Audit(ctx, q, Change{Action: action, Subject: v.Label, Actor: actor, Pipeline: &p})
	})
}

// ApprovePreview builds the newest commit of an author who is not trusted. It
// returns Moved if the commit is not the newest any more.
func (in *Intake) ApprovePreview(ctx context.Context, pipeline uuid.UUID, label, commit, actor string) error {
	return in.onPreview(ctx, pipeline, label, func(q *queries.Queries, p queries.Pipeline, v queries.Preview) error {
		switch {
		case v.ClosedAt != nil:
			return refuseClosed(v)
		case v.Trusted || v.HeadCommit == nil:
			return troy.Errorf(troy.Conflict, "the preview %s has no commit that needs an approval", v.Label)
		case *v.HeadCommit != commit:
			return troy.Errorf(troy.Moved, "the newest commit is %s; approve that one after you have read it", *v.HeadCommit).At("commit")
		}
		if err := q.PreviewApprove(ctx, queries.PreviewApproveParams{ID: v.ID, ApprovedCommit: commit, ApprovedBy: actor}); err != nil {
			return fmt.Errorf("record the approval: %w", err)
		}
		v.ApprovedCommit, v.ApprovedBy = &commit, actor
		if err := Audit(ctx, q, Change{Action: PreviewApprove, Subject: v.Label, Detail: commit, Actor: actor, Pipeline: &p}); err != nil {
			return err
		}
		_, _, err := in.BuildPreview(ctx, q, p, v, PreviewCommit{Commit: commit, Branch: v.Branch, Author: v.Author, Message: v.Title}, actor)
		return err
	})
}

// PreviewBranch makes or renews the preview of a branch of the pipeline's
// repository, with the commit at its head.
func (in *Intake) PreviewBranch(ctx context.Context, pipeline uuid.UUID, branch, actor string) (v queries.Preview, d queries.Deployment, err error) {
	if err := troy.CheckBranch(branch); err != nil {
		return v, d, err
	}
	err = in.ChangePreviews(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if v, err = in.OpenPreview(ctx, q, p, PreviewSource{Kind: troy.BranchPreview, Branch: branch, Author: actor, Trusted: true}, actor); err != nil {
			return err
		}
		d, _, err = in.BuildPreview(ctx, q, p, v, PreviewCommit{Branch: branch}, actor)
		return err
	})
	if err != nil {
		return v, d, fmt.Errorf("preview the branch %s of pipeline %s: %w", troy.Clip(branch), pipeline, err)
	}
	return v, d, nil
}

// PromotePreview publishes what a preview shows as the site, without a build. It
// returns Moved if the preview shows another deployment than the expected
// number; 0 expects none in particular.
func (in *Intake) PromotePreview(ctx context.Context, pipeline uuid.UUID, label string, expected int64, actor string) (queries.Deployment, error) {
	return in.republish(ctx, pipeline, uuid.Nil, troy.Promotion, actor, func(q *queries.Queries, p queries.Pipeline, _ found) (queries.Deployment, error) {
		v, err := q.PreviewOfLabel(ctx, p.ID, label)
		if errors.Is(err, pgx.ErrNoRows) {
			return queries.Deployment{}, troy.Errorf(troy.NotFound, "the pipeline %s has no preview %s", p.Slug, troy.Clip(label))
		}
		if err != nil {
			return queries.Deployment{}, err
		}
		if err := refuseClosed(v); err != nil {
			return queries.Deployment{}, err
		}
		if v.LiveDeploymentID == nil {
			return queries.Deployment{}, troy.Errorf(troy.Conflict, "the preview %s shows nothing yet, so nothing can be promoted", v.Label)
		}
		d, err := q.DeploymentGet(ctx, *v.LiveDeploymentID)
		if err == nil && expected != 0 && d.Number != expected {
			err = troy.Errorf(troy.Moved, "the preview %s shows deployment %d by now; expected %d", v.Label, d.Number, expected).At("deployment")
		}
		return d, err
	})
}

// retryPreview repeats an ended deployment of a preview.
func (in *Intake) retryPreview(ctx context.Context, q *queries.Queries, p queries.Pipeline, d queries.Deployment, actor string) (queries.Deployment, error) {
	v, err := q.PreviewGet(ctx, *d.PreviewID)
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("read the preview of deployment %d: %w", d.Number, err)
	}
	if err := errors.Join(refuseClosed(v), in.mayPreview(p)); err != nil {
		return queries.Deployment{}, err
	}
	again := queries.PreviewDeploymentCreateParams{
		SourceDeploymentID: &d.ID, CommitSha: d.CommitSha, Branch: d.Branch, Author: d.Author, Message: d.Message, Actor: actor,
	}
	switch {
	case !HasBuild(d):
		if d.PrunedAt != nil {
			return queries.Deployment{}, troy.Errorf(troy.Conflict, "the files of deployment %d were removed", d.Number)
		}
		again.TreeID, again.ManifestDigest, again.Files, again.Bytes = d.TreeID, d.ManifestDigest, d.Files, d.Bytes
	case !v.Trusted && (v.ApprovedCommit == nil || d.CommitSha == nil || *v.ApprovedCommit != *d.CommitSha):
		return queries.Deployment{}, troy.Errorf(troy.Conflict, "the preview %s needs an approval before deployment %d is built again", v.Label, d.Number)
	}
	return in.deployPreview(ctx, q, p, v, again)
}

// redoPreview repeats a preview's deployment that a deletion cancelled, unless
// the preview was deleted as well. The pipeline was read before the deletion was
// undone.
func (in *Intake) redoPreview(ctx context.Context, q *queries.Queries, p queries.Pipeline, d queries.Deployment) error {
	p, err := q.PipelineGet(ctx, p.ID)
	if err != nil {
		return err
	}
	_, err = in.retryPreview(ctx, q, p, d, d.Actor)
	if troy.KindOf(err) == troy.Conflict {
		return nil
	}
	return err
}

func cut(s string) string { return troy.Cut(s, maxPreviewText) }
