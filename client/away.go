package client

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/troy-iaas/troy"
)

// awayAfter is how long calls have to fail before the server counts as away.
const awayAfter = time.Second

// presence is the state, shared by the calls of a client, of whether the server
// answers.
type presence struct {
	mu   sync.Mutex
	last time.Time // of the last response
	away bool
}

// answered records that the server answered a call.
func (p *presence) answered(c *Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	if p.away && c.Away != nil {
		c.Away(nil)
	}
	p.away = false
}

// missing records a failure. It returns how long no call has had an answer. The
// calling call has failed since then.
func (p *presence) missing(c *Client, since time.Time, err error) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last.After(since) {
		since = p.last
	}
	gone := time.Since(since)
	if !p.away && gone >= awayAfter {
		p.away = true
		if c.Away != nil {
			c.Away(err)
		}
	}
	return gone
}

// gaveUp adds the duration of the attempts to err, and keeps its field.
func gaveUp(err error, patience time.Duration) error {
	field := ""
	if e, ok := errors.AsType[*troy.Error](err); ok {
		plain := *e
		field, plain.Field, err = e.Field, "", &plain
	}
	return troy.Errorf(troy.Unavailable, "%w; gave up after %s", err, patience).At(field)
}

// reason describes why there was no response.
func reason(err error) string {
	var network net.Error
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && dns.IsNotFound:
		return "host not found: " + dns.Name
	case isDNS:
		return "can't look up " + dns.Name + " at the moment"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was closed before the answer"
	case errors.As(err, &network) && network.Timeout():
		return "the request timed out"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to the server"
	}
	return err.Error()
}
