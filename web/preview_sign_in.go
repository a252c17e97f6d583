package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
	"github.com/troy-iaas/troy/site"
)

// previewSignIn sends a visitor who may see a pipeline back to one of its
// previews, with a code for the browser that the edge sent here.
func (s *server) previewSignIn(ctx context.Context, c *gin.Context, who caller) error {
	ask := c.Query("ask")
	if !site.ValidAsk(ask) {
		return troy.Errorf(troy.Invalid, "this address is incomplete; open the preview again")
	}
	host, p, err := s.pipelineOfPreview(ctx, c.Query("host"))
	if err != nil {
		return err
	}
	note(ctx).pipeline = p.ID.String()
	if !who.Sees(p.ID) {
		return troy.Errorf(troy.Forbidden, "you are signed in as the %s %q, who may not see the pipeline of this preview; ask an admin for access", who.Kind(), who.Name)
	}
	wanted, err := s.q.AccessWanted(ctx, p.ID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (wanted.PreviewKey == nil || p.DistributionID == nil) {
		return troy.Errorf(troy.Conflict, "this preview does not ask visitors to sign in to Troy any more; open it again in a moment")
	}
	if err != nil {
		return fmt.Errorf("read who may see the previews of %s: %w", p.ID, err)
	}
	if s.deps.Secrets == nil {
		return troy.Errorf(troy.Unavailable, "Troy can't sign you in to previews: TROY_SECRET_KEY is not set")
	}
	key, err := s.deps.Secrets.Open(wanted.PreviewKey, secret.PreviewKey(p.ID))
	if err != nil {
		return err
	}
	code := site.PreviewVisit{Host: host, Distribution: *p.DistributionID}.Code(key, ask, s.now())
	view := struct {
		frame
		Preview, Address string
	}{s.pages.frame, host, s.siteURL(host) + site.CodeAddress(code, c.Query("to"))}
	// After a form, such as that of the page to sign in, its policy would not let
	// a redirect leave Troy.
	c.Header("Refresh", "0; url="+view.Address)
	return s.pages.show(c, http.StatusOK, openingPage, view, "")
}

// pipelineOfPreview returns the normalized host of a preview, and its pipeline.
// Whether the preview exists is for the edge to say.
func (s *server) pipelineOfPreview(ctx context.Context, text string) (host string, p queries.Pipeline, err error) {
	none := troy.Errorf(troy.NotFound, "this is not the address of a preview; open the preview again")
	if host, err = site.NormalizeHost(text); err != nil {
		return "", p, none
	}
	_, own, ok := s.deps.Intake.PreviewHosts().Split(host)
	if !ok {
		return "", p, none
	}
	id, err := s.q.AccessOfHost(ctx, own)
	if err == nil {
		p, err = s.q.PipelineGet(ctx, id)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return "", p, none
	}
	if err != nil {
		return "", p, fmt.Errorf("find the pipeline of %s: %w", host, err)
	}
	return host, p, nil
}
