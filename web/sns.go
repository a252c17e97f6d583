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
	// snsOldest is how old a message may be: its id is remembered as long.
	// snsAhead is how far ahead of this machine's clock it may be.
	snsOldest, snsAhead = 30 * 24 * time.Hour, 15 * time.Minute
	// snsQuick bounds the fetch of a certificate and the confirmation. SNS
	// waits for 15 seconds.
	snsQuick = 10 * time.Second
	// maxCertificate is the most bytes of a certificate's file.
	maxCertificate = 64 << 10
	// maxCertificates is how many are kept. SNS has one for each region, and
	// the next one for some time.
	maxCertificates = 32
)

// snsEvent takes in what SNS posts: CodeBuild's updates of builds, and that a
// topic wants its subscription confirmed. SNS does not repeat what is answered
// with 4xx, so a fault of Troy's own is 503.
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

// verifySNS refuses what is not from a topic that is expected, and not signed
// by SNS. Nothing is fetched before the message's own form is right.
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
		return m, troy.Errorf(troy.Forbidden, "it is older than %d days, or ahead of the clock", snsOldest/(24*time.Hour)).At("Timestamp")
	}
	certificate, err := s.certificates.get(ctx, m.SigningCertURL)
	if err != nil {
		return m, troy.Errorf(troy.Unavailable, "the certificate of SNS could not be fetched: %w", err)
	}
	return m, m.Verify(certificate)
}

// takeSNS acts on a message that was verified.
func (s *server) takeSNS(ctx context.Context, m updates.Message) (intake.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, snsQuick)
	defer cancel()
	note(ctx).actor = "SNS message " + m.MessageID
	d := intake.BuildUpdate{ID: m.MessageID, Type: m.Type}
	switch m.Type {
	case updates.Subscribe:
		// By the API: the message's own address is fetched by nobody.
		if s.deps.ConfirmTopic == nil {
			return intake.Outcome{}, troy.Errorf(troy.Unavailable, "subscriptions can't be confirmed here: no AWS credentials are set up")
		}
		if err := s.deps.ConfirmTopic(ctx, m.TopicARN, m.Token); err != nil {
			return intake.Outcome{}, troy.Errorf(troy.Unavailable, "the subscription to %s could not be confirmed: %w", m.TopicARN, err)
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

// certificates keeps SNS's certificates by their addresses. Fetches are few a
// second at the most, since the addresses are in messages that nobody has
// verified yet.
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
		return nil, errors.New("too many certificates are asked for")
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

// snsClient follows nobody's redirects.
var snsClient = &http.Client{
	Timeout:       snsQuick,
	CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it is redirected") },
}

// fetchCertificate fetches what updates.Parse let through.
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
