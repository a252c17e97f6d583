package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder/codebuild/updates"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/web/reply"
)

const (
	// snsOldest is the maximum age of a message: its id is kept as long.
	// snsAhead is how far its time may be ahead of this machine's clock.
	snsOldest, snsAhead = 30 * 24 * time.Hour, 15 * time.Minute
	// snsQuick bounds the fetch of a certificate and the confirmation. SNS
	// waits for 15 seconds.
	snsQuick = 10 * time.Second
	// maxCertificate is the maximum size of a certificate's file.
	maxCertificate = 64 << 10
	// maxCertificates is how many are cached. SNS has one for each region, and
	// for some time the next one.
	maxCertificates = 32
)

// snsEvent accepts SNS's messages: CodeBuild's updates of builds, and requests
// to confirm a subscription. SNS does not repeat a message that got a 4xx, so a
// fault of Troy's own is answered with 503.
func (s *server) snsEvent(c *gin.Context) error {
	if len(s.cfg.SNSTopics) == 0 {
		c.Header("Retry-After", "60")
		return troy.Errorf(troy.Unavailable, "messages of SNS are not accepted: TROY_SNS_TOPICS is not set")
	}
	body, free, err := s.readUnverified(c, updates.MaxMessage)
	defer free()
	if err != nil {
		return fmt.Errorf("read a message of SNS: %w", err)
	}
	m, err := s.verifySNS(c.Request.Context(), body)
	if err != nil {
		ctx := c.Request.Context()
		s.deps.Log.WarnContext(ctx, "a message of SNS was refused", "request", note(ctx).request, "remote", c.Request.RemoteAddr,
			"message", m.MessageID, "bytes", len(body), "error", err)
		return err
	}
	release, err := s.slot(c)
	if err != nil {
		return err
	}
	defer release()
	outcome, err := s.takeSNS(c.Request.Context(), m)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, outcome)
	return nil
}

// verifySNS refuses messages that are not from an expected topic or not signed
// by SNS. It fetches nothing before it has checked the message's form.
func (s *server) verifySNS(ctx context.Context, body []byte) (updates.Message, error) {
	m, err := updates.Parse(body)
	if err != nil {
		return m, err
	}
	if !slices.Contains(s.cfg.SNSTopics, m.TopicARN) {
		return m, troy.Errorf(troy.Forbidden, "the topic is not one of TROY_SNS_TOPICS").At("TopicArn")
	}
	now := s.now()
	if m.Sent.Before(now.Add(-snsOldest)) || m.Sent.After(now.Add(snsAhead)) {
		return m, troy.Errorf(troy.Forbidden, "the message is older than %d days, or ahead of the clock", snsOldest/(24*time.Hour)).At("Timestamp")
	}
	certificate, err := s.certificates.get(ctx, m.SigningCertURL)
	if err != nil {
		return m, troy.Errorf(troy.Unavailable, "fetch the certificate of SNS: %w", err)
	}
	return m, m.Verify(certificate)
}

// takeSNS processes a verified message.
func (s *server) takeSNS(ctx context.Context, m updates.Message) (intake.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, snsQuick)
	defer cancel()
	note(ctx).actor = "SNS message " + m.MessageID
	d := intake.BuildUpdate{ID: m.MessageID, Type: m.Type}
	switch m.Type {
	case updates.Subscribe:
		// Through the API: Troy never fetches the message's own address.
		if s.deps.ConfirmTopic == nil {
			return intake.Outcome{}, troy.Errorf(troy.Unavailable, "subscriptions can't be confirmed here: AWS credentials are not set")
		}
		if err := s.deps.ConfirmTopic(ctx, m.TopicARN, m.Token); err != nil {
			return intake.Outcome{}, troy.Errorf(troy.Unavailable, "confirm the subscription to %s: %w", m.TopicARN, err)
		}
		d.Words = "the subscription to " + m.TopicARN + " is confirmed"
	case updates.Unsubscribe:
		s.deps.Log.WarnContext(ctx, "the subscription to a topic was removed; builds are polled until it is subscribed again", "topic", m.TopicARN)
		d.Words = "the subscription to " + m.TopicARN + " was removed"
	default:
		event := updates.ParseEvent(m.Message)
		d.Deployment, d.Words = event.Deployment, event.Words
	}
	return s.deps.Intake.BuildUpdated(ctx, d)
}

// certificates caches SNS's certificates by address. It fetches at most a few
// per second, since the addresses come from unverified messages.
type certificates struct {
	fetch   func(ctx context.Context, address string) ([]byte, error)
	fetches *rate.Limiter

	mu   sync.Mutex
	kept map[string][]byte
}

func (c *certificates) get(ctx context.Context, address string) ([]byte, error) {
	c.mu.Lock()
	data, ok := c.kept[address]
	c.mu.Unlock()
	if ok {
		return data, nil
	}
	if !c.fetches.Allow() {
		return nil, errors.New("too many certificates are requested")
	}
	ctx, cancel := context.WithTimeout(ctx, snsQuick)
	defer cancel()
	data, err := c.fetch(ctx, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil || len(c.kept) >= maxCertificates {
		c.kept = map[string][]byte{}
	}
	c.kept[address] = data
	return data, nil
}

// snsClient does not follow redirects.
var snsClient = &http.Client{
	Timeout:       snsQuick,
	CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the server redirects") },
}

// fetchCertificate fetches an address that updates.Parse has accepted.
func fetchCertificate(ctx context.Context, address string) (data []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := snsClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %d", resp.StatusCode)
	}
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxCertificate+1))
	if err == nil && len(data) > maxCertificate {
		err = fmt.Errorf("more than %d bytes", maxCertificate)
	}
	return data, err
}
