package web

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/web/hook"
	"github.com/troy-iaas/troy/web/reply"
)

// mostTaken is how many messages of the outside are taken in at a time.
// Those beyond it are told to come back: what waits here only grows older.
const mostTaken = 1000

// forgeHook is what the hooks of the forges differ in.
type forgeHook struct {
	provider troy.Provider
	secret   string
	app      int64 // the number of Troy's app, 0 for none
	headers  func(http.Header) (hook.Delivery, error)
	parse    func(event string, body []byte) (troy.ForgeEvent, error)
}

func (s *server) githubHook(c *gin.Context) error {
	app, err := s.githubApp(c.Request.Context())
	if err != nil {
		return err
	}
	return s.delivery(c, forgeHook{troy.GitHub, app.WebhookSecret, app.ID, hook.GitHubDelivery, hook.ParseGitHub})
}

func (s *server) bitbucketHook(c *gin.Context) error {
	return s.delivery(c, forgeHook{troy.Bitbucket, s.cfg.BitbucketSecret, 0, hook.BitbucketDelivery, hook.ParseBitbucket})
}

// githubApp is Troy's app at GitHub, or zero as long as there is none.
func (s *server) githubApp(ctx context.Context) (forge.App, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	app, err := s.deps.GitHubApp.Current(ctx)
	if err != nil {
		return forge.App{}, fmt.Errorf("look up the GitHub app: %w", err)
	}
	return app, nil
}

// delivery takes in what a forge sent. Nothing of the body is looked at, or
// logged, before its signature is known to be right.
func (s *server) delivery(c *gin.Context, h forgeHook) error {
	if h.secret == "" {
		c.Header("Retry-After", "60")
		return troy.Errorf(troy.Unavailable, "deliveries of %s are not accepted: the secret of its webhook is not set", h.provider)
	}
	d, err := h.headers(c.Request.Header)
	if err != nil {
		s.refused(c, h, d, err, 0)
		return err
	}
	body, release, err := s.readUnverified(c, hook.MaxBody)
	defer release()
	if err != nil {
		s.refused(c, h, d, err, len(body))
		return fmt.Errorf("read a delivery of %s: %w", h.provider, err)
	}
	if !d.Verify([]byte(h.secret), body) {
		err := troy.Errorf(troy.Unauthenticated, "the signature is wrong; expected sha256=<HMAC-SHA-256 of the body with the webhook's secret>")
		s.refused(c, h, d, err, len(body))
		return err
	}
	return s.takeIn(c, h, d, body)
}

// takeIn takes in a delivery that was verified.
func (s *server) takeIn(c *gin.Context, h forgeHook, d hook.Delivery, body []byte) error {
	release, err := s.slot(c)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(c.Request.Context(), quick)
	defer cancel()
	note(ctx).actor = fmt.Sprintf("%s delivery %s", h.provider, d.ID)
	event, err := h.parse(d.Event, body)
	if err != nil {
		s.refused(c, h, d, err, len(body))
		return err
	}
	outcome, err := s.deps.Intake.ForgeEvent(ctx, s.forgeDelivery(h, d, event, body), h.ours(event))
	if err != nil {
		return err
	}
	if outcome.PipelineID != nil {
		note(ctx).pipeline = outcome.PipelineID.String()
	}
	reply.JSON(c.Writer, http.StatusAccepted, outcome)
	return nil
}

func (s *server) forgeDelivery(h forgeHook, d hook.Delivery, event troy.ForgeEvent, body []byte) intake.Delivery {
	taken := intake.Delivery{Provider: h.provider, ID: d.ID, Type: d.Event}
	// A push that says nothing of what moved looks the same each time, and
	// taking it in twice only reads the branches twice.
	if p, ok := event.(troy.PushEvent); ok && len(p.Pushes) > 0 {
		sum := sha256.Sum256(body)
		taken.BodySHA256 = sum[:]
	}
	return taken
}

// ours makes of another app's re-run button what it is to Troy.
func (h forgeHook) ours(event troy.ForgeEvent) troy.ForgeEvent {
	r, ok := event.(troy.Rerequest)
	if ok && h.app != 0 && r.AppID != strconv.FormatInt(h.app, 10) {
		return troy.Ignored{Name: "rerequested", Action: r.Action, Reason: "the check is of another app, " + r.AppID}
	}
	return event
}

// refused audits a delivery that changes nothing. Its body is not logged: it
// is anybody's text.
func (s *server) refused(c *gin.Context, h forgeHook, d hook.Delivery, why error, size int) {
	ctx := c.Request.Context()
	s.deps.Log.WarnContext(ctx, "a delivery was refused", "request", note(ctx).request, "provider", string(h.provider),
		"remote", c.Request.RemoteAddr, "delivery", d.ID, "event", d.Event, "bytes", size, "error", why)
	if troy.KindOf(why) == troy.Unauthenticated {
		c.Header("WWW-Authenticate", "HMAC-SHA256")
	}
}

// slot takes one of the places for what is taken in, once it is known to be
// from who it says it is. When all are taken, the sender is to come back.
func (s *server) slot(c *gin.Context) (release func(), err error) {
	select {
	case s.taken <- struct{}{}:
		return func() { <-s.taken }, nil
	default:
		c.Header("Retry-After", "5")
		return nil, troy.Errorf(troy.Unavailable, "%d messages are being taken in; send it again", mostTaken)
	}
}
