package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/watch"
)

// Configuration is a change of a pipeline's repository and build settings. A
// nil field stays the same.
type Configuration struct {
	Repository *RepositoryChange
	// SameRepository refuses a change of repository: a caller who chooses it
	// can publish everything that the installation may read.
	SameRepository bool
	WatchPaths     []string // empty, not nil, to remove
	CancelRunning  *bool
	// Build is a JSON object with the members of troy.BuildSettings that
	// change, or nil.
	Build []byte
	// Check, if not nil, can refuse the change for what the pipeline is now.
	Check func(queries.Pipeline) error
}

// RepositoryChange changes parts of a pipeline's repository. An empty text
// resets a part: to the repository's default branch, and to all of its folders.
type RepositoryChange struct {
	// Remove removes the pipeline's repository.
	Remove                           bool
	Provider, FullName, Branch, Root *string
}

// Configure changes what a pipeline builds and how, from its next deployment
// on. A new repository clears what Troy knew of the previous one, and so does
// naming the same one again while it has a recorded problem. Configure returns
// Conflict if the pipeline is being deleted.
func (in *Intake) Configure(ctx context.Context, pipeline uuid.UUID, c Configuration) (queries.Pipeline, error) {
	after, err := in.change(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Configuring); err != nil {
			return err
		}
		if c.Check != nil {
			if err := c.Check(p); err != nil {
				return err
			}
		}
		params, err := c.apply(p, in.cfg.BuildLimits)
		if err != nil {
			return err
		}
		if err := q.PipelineConfigure(ctx, params); err != nil {
			return err
		}
		if err := Audit(ctx, q, Change{Action: Configured, Subject: strings.Join(c.names(), ", "), Detail: c.repository(params), Pipeline: &p}); err != nil {
			return err
		}
		if params.RepositoryFullName == nil {
			return nil
		}
		if comments, err := commentsChange(p.BuildSettings, params.BuildSettings); err != nil {
			return err
		} else if comments {
			if err := q.PreviewsRequestReports(ctx, p.ID); err != nil {
				return fmt.Errorf("request the comments on pull requests: %w", err)
			}
		}
		return catchUp(ctx, q, p.ID)
	})
	if err != nil {
		return after, fmt.Errorf("configure pipeline %s: %w", pipeline, err)
	}
	return after, nil
}

// commentsChange reports whether a change of the build settings begins or ends
// the comments on pull requests.
func commentsChange(before, after []byte) (bool, error) {
	var was, is troy.BuildSettings
	if err := errors.Join(json.Unmarshal(before, &was), json.Unmarshal(after, &is)); err != nil {
		return false, fmt.Errorf("read the build settings: %w", err)
	}
	return was.CommentPreviews != is.CommentPreviews, nil
}

// names lists the settings that change.
func (c Configuration) names() (names []string) {
	for name, changes := range map[string]bool{
		"repository": c.Repository != nil, "watch_paths": c.WatchPaths != nil, "cancel_running": c.CancelRunning != nil,
	} {
		if changes {
			names = append(names, name)
		}
	}
	var build map[string]json.RawMessage
	if json.Unmarshal(c.Build, &build) == nil {
		for name := range build {
			names = append(names, "build."+name)
		}
	}
	slices.Sort(names)
	return names
}

// repository describes the repository if the change is about it.
func (c Configuration) repository(after queries.PipelineConfigureParams) string {
	switch {
	case c.Repository == nil:
		return ""
	case after.RepositoryFullName == nil:
		return "no repository"
	}
	said := text(nil, after.RepositoryProvider) + ":" + *after.RepositoryFullName
	if branch := text(nil, after.RepositoryBranch); branch != "" {
		said += ", branch " + branch
	}
	if root := text(nil, after.RepositoryRoot); root != "" {
		said += ", folder " + root
	}
	return said
}

// notInDeletion refuses an action on a pipeline that is being deleted.
func notInDeletion(p queries.Pipeline, a Action) error {
	if p.Status.InDeletion() {
		return Refuse(p, a)
	}
	return nil
}

// apply returns the row's configuration after the change.
func (c Configuration) apply(p queries.Pipeline, most troy.BuildLimits) (queries.PipelineConfigureParams, error) {
	params := queries.PipelineConfigureParams{
		ID: p.ID, RepositoryProvider: p.RepositoryProvider, RepositoryFullName: p.RepositoryFullName, RepositoryBranch: p.RepositoryBranch,
		RepositoryRoot: p.RepositoryRoot, RepositoryID: p.RepositoryID, HeadCommit: p.HeadCommit, SourceProblem: p.SourceProblem,
		WatchPaths: p.WatchPaths, CancelRunning: p.CancelRunning, BuildSettings: p.BuildSettings,
	}
	if c.Repository != nil {
		if err := c.Repository.apply(&params); err != nil {
			return params, err
		}
		if c.SameRepository && !c.Repository.Remove && !sameRepository(params, p) {
			return params, troy.Errorf(troy.Forbidden, "a token that is limited to pipelines can't connect another repository; use an admin token for all pipelines").At("repository")
		}
	}
	if c.WatchPaths != nil {
		if err := watch.Check(c.WatchPaths); err != nil {
			return params, err
		}
		params.WatchPaths = c.WatchPaths
	}
	if c.CancelRunning != nil {
		params.CancelRunning = *c.CancelRunning
	}
	if c.Build != nil {
		settings, err := changeBuild(p.BuildSettings, c.Build, most)
		if err != nil {
			return params, err
		}
		params.BuildSettings = settings
	}
	return params, nil
}

// sameRepository reports whether a change keeps the pipeline's repository.
func sameRepository(after queries.PipelineConfigureParams, before queries.Pipeline) bool {
	return text(nil, after.RepositoryProvider) == text(nil, before.RepositoryProvider) &&
		strings.EqualFold(text(nil, after.RepositoryFullName), text(nil, before.RepositoryFullName))
}

func (c RepositoryChange) apply(params *queries.PipelineConfigureParams) error {
	var after Repository
	if !c.Remove {
		after = Repository{
			Provider: text(c.Provider, params.RepositoryProvider), FullName: text(c.FullName, params.RepositoryFullName),
			Branch: text(c.Branch, params.RepositoryBranch), Root: text(c.Root, params.RepositoryRoot),
		}
		if err := c.check(&after, params.RepositoryFullName == nil); err != nil {
			return err
		}
	}
	another := after.Provider != text(nil, params.RepositoryProvider) || !strings.EqualFold(after.FullName, text(nil, params.RepositoryFullName))
	again := (c.FullName != nil || c.Provider != nil) && params.SourceProblem != ""
	if another || again {
		params.RepositoryID, params.SourceProblem = nil, ""
	}
	if another || again || after.Branch != text(nil, params.RepositoryBranch) {
		params.HeadCommit = nil
	}
	params.RepositoryProvider, params.RepositoryFullName = optional(after.Provider), optional(after.FullName)
	params.RepositoryBranch, params.RepositoryRoot = optional(after.Branch), optional(after.Root)
	return nil
}

// check checks the parts that change, and puts the root folder into normal
// form. A stored part that breaks a later rule does not block other changes.
func (c RepositoryChange) check(after *Repository, first bool) (err error) {
	const prefix = "repository."
	if c.Provider != nil || c.FullName != nil || first {
		if err := after.checkName(prefix); err != nil {
			return err
		}
	}
	if c.Branch != nil {
		if err := after.checkBranch(prefix); err != nil {
			return err
		}
	}
	if c.Root == nil {
		return nil
	}
	if after.Root, err = troy.CleanFolder(prefix+"root", after.Root); err != nil {
		return err
	}
	return after.checkRoot(prefix)
}

// changeBuild merges change, a JSON object, into the stored build settings (RFC
// 7396). It checks only what changes: a stored value that breaks a later rule
// does not block other changes.
func changeBuild(stored, change []byte, most troy.BuildLimits) ([]byte, error) {
	var s troy.BuildSettings
	if err := json.Unmarshal(stored, &s); err != nil {
		return nil, fmt.Errorf("read the build settings: %w", err)
	}
	var changed troy.BuildSettings
	err := DecodeJSON(bytes.NewReader(change), &changed)
	if err == nil {
		changed, err = changed.Clean()
	}
	if err == nil {
		err = changed.CheckLimits(most)
	}
	if err == nil {
		err = DecodeJSON(bytes.NewReader(change), &s)
	}
	if changed.Output != "" {
		s.Output = changed.Output // in normal form
	}
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return nil, e.At(strings.TrimSuffix("build."+e.Field, "."))
	}
	if err != nil {
		return nil, fmt.Errorf("read the change of the build settings: %w", err)
	}
	return json.Marshal(s)
}

// text returns the first of two that is not nil, or the empty string.
func text(changed, stored *string) string {
	switch {
	case changed != nil:
		return *changed
	case stored != nil:
		return *stored
	}
	return ""
}
