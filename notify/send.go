package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	// sendTimeout bounds one attempt with its answer.
	sendTimeout = 10 * time.Second
	// maxAnswer bounds what is kept of an answer, in bytes.
	maxAnswer = 300
	// Bounds of a Retry-After. After any failed attempt the receiver is left
	// alone for the least of them.
	leastPause, mostPause = 15 * time.Second, time.Hour
)

// ErrGone means that the receiver answered 410: it wants no more messages.
var ErrGone = errors.New("the receiver answered 410 Gone")

// BusyError means that the receiver asked to come back later.
type BusyError struct {
	status int
	after  time.Duration
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("the receiver answered %d and asks to come back in %s", e.status, e.after)
}

// RetryAfter returns when to come back.
func (e *BusyError) RetryAfter() time.Duration { return e.after }

// Answer is what a receiver answered.
type Answer struct {
	Status int    // of HTTP or SMTP; 0 if none came
	Text   string // the beginning of the body, one line
	// Done are the recipients of an e-mail who have it, or whom the server refused
	// for good. The others may get it when it is sent again.
	Done []string
}

// Sender sends messages.
type Sender struct {
	mail   *Mail
	client *http.Client
}

// NewSender returns a sender. private are the networks besides the public
// Internet to which messages may be sent; mail is nil if e-mail can't be sent.
func NewSender(private []netip.Prefix, mail *Mail) *Sender {
	dialer := &net.Dialer{Timeout: sendTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !allowed(at.Addr(), private) {
			return errors.New("its address is not a public one; the operator can allow it with TROY_NOTIFY_PRIVATE")
		}
		return nil
	}}
	return &Sender{mail: mail, client: &http.Client{
		// Without a proxy: it would connect to addresses that are not checked.
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Send sends a message once. The error is ErrGone, a *BusyError or says why the
// message was not accepted; it never has the target's address.
func (s *Sender) Send(ctx context.Context, kind Kind, t Target, m Message) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if kind == Email {
		return s.mail.send(ctx, t.To, m)
	}
	body, err := m.Body(kind)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return Answer{}, errors.New("its address can't be read")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "troy (notifications)")
	if kind == Webhook {
		if err := sign(req.Header, t, m, body); err != nil {
			return Answer{}, err
		}
	}
	res, err := s.client.Do(req)
	if err != nil {
		var u *url.Error // it has the whole address, which may be a secret
		if errors.As(err, &u) {
			err = u.Err
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", sendTimeout)
		}
		return Answer{}, fmt.Errorf("send to %s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	// What was answered is for people; the status decides, also if the body
	// breaks off.
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	answer := Answer{Status: res.StatusCode, Text: line(string(text), maxAnswer)}
	return answer, refusal(res, time.Now())
}

// sign adds the headers of Standard Webhooks. The id stays the same when a
// message is sent again, so that a receiver can ignore the second one.
// Keys that were replaced sign too until they end.
func sign(h http.Header, t Target, m Message, body []byte) error {
	now := time.Now()
	keys := []string{t.Key}
	for _, e := range t.earlier(now) {
		keys = append(keys, e.Key)
	}
	var signatures []string
	for _, key := range keys {
		signer, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			return errors.New("its signing key can't be read")
		}
		signature, err := signer.Sign(m.ID.String(), now, body)
		if err != nil {
			return fmt.Errorf("sign notification %s: %w", m.ID, err)
		}
		signatures = append(signatures, signature)
	}
	h.Set(standardwebhooks.HeaderWebhookID, m.ID.String())
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return nil
}

func refusal(res *http.Response, now time.Time) error {
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusGone:
		return ErrGone
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return fmt.Errorf("the receiver answered %d: Troy follows no redirects, so give the address to which it leads", res.StatusCode)
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable:
		if after := res.Header.Get("Retry-After"); after != "" {
			wait := mostPause
			if n, err := strconv.ParseUint(after, 10, 16); err == nil {
				wait = time.Duration(n) * time.Second
			} else if at, err := http.ParseTime(after); err == nil {
				wait = at.Sub(now)
			}
			return &BusyError{res.StatusCode, max(min(wait, mostPause), leastPause).Round(time.Second)}
		}
	}
	return fmt.Errorf("the receiver answered %d", res.StatusCode)
}
