package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/reply"
)

type deploymentJSON struct {
	ID                 uuid.UUID            `json:"id"`
	PipelineID         uuid.UUID            `json:"pipeline_id"`
	Number             int64                `json:"number"`
	Kind               troy.DeploymentKind  `json:"kind"`
	State              troy.DeploymentState `json:"state"`
	Cause              string               `json:"cause,omitempty"`
	Hint               string               `json:"hint,omitempty"`
	SourceDeploymentID *uuid.UUID           `json:"source_deployment_id,omitempty"`
	Message            string               `json:"message,omitempty"`
	Actor              string               `json:"actor"`
	Commit             string               `json:"commit,omitempty"`
	Branch             string               `json:"branch,omitempty"`
	Files              int64                `json:"files"`
	Bytes              int64                `json:"bytes"`
	Live               bool                 `json:"live"`
	CreatedAt          time.Time            `json:"created_at"`
	StartedAt          *time.Time           `json:"started_at,omitempty"`
	FinishedAt         *time.Time           `json:"finished_at,omitempty"`
	URL                string               `json:"url,omitempty"`
	// Address is where its own files stay as long as they are kept.
	Address string     `json:"address,omitempty"`
	Build   *buildJSON `json:"build,omitempty"`
}

// view converts a row into the API's deployment. p is the pipeline, read after
// the row, with its host.
func (s *server) view(d queries.Deployment, p queries.Pipeline, host string) deploymentJSON {
	j := deploymentJSON{
		ID: d.ID, PipelineID: d.PipelineID, Number: d.Number, Kind: d.Kind, State: d.State, Cause: d.Cause,
		Hint: hint(d, p), SourceDeploymentID: d.SourceDeploymentID, Message: d.Message, Actor: d.Actor, Files: d.Files, Bytes: d.Bytes,
		CreatedAt: d.CreatedAt.UTC(), StartedAt: utc(d.StartedAt), FinishedAt: utc(d.FinishedAt),
	}
	if d.CommitSha != nil {
		j.Commit = *d.CommitSha
	}
	if d.Branch != nil {
		j.Branch = *d.Branch
	}
	if p.LiveDeploymentID != nil && *p.LiveDeploymentID == d.ID {
		j.Live, j.URL = true, s.siteURL(host)
	}
	if d.State == troy.Succeeded && d.PrunedAt == nil {
		if own := s.deps.Intake.PreviewHost(troy.DeploymentLabel(d.Number), p.Slug); own != "" {
			j.Address = s.siteURL(own)
		}
	}
	return j
}

// hint names the condition that a deployment waits for and that needs an
// action; it may be empty.
func hint(d queries.Deployment, p queries.Pipeline) string {
	if d.State != troy.Waiting || !p.Status.CanBecome(troy.ProvisionRequest) {
		return ""
	}
	return fmt.Sprintf("the pipeline is %s; the deployment continues once it is provisioned: POST /v1/pipelines/%s/provision", p.Status, p.Slug)
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// viewWhole is view with the deployment's build and its pipeline.
func (s *server) viewWhole(c *gin.Context, d queries.Deployment) (deploymentJSON, queries.Pipeline, error) {
	ctx := c.Request.Context()
	p, err := s.q.PipelineGet(ctx, d.PipelineID)
	if errors.Is(err, pgx.ErrNoRows) {
		return deploymentJSON{}, p, noPipeline(c.Param("pipeline"))
	}
	if err != nil {
		return deploymentJSON{}, p, fmt.Errorf("read pipeline %s: %w", d.PipelineID, err)
	}
	host, err := s.q.PipelineAddress(ctx, p.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return deploymentJSON{}, p, fmt.Errorf("read the host of pipeline %s: %w", p.ID, err)
	}
	view := s.view(d, p, host)
	view.Build, err = s.buildOf(c, d)
	note(ctx).deployment = d.ID.String()
	return view, p, err
}

func (s *server) replyDeployment(c *gin.Context, status int, d queries.Deployment) error {
	view, _, err := s.viewWhole(c, d)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, status, view)
	return nil
}

func (s *server) deploymentList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	before, err := pg.number()
	if err != nil {
		return err
	}
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	host, err := s.q.PipelineAddress(ctx, p.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the host of pipeline %s: %w", p.ID, err)
	}
	rows, err := s.q.DeploymentList(ctx, queries.DeploymentListParams{PipelineID: p.ID, Before: before, PageLimit: pg.limit + 1})
	if err != nil {
		return fmt.Errorf("list deployments of %s: %w", p.ID, err)
	}
	rows, more := cut(rows, pg)
	answer := struct {
		Deployments []deploymentJSON `json:"deployments"`
		Next        string           `json:"next,omitempty"`
	}{Deployments: make([]deploymentJSON, 0, len(rows))}
	for _, d := range rows {
		answer.Deployments = append(answer.Deployments, s.view(d, p, host))
	}
	if more {
		answer.Next = strconv.FormatInt(rows[len(rows)-1].Number, 10)
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// deployment finds the path's deployment, which must belong to the path's
// pipeline.
func (s *server) deployment(c *gin.Context, who caller) (queries.Deployment, error) {
	ctx := c.Request.Context()
	p, err := s.pipeline(ctx, c, who)
	if err != nil {
		return queries.Deployment{}, err
	}
	d, err := s.deploymentOf(ctx, p.ID, c.Param("deployment"))
	if err == nil {
		note(ctx).deployment = d.ID.String()
	}
	return d, err
}

// deploymentOf finds a deployment of a pipeline by its number or its id.
func (s *server) deploymentOf(ctx context.Context, pipeline uuid.UUID, ref string) (d queries.Deployment, err error) {
	if number, bad := strconv.ParseInt(ref, 10, 64); bad == nil {
		d, err = s.q.DeploymentGetByNumber(ctx, pipeline, number)
	} else if id, ok := parseID(ref); ok {
		d, err = s.q.DeploymentGet(ctx, id)
	} else {
		return d, troy.Errorf(troy.NotFound, "deployment not found: %q", troy.Clip(ref))
	}
	if errors.Is(err, pgx.ErrNoRows) || err == nil && d.PipelineID != pipeline {
		return d, troy.Errorf(troy.NotFound, "the pipeline has no deployment %s", ref)
	}
	return d, err
}

func (s *server) deploymentGet(c *gin.Context, who caller) error {
	d, err := s.deployment(c, who)
	if err != nil {
		return err
	}
	return s.replyDeployment(c, http.StatusOK, d)
}

func (s *server) deploymentCancel(c *gin.Context, who caller) error {
	d, err := s.deployment(c, who)
	if err != nil {
		return err
	}
	if err := decodeOptional(c, &struct{}{}); err != nil {
		return err
	}
	if d, err = s.deps.Intake.CancelDeployment(c.Request.Context(), d.PipelineID, d.ID, who.Actor()); err != nil {
		return err
	}
	return s.replyDeployment(c, http.StatusAccepted, d)
}

// target is the body of rollback and promote.
type target struct {
	Deployment uuid.UUID `json:"deployment"`
}

func (s *server) deploymentRollback(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var t target
	if err := decodeOptional(c, &t); err != nil {
		return err
	}
	d, err := s.deps.Intake.Rollback(c.Request.Context(), p.ID, t.Deployment, who.Actor())
	if err != nil {
		return err
	}
	return s.replyDeployment(c, http.StatusAccepted, d)
}

func (s *server) deploymentPromote(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var t target
	if err := decode(c, maxJSON, &t); err != nil {
		return err
	}
	if t.Deployment == uuid.Nil {
		return troy.Errorf(troy.Invalid, "the value is missing; expected the id of the deployment to promote").At("deployment")
	}
	d, err := s.deps.Intake.Promote(c.Request.Context(), p.ID, t.Deployment, who.Actor())
	if err != nil {
		return err
	}
	return s.replyDeployment(c, http.StatusAccepted, d)
}
