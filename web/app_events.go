package web

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/web/reply"
)

const signatureHeader = "X-Troy-Signature-256"

// appEvent accepts an app event. It does not parse or log the body before it
// has verified its signature.
func (s *server) appEvent(c *gin.Context) error {
	if s.cfg.AppsSecret == "" {
		// Senders keep their events until the secret is set.
		c.Header("Retry-After", "60")
		return troy.Errorf(troy.Unavailable, "app events are not accepted: TROY_APPS_SECRET is not set")
	}
	body, free, err := s.readUnverified(c, maxEvent)
	defer free()
	if err != nil {
		return fmt.Errorf("read an app event: %w", err)
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	signatures := c.Request.Header.Values(signatureHeader)
	if len(signatures) != 1 || !forge.VerifyHMAC([]byte(s.cfg.AppsSecret), body, signatures[0]) {
		s.deps.Log.WarnContext(ctx, "an app event was refused for its signature", "request", note(ctx).request,
			"remote", c.Request.RemoteAddr, "signatures", len(signatures), "bytes", len(body))
		c.Header("WWW-Authenticate", "HMAC-SHA256")
		return troy.Errorf(troy.Unauthenticated, "the signature is missing or wrong; expected %s: sha256=<HMAC-SHA-256 of the body>", signatureHeader)
	}
	release, err := s.slot(c)
	if err != nil {
		return err
	}
	defer release()
	event, err := intake.ParseAppEvent(body)
	if err != nil {
		return err
	}
	note(ctx).actor = "app event " + event.ID
	outcome, err := s.deps.Intake.AppEvent(ctx, event)
	if err != nil {
		return err
	}
	if outcome.PipelineID != nil {
		note(ctx).pipeline = outcome.PipelineID.String()
	}
	reply.JSON(c.Writer, http.StatusAccepted, outcome)
	return nil
}
