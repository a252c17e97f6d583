package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/singleflight"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/web/dashboard"
	"github.com/troy-iaas/troy/web/reply"
)

// repositories lists and inspects the repositories to which Troy's apps have
// access. It asks a forge for its list at most once a minute.
type repositories struct {
	forges []forge.Adapter
	flight singleflight.Group
	slots  chan struct{} // one for each repository that is inspected

	mu    sync.Mutex
	lists map[troy.Provider]listed
}

// listed is a forge's list, or why there is none.
type listed struct {
	list     []forge.Found
	complete bool
	err      error
	at       time.Time
}

const (
	listValid    = time.Minute
	failureValid = 5 * time.Second
	inspections  = 2
	// mostFound is how many repositories a search returns.
	mostFound = 100
)

func newRepositories(forges []forge.Adapter) *repositories {
	return &repositories{forges: forges, slots: make(chan struct{}, inspections), lists: map[troy.Provider]listed{}}
}

// find returns the repositories whose names contain search, and what could not
// be listed.
func (r *repositories) find(ctx context.Context, search string) (dashboard.Repositories, error) {
	out := dashboard.Repositories{Repositories: []dashboard.Repository{}, Complete: true, Problems: []string{}}
	for _, a := range r.forges {
		lister, ok := a.API.(forge.Lister)
		if !ok {
			continue
		}
		l, err := r.list(ctx, a.Provider, lister)
		if err != nil {
			return out, err
		}
		if _, missing := errors.AsType[forge.NotSetUp](l.err); missing {
			continue
		}
		if l.err != nil {
			out.Problems = append(out.Problems, fmt.Sprintf("%s: %s", a.Provider, reply.Public(l.err).Message))
		}
		out.Apps++
		out.Complete = out.Complete && l.complete
		for _, f := range l.list {
			if !strings.Contains(strings.ToLower(f.FullName), strings.ToLower(strings.TrimSpace(search))) {
				continue
			}
			if len(out.Repositories) == mostFound {
				out.Complete = false
				break
			}
			out.Repositories = append(out.Repositories, dashboard.Repository{Provider: a.Provider, FullName: f.FullName, DefaultBranch: f.DefaultBranch, Private: f.Private})
		}
	}
	return out, nil
}

func (r *repositories) list(ctx context.Context, p troy.Provider, lister forge.Lister) (listed, error) {
	r.mu.Lock()
	l, ok := r.lists[p]
	r.mu.Unlock()
	valid := listValid
	if l.err != nil {
		valid = failureValid
	}
	if ok && time.Since(l.at) < valid {
		return l, nil
	}
	read := r.flight.DoChan(string(p), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick) // others wait for it, too
		defer cancel()
		list, complete, err := lister.Repositories(ctx)
		l := listed{list, complete, err, time.Now()}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lists[p] = l
		return l, nil
	})
	select {
	case <-ctx.Done():
		return l, context.Cause(ctx)
	case done := <-read:
		return done.Val.(listed), done.Err
	}
}

// inspect looks into a repository: how a commit of it would be built.
func (r *repositories) inspect(ctx context.Context, provider troy.Provider, name, branch, root string) (found dashboard.Inspection, err error) {
	var api forge.Forge
	for _, a := range r.forges {
		if a.Provider == provider {
			api = a.API
		}
	}
	if api == nil {
		return found, troy.Errorf(troy.Invalid, "the provider %q is unknown or not set up", troy.Clip(string(provider))).At("provider")
	}
	if _, _, err := forge.SplitName(name); err != nil {
		return found, err
	}
	repo, err := api.Repository(ctx, forge.Repository{FullName: name})
	if err != nil {
		return found, forgeFailed(err)
	}
	found.Repository = dashboard.Repository{Provider: provider, FullName: repo.FullName, DefaultBranch: repo.DefaultBranch, Private: repo.Private}
	if found.Branch = branch; branch == "" {
		found.Branch = repo.DefaultBranch
	}
	if found.Branch == "" {
		return found, troy.Errorf(troy.NotFound, "the repository %s has no commits yet", repo.FullName)
	}
	if found.Commit, err = api.Head(ctx, repo.Repository, found.Branch); err != nil {
		if errors.Is(err, forge.ErrNoCommit) {
			return found, troy.Errorf(troy.NotFound, "the repository %s has no branch %q", repo.FullName, troy.Clip(found.Branch)).At("branch")
		}
		return found, forgeFailed(err)
	}
	plan, err := r.plan(ctx, api, repo.Repository, found.Commit, root)
	switch kind := troy.KindOf(err); {
	case kind == troy.Invalid, kind == troy.TooLarge, errors.Is(err, forge.ErrNoArchive):
		found.Problem = reply.Public(err).Message
	case err != nil:
		return found, forgeFailed(err)
	default:
		found.Detected = &dashboard.Detected{
			Generator: plan.Generator, Root: plan.Root, Install: plan.Install, Build: plan.Build, Test: plan.Test, Outputs: plan.Outputs, Why: plan.Why, Notes: plan.Notes, Files: plan.Files,
		}
	}
	return found, nil
}

// plan downloads a commit and decides how it is built.
func (r *repositories) plan(ctx context.Context, api forge.Forge, repo forge.Repository, commit, root string) (build.Plan, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return build.Plan{}, troy.Errorf(troy.Unavailable, "other repositories are being looked into; try again in a moment")
	}
	archive, err := api.Archive(ctx, repo, commit)
	if err != nil {
		return build.Plan{}, err
	}
	defer archive.Close()
	stop := context.AfterFunc(ctx, func() { _ = archive.Close() })
	defer stop()
	plan, err := build.Inspect(ctx, archive, build.Settings{Root: root})
	if ctx.Err() != nil {
		return plan, troy.Errorf(troy.TooLarge, "the repository took too long to look into; enter the settings by hand")
	}
	return plan, err
}

// forgeFailed turns a forge's error into one for people. Those that Troy can't
// classify may pass.
func forgeFailed(err error) error {
	switch troy.KindOf(err) {
	case troy.Internal:
		return troy.Errorf(troy.Unavailable, "the forge can't be reached: %w", err)
	case troy.Unauthenticated, troy.Forbidden: // it is not the caller who is refused
		return troy.Errorf(troy.Conflict, "%w", err)
	}
	return err
}

func (s *server) repositoryList(c *gin.Context, who caller) error {
	if err := who.MustAll("repositories are chosen for new pipelines"); err != nil {
		return err
	}
	found, err := s.repositories.find(c.Request.Context(), c.Query("search"))
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, found)
	return nil
}

func (s *server) repositoryGet(c *gin.Context, who caller) error {
	if err := who.MustAll("repositories are chosen for new pipelines"); err != nil {
		return err
	}
	provider := troy.Provider(c.Param("provider"))
	found, err := s.repositories.inspect(c.Request.Context(), provider, c.Param("owner")+"/"+c.Param("name"), c.Query("branch"), c.Query("root"))
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, found)
	return nil
}
