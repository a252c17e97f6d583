package web

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/web/reply"
)

// mostTaken is the maximum number of outside messages that are processed
// concurrently. Senders of others are asked to retry: waiting here would only
// delay them.
const mostTaken = 1000

// webhook makes the route of a forge's deliveries.
func (s *server) webhook(a forge.Adapter) gin.HandlerFunc {
	return s.anonymous(func(c *gin.Context) error {
		ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
		defer cancel()
		hook, err := a.Webhook(ctx)
		if err != nil {
			return err
		}
		return s.delivery(c, a.Provider, hook)
	})
}

// delivery accepts a forge's delivery. It does not parse or log the body before
// it has verified its signature.
func (s *server) delivery(c *gin.Context, provider troy.Provider, hook forge.Webhook) error {
	if hook.Verify == nil {
		c.Header("Retry-After", "60")
		return troy.Errorf(troy.Unavailable, "deliveries of %s are not accepted: the secret of its webhook is not set", provider)
	}
	d, err := hook.Headers(c.Request.Header)
	if err != nil {
		s.refused(c, provider, d, err, 0)
		return err
	}
	body, release, err := s.readUnverified(c, forge.MaxDelivery)
	defer release()
	if err != nil {
		s.refused(c, provider, d, err, len(body))
		return fmt.Errorf("read a delivery of %s: %w", provider, err)
	}
	if err := hook.Verify(d, body); err != nil {
		s.refused(c, provider, d, err, len(body))
		return err
	}
	return s.takeIn(c, provider, forge.Verified{Delivery: d, Body: body, Parse: hook.Parse})
}

// takeIn accepts a verified delivery.
func (s *server) takeIn(c *gin.Context, provider troy.Provider, v forge.Verified) error {
	release, err := s.slot(c)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	note(ctx).actor = fmt.Sprintf("%s delivery %s", provider, v.Delivery.ID)
	event, err := v.Parse(v.Delivery.Event, v.Body)
	if err != nil {
		s.refused(c, provider, v.Delivery, err, len(v.Body))
		return err
	}
	outcome, err := s.deps.Intake.ForgeEvent(ctx, taken(provider, v, event), event)
	if err != nil {
		return err
	}
	if outcome.PipelineID != nil {
		note(ctx).pipeline = outcome.PipelineID.String()
	}
	reply.JSON(c.Writer, http.StatusAccepted, outcome)
	return nil
}

func taken(provider troy.Provider, v forge.Verified, event troy.ForgeEvent) intake.Delivery {
	d := intake.Delivery{Provider: provider, ID: v.Delivery.ID, Type: v.Delivery.Event}
	// Pushes without changes all look the same, and accepting one twice only
	// reads the branches twice.
	if p, ok := event.(troy.PushEvent); ok && len(p.Pushes) > 0 {
		sum := sha256.Sum256(v.Body)
		d.BodySHA256 = sum[:]
	}
	return d
}

// refused audits a delivery that changes nothing. It does not log the body,
// which may come from anyone.
func (s *server) refused(c *gin.Context, provider troy.Provider, d forge.Delivery, why error, size int) {
	ctx := c.Request.Context()
	s.deps.Log.WarnContext(ctx, "a delivery was refused", "request", note(ctx).request, "provider", string(provider),
		"remote", c.Request.RemoteAddr, "delivery", d.ID, "event", d.Event, "bytes", size, "error", why)
	if troy.KindOf(why) == troy.Unauthenticated {
		c.Header("WWW-Authenticate", "HMAC-SHA256")
	}
}

// slot takes one of the slots for verified messages. If none is free, it asks
// the sender to retry.
func (s *server) slot(c *gin.Context) (release func(), err error) {
	select {
	case s.taken <- struct{}{}:
		return func() { <-s.taken }, nil
	default:
		c.Header("Retry-After", "5")
		return nil, troy.Errorf(troy.Unavailable, "%d messages are being processed; send it again", mostTaken)
	}
}
