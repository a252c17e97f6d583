package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

// domainJSON is a custom domain of a pipeline's site.
type domainJSON struct {
	lists.Domain
	// Report is what DNS said at the last check, in the answers about one
	// domain.
	Report json.RawMessage `json:"report,omitempty"`
}

// domainView converts a row. own is the site's own host.
func (s *server) domainView(d queries.CustomDomain, own string, whole bool) domainJSON {
	j := domainJSON{Domain: lists.DomainOf(d, own, s.cfg.EdgeAddresses)}
	if whole && len(d.Report) > 0 {
		j.Report = d.Report
	}
	return j
}

func (s *server) domainViews(ctx context.Context, pipeline uuid.UUID) ([]domainJSON, error) {
	own, err := s.q.PipelineHost(ctx, pipeline)
	if err != nil {
		return nil, fmt.Errorf("read the host of pipeline %s: %w", pipeline, err)
	}
	rows, err := s.q.CustomDomainList(ctx, pipeline)
	if err != nil {
		return nil, fmt.Errorf("list the domains of pipeline %s: %w", pipeline, err)
	}
	out := []domainJSON{}
	for _, d := range rows {
		out = append(out, s.domainView(d, own, false))
	}
	return out, nil
}

func (s *server) replyDomains(c *gin.Context, status int, pipeline uuid.UUID) error {
	list, err := s.domainViews(c.Request.Context(), pipeline)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, status, map[string]any{"domains": list})
	return nil
}

func (s *server) domainList(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	return s.replyDomains(c, http.StatusOK, p.ID)
}

// domainsAgain answers a repeated request with the domains that exist now.
func (s *server) domainsAgain(status int) func(*gin.Context, uuid.UUID) error {
	return func(c *gin.Context, pipeline uuid.UUID) error { return s.replyDomains(c, status, pipeline) }
}

// domainAgain answers a repeated request with the domain's current state.
func (s *server) domainAgain(c *gin.Context, pipeline uuid.UUID) error {
	return s.replyDomain(c, http.StatusAccepted, pipeline, s.hostOf(c))
}

// hostOf returns the domain in the request's path, in its normal form.
func (s *server) hostOf(c *gin.Context) string {
	host := c.Param("host")
	if normal, err := s.deps.Intake.ParseDomain(host); err == nil {
		return normal
	}
	return host
}

func (s *server) domainAdd(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	var body struct {
		Host *string `json:"host"`
		Pair *bool   `json:"pair"`
	}
	if err := decode(c, maxJSON, &body); err != nil {
		return err
	}
	if body.Host == nil {
		return troy.Errorf(troy.Invalid, "the host is missing; expected a name like www.example.com").At("host")
	}
	if err := s.addDomain(c.Request.Context(), p, *body.Host, body.Pair != nil && !*body.Pair, who); err != nil {
		return err
	}
	return s.replyDomains(c, http.StatusCreated, p.ID)
}

// addDomain adds a domain as typed.
func (s *server) addDomain(ctx context.Context, p queries.Pipeline, typed string, alone bool, who caller) error {
	host, err := s.deps.Intake.ParseDomain(typed)
	if err != nil {
		return err
	}
	return s.deps.Intake.AddDomain(ctx, p.ID, intake.NewDomain{
		Host: host, Alone: alone, ProvenBy: s.deps.DomainProof, Reveal: who.Pipelines == nil,
	}, who.Actor())
}

// named returns a domain of the request's pipeline.
func (s *server) named(c *gin.Context, who caller) (queries.Pipeline, queries.CustomDomain, error) {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return p, queries.CustomDomain{}, err
	}
	d, err := intake.Domain(c.Request.Context(), s.q, p.ID, s.hostOf(c))
	return p, d, err
}

func (s *server) replyDomain(c *gin.Context, status int, pipeline uuid.UUID, host string) error {
	ctx := c.Request.Context()
	own, err := s.q.PipelineHost(ctx, pipeline)
	if err != nil {
		return fmt.Errorf("read the host of pipeline %s: %w", pipeline, err)
	}
	d, err := intake.Domain(ctx, s.q, pipeline, host)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, status, s.domainView(d, own, true))
	return nil
}

func (s *server) domainGet(c *gin.Context, who caller) error {
	p, d, err := s.named(c, who)
	if err != nil {
		return err
	}
	return s.replyDomain(c, http.StatusOK, p.ID, d.Host)
}

func (s *server) domainVerify(c *gin.Context, who caller) error {
	p, d, err := s.named(c, who)
	if err != nil {
		return err
	}
	if err := s.deps.Intake.VerifyDomain(c.Request.Context(), p.ID, d.Host); err != nil {
		return err
	}
	return s.replyDomain(c, http.StatusAccepted, p.ID, d.Host)
}

func (s *server) domainPrimary(c *gin.Context, who caller) error {
	p, d, err := s.named(c, who)
	if err != nil {
		return err
	}
	if err := s.deps.Intake.MakePrimary(c.Request.Context(), p.ID, d.Host, who.Actor()); err != nil {
		return err
	}
	return s.replyDomains(c, http.StatusOK, p.ID)
}

func (s *server) domainRemove(c *gin.Context, who caller) error {
	p, d, err := s.named(c, who)
	if err != nil {
		return err
	}
	pair := c.DefaultQuery("pair", "true")
	if pair != "true" && pair != "false" {
		return troy.Errorf(troy.Invalid, "expected true or false").At("pair")
	}
	removed, err := s.deps.Intake.RemoveDomain(c.Request.Context(), p.ID, d.Host, pair == "false", who.Actor())
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, map[string]any{"removed": removed})
	return nil
}
