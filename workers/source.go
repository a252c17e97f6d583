package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// source is the repository of a pipeline's commits.
type source struct {
	forge      forge.Forge
	repository forge.Repository
	branch     string
}

func needsInstallation(f forge.Forge) bool {
	i, ok := f.(forge.Installations)
	return ok && i.NeedsInstallation()
}

// sourceOf looks up a pipeline's repository. It asks the forge for the
// repository's id and installation if no delivery has named them yet.
func (w *Workers) sourceOf(ctx context.Context, p queries.Pipeline) (source, error) {
	var known queries.Repository
	if p.RepositoryProvider != nil && p.RepositoryID != nil {
		var err error
		if known, err = w.q.RepositoryGet(ctx, *p.RepositoryProvider, *p.RepositoryID); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return source{}, fmt.Errorf("read the repository: %w", err)
		}
	}
	return w.sourceFrom(ctx, p, known)
}

// sourceFrom is sourceOf with the row of the repository, if there is one.
func (w *Workers) sourceFrom(ctx context.Context, p queries.Pipeline, known queries.Repository) (source, error) {
	if p.RepositoryProvider == nil || p.RepositoryFullName == nil {
		return source{}, troy.Errorf(troy.Conflict, "the pipeline has no repository")
	}
	f := w.deps.Forges[troy.Provider(*p.RepositoryProvider)]
	if f == nil {
		return source{}, troy.Errorf(troy.Conflict, "%s is not set up in this installation", *p.RepositoryProvider)
	}
	s := source{forge: f, repository: forge.Repository{ID: deref(p.RepositoryID), FullName: *p.RepositoryFullName}, branch: deref(p.RepositoryBranch)}
	if s.repository.ID != "" {
		s.repository.Installation = deref(known.InstallationID)
		if s.branch == "" {
			s.branch = known.DefaultBranch
		}
		if s.branch != "" && (s.repository.Installation != "" || !needsInstallation(f)) {
			return s, nil
		}
	}
	found, err := f.Repository(ctx, s.repository)
	if err != nil {
		return s, fmt.Errorf("look up %s: %w", s.repository.FullName, err)
	}
	s.repository = found.Repository
	if s.branch == "" {
		s.branch = found.DefaultBranch
	}
	if err := w.q.RepositorySeen(ctx, queries.RepositorySeenParams{
		Provider: *p.RepositoryProvider, ID: found.ID, FullName: found.FullName, DefaultBranch: found.DefaultBranch, InstallationID: nonEmpty(found.Installation),
	}); err != nil {
		return s, fmt.Errorf("record the repository: %w", err)
	}
	if err := w.q.PipelineBindRepository(ctx, queries.PipelineBindRepositoryParams{RepositoryID: found.ID, FullName: found.FullName, ID: p.ID}); err != nil {
		return s, fmt.Errorf("bind the repository: %w", err)
	}
	return s, nil
}

// buildSpec collects the input of a build. A deployment of a branch's head gets
// its commit here.
func (w *Workers) buildSpec(ctx context.Context, row *building, tree site.Tree) (_ builder.Spec, err error) {
	d, p := &row.Deployment, row.Pipeline
	var upload *site.Tree
	var s source
	if row.SourceID != nil {
		upload = &site.Tree{Pipeline: d.PipelineID, Deployment: *row.SourceID}
	} else {
		known := queries.Repository{InstallationID: row.InstallationID, DefaultBranch: row.DefaultBranch}
		if s, err = w.sourceFrom(ctx, p, known); err != nil {
			return builder.Spec{}, err
		}
	}
	if d.CommitSha == nil && upload == nil {
		branch := s.branch
		if d.PreviewID != nil {
			branch = orElse(deref(d.Branch), s.branch)
		}
		head, err := s.forge.Head(ctx, s.repository, branch)
		if err != nil {
			return builder.Spec{}, fmt.Errorf("read the head of %s: %w", branch, err)
		}
		commit, err := s.forge.Commit(ctx, s.repository, head)
		if err != nil {
			return builder.Spec{}, fmt.Errorf("read commit %s: %w", head, err)
		}
		if err := w.q.DeploymentSetCommit(ctx, queries.DeploymentSetCommitParams{
			CommitSha: commit.ID, Message: commit.Message, Author: commit.Author, ID: d.ID,
		}); err != nil {
			return builder.Spec{}, fmt.Errorf("record the commit: %w", err)
		}
		d.CommitSha, d.Message, d.Author = &commit.ID, commit.Message, &commit.Author
	}
	settings, err := settingsOf(p)
	if err != nil {
		return builder.Spec{}, err
	}
	variables, secrets, err := w.opened(*d, row.variables)
	if err != nil {
		return builder.Spec{}, err
	}
	if err := w.describeBuild(ctx, *d, variables); err != nil {
		return builder.Spec{}, err
	}
	redactor, err := redactorOf(secrets)
	if err != nil {
		return builder.Spec{}, err
	}
	open, err := w.opener(ctx, upload, s, p, *d)
	if err != nil {
		return builder.Spec{}, err
	}
	host, err := w.hostOf(ctx, row)
	if err != nil {
		return builder.Spec{}, err
	}
	scope, err := w.cacheScope(ctx, *d)
	if err != nil {
		return builder.Spec{}, err
	}
	return builder.Spec{
		Tree:   tree,
		Source: open,
		Commit: build.Commit{ID: deref(d.CommitSha), Branch: orElse(deref(d.Branch), s.branch), Message: d.Message, Author: deref(d.Author), Time: d.CreatedAt},
		URL:    w.cfg.SiteURL(host),
		Settings: build.Settings{
			Root: deref(p.RepositoryRoot), Output: settings.Output, Install: settings.Install, Build: settings.Build, Test: settings.Test,
			Contexts: netlifyContexts(variables, orElse(deref(d.Branch), s.branch)),
		},
		Variables: variables,
		Untrusted: !d.Trusted, CacheScope: scope, CacheEpoch: p.CacheEpoch,
		Redact: redactor.Writer,
		Limits: w.buildLimits(*d, settings),
	}, nil
}

// opener returns how the source of a build is opened: the upload, or the commit.
func (w *Workers) opener(ctx context.Context, upload *site.Tree, s source, p queries.Pipeline, d queries.Deployment) (func(ctx context.Context, dir string) (io.ReadCloser, error), error) {
	if upload != nil {
		return func(ctx context.Context, _ string) (io.ReadCloser, error) { return w.openUpload(ctx, *upload) }, nil
	}
	from, err := w.commitSource(ctx, s, p, d)
	if err != nil {
		return nil, err
	}
	commit := *d.CommitSha
	return func(ctx context.Context, dir string) (io.ReadCloser, error) {
		archive, err := forge.Source(ctx, s.forge, from, commit, forge.SourceConfig{Dir: dir, Submodules: w.submodules(d)})
		if err != nil {
			return nil, fmt.Errorf("fetch commit %s of %s: %w", commit, from.FullName, err)
		}
		return archive, nil
	}, nil
}

// netlifyContexts returns the contexts of netlify.toml that count for a build,
// the strongest last.
func netlifyContexts(variables map[string]string, branch string) []string {
	return []string{build.NetlifyContext(variables), branch}
}

// settingsOf reads a pipeline's settings.
func settingsOf(p queries.Pipeline) (troy.BuildSettings, error) {
	var settings troy.BuildSettings
	if err := json.Unmarshal(p.BuildSettings, &settings); err != nil {
		return settings, fmt.Errorf("read the build settings: %w", err)
	}
	return settings, nil
}

// headStands reads the branch's head again before it publishes a commit that
// was the newest. If the branch has moved without Troy's knowledge, the commit
// at the head replaces this one.
func (w *Workers) headStands(ctx context.Context, c *claim, d queries.Deployment) error {
	p, err := w.q.PipelineGet(ctx, d.PipelineID)
	if err != nil {
		return fmt.Errorf("read the pipeline: %w", err)
	}
	if d.PreviewID != nil || d.SourceDeploymentID != nil || p.HeadCommit == nil || *p.HeadCommit != deref(d.CommitSha) {
		return nil
	}
	moved, err := w.lookAtHead(ctx, p)
	if err != nil {
		// A forge that does not answer must not delay a site.
		c.log.Warn("reading the branch's head before publishing failed", "error", err)
		return nil
	}
	if !moved {
		return nil
	}
	err = move(ctx, w, p.ID, (*queries.Queries).DeploymentSupersede, queries.DeploymentSupersedeParams{
		PipelineID: p.ID, ID: d.ID, Cause: "the branch moved before the deployment was published", Actor: actor,
	})
	if errors.Is(err, errMoved) {
		// The newer deployment was cancelled meanwhile, so this one is the
		// newest again. If this one has moved, its publication fails with a
		// conflict.
		return nil
	}
	if err != nil {
		return fmt.Errorf("supersede the deployment: %w", err)
	}
	return errMoved
}

// headOf reads the head of a pipeline's branch.
func (w *Workers) headOf(ctx context.Context, p queries.Pipeline) (s source, head string, err error) {
	if s, err = w.sourceOf(ctx, p); err != nil {
		return s, "", err
	}
	if head, err = s.forge.Head(ctx, s.repository, s.branch); err != nil {
		return s, "", fmt.Errorf("read the head of %s: %w", s.branch, err)
	}
	return s, head, nil
}

// lookAtHead compares the head of a pipeline's branch with the newest known
// commit, and makes a deployment of an unknown one.
func (w *Workers) lookAtHead(ctx context.Context, p queries.Pipeline) (moved bool, err error) {
	s, head, err := w.headOf(ctx, p)
	if err != nil {
		return false, err
	}
	return w.headSeen(ctx, p, s, head)
}

// headSeen makes a deployment of the commit at the head of a branch if the
// commit is unknown.
func (w *Workers) headSeen(ctx context.Context, p queries.Pipeline, s source, head string) (moved bool, err error) {
	if head == deref(p.HeadCommit) {
		return false, nil
	}
	commit, err := s.forge.Commit(ctx, s.repository, head)
	if err != nil {
		return false, fmt.Errorf("read commit %s: %w", head, err)
	}
	found := intake.Head{Branch: s.branch, Commit: commit.ID, Message: commit.Message, Author: commit.Author, Base: deref(p.HeadCommit)}
	found.Paths, found.PathsComplete = w.changed(ctx, s, found.Base, head)
	return w.deps.Intake.HeadFound(ctx, p.ID, found)
}

// changed asks the forge which files differ between two commits. If the forge
// can't tell, any file may differ, so the commit is built.
func (w *Workers) changed(ctx context.Context, s source, base, head string) (paths []string, complete bool) {
	comparer, ok := s.forge.(forge.Comparer)
	if !ok || base == "" {
		return nil, false
	}
	paths, complete, err := comparer.Compare(ctx, s.repository, base, head)
	if err != nil {
		w.log.Warn("comparing two commits failed; the newer one is built", "base", base, "head", head, "error", err)
		return nil, false
	}
	return paths, complete
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
