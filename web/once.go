package web

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/web/reply"
)

// once carries out a request with an Idempotency-Key once. It answers a
// repetition with what the first request made or moved.
func (s *server) once(again func(*gin.Context, uuid.UUID) error, h func(*gin.Context, caller) error) func(*gin.Context, caller) error {
	return func(c *gin.Context, who caller) error {
		key, err := idempotencyKey(c.Request)
		if err != nil {
			return err
		}
		if key == nil {
			return h(c, who)
		}
		body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxJSON))
		if err != nil {
			return err
		}
		c.Request.Body, c.Request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		digest := sha256.New()
		fmt.Fprintf(digest, "%s %s\n", c.Request.Method, c.Request.URL.Path)
		digest.Write(body) // never fails
		c.Request = c.Request.WithContext(intake.Once(c.Request.Context(), intake.Request{Token: who.ID, Key: *key, Digest: digest.Sum(nil)}))
		err = h(c, who)
		if repeated, ok := errors.AsType[*intake.Repeated](err); ok {
			return again(c, repeated.Subject)
		}
		return err
	}
}

// pipelineAgain answers with the current state of a pipeline.
func (s *server) pipelineAgain(status int) func(*gin.Context, uuid.UUID) error {
	return func(c *gin.Context, id uuid.UUID) error {
		p, err := s.q.PipelineGet(c.Request.Context(), id)
		if errors.Is(err, pgx.ErrNoRows) {
			return gone("pipeline", id)
		}
		if err != nil {
			return fmt.Errorf("read pipeline %s: %w", id, err)
		}
		c.Header("Location", "/v1/pipelines/"+p.ID.String())
		return s.replyPipeline(c, status, p)
	}
}

// deploymentAgain answers with the current state of a deployment.
func (s *server) deploymentAgain(c *gin.Context, id uuid.UUID) error {
	d, err := s.q.DeploymentGet(c.Request.Context(), id)
	if errors.Is(err, pgx.ErrNoRows) {
		return gone("deployment", id)
	}
	if err != nil {
		return fmt.Errorf("read deployment %s: %w", id, err)
	}
	c.Header("Location", fmt.Sprintf("/v1/pipelines/%s/deployments/%s", d.PipelineID, d.ID))
	return s.replyDeployment(c, http.StatusAccepted, d)
}

func gone(what string, id uuid.UUID) error {
	return troy.Errorf(troy.NotFound, "the %s %s, which the first request with this key made or moved, was deleted", what, id)
}

// rungAgain answers for a task that was rung.
func (s *server) rungAgain(c *gin.Context, id uuid.UUID) error {
	reply.JSON(c.Writer, http.StatusAccepted, map[string]string{"id": id.String(), "result": "the first request with this key rang it"})
	return nil
}
