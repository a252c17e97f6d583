package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

type previewPage struct {
	Previews []lists.Preview `json:"previews"`
	Next     string          `json:"next,omitempty"`
}

// previewView converts a row.
func (s *server) previewView(p queries.Pipeline, r queries.PreviewListRow) lists.Preview {
	v := lists.PreviewOf(r)
	if host := s.deps.Intake.PreviewHost(r.Preview.Label, p.Slug); host != "" {
		v.Host, v.URL = host, s.siteURL(host)
	}
	return v
}

func (s *server) previewList(c *gin.Context, who caller) error {
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	// The newest come first, so the first page begins after the end of time.
	after, err := pg.place(lists.Place{At: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: uuid.Max})
	if err != nil {
		return err
	}
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	rows, err := s.q.PreviewList(c.Request.Context(), queries.PreviewListParams{PipelineID: p.ID, BeforeTime: after.At, BeforeID: after.ID, PageLimit: pg.limit + 1})
	if err != nil {
		return fmt.Errorf("list the previews of %s: %w", p.ID, err)
	}
	rows, more := cut(rows, pg)
	answer := previewPage{Previews: []lists.Preview{}}
	for _, r := range rows {
		answer.Previews = append(answer.Previews, s.previewView(p, r))
	}
	if last := len(rows) - 1; more {
		answer.Next = lists.Place{At: rows[last].Preview.PushedAt, ID: rows[last].Preview.ID}.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

// preview reads a preview of a pipeline, also a closed one.
func (s *server) preview(ctx context.Context, p queries.Pipeline, label string) (lists.Preview, error) {
	v, err := s.q.PreviewOfLabel(ctx, p.ID, label)
	if errors.Is(err, pgx.ErrNoRows) {
		return lists.Preview{}, troy.Errorf(troy.NotFound, "the pipeline %s has no preview %s", p.Slug, troy.Clip(label))
	}
	if err != nil {
		return lists.Preview{}, fmt.Errorf("read the preview %s of %s: %w", label, p.ID, err)
	}
	row, err := lists.PreviewRow(ctx, s.q, v)
	if err != nil {
		return lists.Preview{}, err
	}
	return s.previewView(p, row), nil
}

func (s *server) replyPreview(c *gin.Context, status int, p queries.Pipeline, label string) error {
	v, err := s.preview(c.Request.Context(), p, label)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, status, v)
	return nil
}

// previewAgain answers a repeated request with the preview's current state.
func (s *server) previewAgain(status int) func(*gin.Context, uuid.UUID) error {
	return func(c *gin.Context, id uuid.UUID) error {
		ctx := c.Request.Context()
		pipeline, label := id, c.Param("label")
		if d, err := s.q.DeploymentGet(ctx, id); err == nil && d.PreviewID != nil {
			v, err := s.q.PreviewGet(ctx, *d.PreviewID)
			if err != nil {
				return gone("preview", *d.PreviewID)
			}
			pipeline, label = v.PipelineID, v.Label
		}
		p, err := s.q.PipelineGet(ctx, pipeline)
		if errors.Is(err, pgx.ErrNoRows) {
			return gone("pipeline", pipeline)
		}
		if err != nil {
			return fmt.Errorf("read pipeline %s: %w", pipeline, err)
		}
		return s.replyPreview(c, status, p, label)
	}
}

func (s *server) previewGet(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	return s.replyPreview(c, http.StatusOK, p, c.Param("label"))
}

func (s *server) previewCreate(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Branch string `json:"branch"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	v, d, err := s.deps.Intake.PreviewBranch(c.Request.Context(), p.ID, body.Branch, who.Actor())
	if err != nil {
		return err
	}
	note(c.Request.Context()).deployment = d.ID.String()
	return s.replyPreview(c, http.StatusAccepted, p, v.Label)
}

// changePreview is a handler that changes a preview without a body.
func (s *server) changePreview(status int, change func(ctx context.Context, pipeline uuid.UUID, label, actor string) error) func(*gin.Context, caller) error {
	return func(c *gin.Context, who caller) error {
		p, err := s.pipeline(c.Request.Context(), c, who)
		if err != nil {
			return err
		}
		if err := decodeOptional(c, &struct{}{}); err != nil {
			return err
		}
		if err := change(c.Request.Context(), p.ID, c.Param("label"), who.Actor()); err != nil {
			return err
		}
		return s.replyPreview(c, status, p, c.Param("label"))
	}
}

// pinPreview returns what pins previews, or unpins them.
func (s *server) pinPreview(pinned bool) func(context.Context, uuid.UUID, string, string) error {
	return func(ctx context.Context, pipeline uuid.UUID, label, actor string) error {
		return s.deps.Intake.PinPreview(ctx, pipeline, label, pinned, actor)
	}
}

// previewApprove builds a commit of an author who may not push to the
// repository.
func (s *server) previewApprove(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Commit string `json:"commit"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if body.Commit == "" {
		return troy.Errorf(troy.Invalid, "the value is missing; expected the full id of the commit").At("commit")
	}
	if err := s.deps.Intake.ApprovePreview(c.Request.Context(), p.ID, c.Param("label"), body.Commit, who.Actor()); err != nil {
		return err
	}
	return s.replyPreview(c, http.StatusAccepted, p, c.Param("label"))
}

func (s *server) previewPromote(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Deployment int64 `json:"deployment"`
	}
	if err := decodeOptional(c, &body); err != nil {
		return err
	}
	d, err := s.deps.Intake.PromotePreview(c.Request.Context(), p.ID, c.Param("label"), body.Deployment, who.Actor())
	if err != nil {
		return err
	}
	return s.replyDeployment(c, http.StatusAccepted, d)
}
