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

// awayAfter is how long a server has to be missed before it is called away.
const awayAfter = time.Second

// presence is what the calls of a client know together of whether the server
// is there.
type presence struct {
	mu   sync.Mutex
	last time.Time // of the last answer
	away bool
}

// answered notes that the server did what it was asked for.
func (p *presence) answered(c *Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	if p.away && c.Away != nil {
		c.Away(nil)
	}
	p.away = false
}

// missing notes a failure, and returns for how long no call has had an answer.
// The call itself fails since that time.
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

// gaveUp adds for how long it was tried.
func gaveUp(err error, patience time.Duration) error {
	return troy.Errorf(troy.Unavailable, "%w; it was tried for %s", err, patience)
}

// reason says in words why there was no answer.
func reason(err error) string {
	var network net.Error
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && dns.IsNotFound:
		return "host not found: " + dns.Name
	case isDNS:
		return "the name " + dns.Name + " can't be looked up now"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was closed before the answer"
	case errors.As(err, &network) && network.Timeout():
		return "there was no answer in time"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to it"
	}
	return err.Error()
}
