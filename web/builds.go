package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
)

// buildJSON is the build of an automated deployment.
type buildJSON struct {
	Attempt  int32           `json:"attempt"`
	Rule     string          `json:"rule,omitempty"`
	Phases   json.RawMessage `json:"phases"`
	LogBytes int64           `json:"log_bytes"`
	Warnings []string        `json:"warnings,omitempty"`
}

// buildOf reads a deployment's build; it returns nil if there is none.
func (s *server) buildOf(c *gin.Context, d queries.Deployment) (*buildJSON, error) {
	if !intake.HasBuild(d) {
		return nil, nil
	}
	b, err := s.q.BuildGet(c.Request.Context(), d.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the build of deployment %s: %w", d.ID, err)
	}
	return &buildJSON{Attempt: b.Attempt, Rule: b.Rule, Phases: b.Phases, LogBytes: b.LogBytes, Warnings: b.Warnings}, nil
}

func (s *server) deploymentCreate(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Commit string     `json:"commit"`
		Source *uuid.UUID `json:"source"`
	}
	if err := decodeOptional(c, &body); err != nil {
		return err
	}
	var d queries.Deployment
	switch {
	case body.Source == nil:
		d, err = s.deps.Intake.DeployCommit(c.Request.Context(), p.ID, body.Commit, who.Actor())
	case body.Commit != "":
		err = troy.Errorf(troy.Invalid, "it can't be combined with commit").At("source")
	default:
		d, err = s.deploySource(c.Request.Context(), p, *body.Source, who.Actor())
	}
	if err != nil {
		return err
	}
	c.Header("Location", fmt.Sprintf("/v1/pipelines/%s/deployments/%s", p.ID, d.ID))
	return s.replyDeployment(c, http.StatusAccepted, d)
}

// deploySource builds the files of a release, which is complete. It seals them
// before it answers, so that they outlast a power cut.
func (s *server) deploySource(ctx context.Context, p queries.Pipeline, release uuid.UUID, actor string) (queries.Deployment, error) {
	r, err := s.q.ReleaseGet(ctx, release, p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return queries.Deployment{}, noRelease(release)
	}
	if err != nil {
		return queries.Deployment{}, fmt.Errorf("read release %s: %w", release, err)
	}
	if r.FinalizedAt == nil && !r.Expired {
		if err := s.complete(ctx, r, false); err != nil {
			return queries.Deployment{}, err
		}
	}
	d, err := s.deps.Intake.DeploySource(ctx, p.ID, release, actor)
	if err == nil {
		s.uploads.forget(release)
	}
	return d, err
}

func (s *server) deploymentRetry(c *gin.Context, who caller) error {
	d, err := s.deployment(c, who)
	if err != nil {
		return err
	}
	if err := decodeOptional(c, &struct{}{}); err != nil {
		return err
	}
	if d, err = s.deps.Intake.Retry(c.Request.Context(), d.PipelineID, d.ID, who.Actor()); err != nil {
		return err
	}
	c.Header("Location", fmt.Sprintf("/v1/pipelines/%s/deployments/%s", d.PipelineID, d.ID))
	return s.replyDeployment(c, http.StatusAccepted, d)
}

// repositoryJSON is the location of a pipeline's source.
type repositoryJSON struct {
	Provider string `json:"provider"`
	FullName string `json:"full_name"`
	Branch   string `json:"branch,omitempty"`
	Root     string `json:"root,omitempty"`
}

// source is the part of a pipeline that says what it builds and how.
type source struct {
	Repository    *repositoryJSON    `json:"repository,omitempty"`
	WatchPaths    []string           `json:"watch_paths"`
	CancelRunning bool               `json:"cancel_running"`
	Build         troy.BuildSettings `json:"build"`
	SourceProblem string             `json:"source_problem,omitempty"`
}

func sourceOf(p queries.Pipeline) (source, error) {
	out := source{WatchPaths: p.WatchPaths, CancelRunning: p.CancelRunning, SourceProblem: p.SourceProblem}
	if out.WatchPaths == nil {
		out.WatchPaths = []string{}
	}
	if err := json.Unmarshal(p.BuildSettings, &out.Build); err != nil {
		return out, fmt.Errorf("read the build settings of pipeline %s: %w", p.ID, err)
	}
	if p.RepositoryProvider != nil && p.RepositoryFullName != nil {
		out.Repository = &repositoryJSON{
			Provider: *p.RepositoryProvider, FullName: *p.RepositoryFullName, Branch: deref(p.RepositoryBranch), Root: deref(p.RepositoryRoot),
		}
	}
	return out, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// repositoryPatch distinguishes null, which removes the repository, from an
// absent member.
type repositoryPatch struct {
	given  bool
	change intake.RepositoryChange
}

// UnmarshalJSONFrom is called for null too, unlike for a pointer.
func (r *repositoryPatch) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	r.given = true
	var members *struct {
		Provider *string `json:"provider"`
		FullName *string `json:"full_name"`
		Branch   *string `json:"branch"`
		Root     *string `json:"root"`
	}
	if err := jsonv2.UnmarshalDecode(d, &members); err != nil {
		return err
	}
	if members == nil {
		r.change = intake.RepositoryChange{Remove: true}
		return nil
	}
	r.change = intake.RepositoryChange{Provider: members.Provider, FullName: members.FullName, Branch: members.Branch, Root: members.Root}
	return nil
}

// pipelineConfigure changes the given members, as a JSON merge patch (RFC
// 7396).
func (s *server) pipelineConfigure(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Repository    repositoryPatch `json:"repository"`
		WatchPaths    []string        `json:"watch_paths"`
		CancelRunning *bool           `json:"cancel_running"`
		Build         jsontext.Value  `json:"build"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	matches, err := ifMatch(c.Request)
	if err != nil {
		return err
	}
	var found queries.Pipeline
	change := intake.Configuration{
		SameRepository: !who.All(), WatchPaths: body.WatchPaths, CancelRunning: body.CancelRunning, Check: unchanged(matches, &found),
	}
	if body.Build != nil && body.Build.Kind() != 'n' {
		change.Build = body.Build
	}
	if body.Repository.given {
		change.Repository = &body.Repository.change
	}
	p, err = s.deps.Intake.Configure(c.Request.Context(), p.ID, change)
	if troy.KindOf(err) == troy.Moved {
		return s.replyMoved(c, err, found)
	}
	if err != nil {
		return err
	}
	return s.replySettings(c, p)
}
