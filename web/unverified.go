package web

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
)

const (
	// unverifiedBytes is the total memory for messages from outside while they
	// arrive and are processed. unverifiedOfOne is the share of one remote
	// address, so that one sender leaves room for the others.
	unverifiedBytes = 64 << 20
	unverifiedOfOne = unverifiedBytes / 2
	// firstBuffer is the maximum size of the first buffer for a message. It is
	// reserved before the first byte is read.
	firstBuffer = 16 << 10
	// arrivalTime is the maximum time for a message to arrive. Forges and SNS
	// give up after 10 to 15 seconds.
	arrivalTime = 10 * time.Second
)

// unverified is the memory budget of messages without a credential in their
// header: their signature can be checked only after the whole body was read.
type unverified struct {
	all, ofOne int64

	mu     sync.Mutex
	used   int64
	remote map[netip.Prefix]int64
}

func newUnverified(all, ofOne int64) *unverified {
	return &unverified{all: all, ofOne: ofOne, remote: map[netip.Prefix]int64{}}
}

// reserve takes n bytes of the budget for a remote address; it returns false if
// there is no room.
func (u *unverified) reserve(remote netip.Prefix, n int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used+n > u.all || u.remote[remote]+n > u.ofOne {
		return false
	}
	u.used += n
	u.remote[remote] += n
	return true
}

func (u *unverified) release(remote netip.Prefix, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used -= n
	if u.remote[remote] -= n; u.remote[remote] <= 0 {
		delete(u.remote, remote)
	}
}

// remoteOf returns the address to whose share a request counts: an IPv4
// address, or an IPv6 network of 64 bits, the size of one subscriber's (RFC
// 6177). Requests without an address share one.
func remoteOf(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// readUnverified reads a body of at most most bytes that has to arrive within
// arrivalTime. The body counts against the budget until release is called. If
// there is no room, it returns an Unavailable error, and the sender retries.
func (s *server) readUnverified(c *gin.Context, most int64) (data []byte, release func(), err error) {
	release = func() {}
	if c.Request.ContentLength > most {
		return nil, release, &http.MaxBytesError{Limit: most}
	}
	if b, ok := c.Request.Body.(*body); ok {
		b.arriveWithin(arrivalTime)
	}
	remote, held := remoteOf(c.Request), int64(0)
	defer func() { release = func() { s.unverified.release(remote, held) } }()

	r := http.MaxBytesReader(c.Writer, c.Request.Body, most)
	size := int64(firstBuffer)
	if n := c.Request.ContentLength; n >= 0 {
		size = min(size, n+1)
	}
	for {
		if !s.unverified.reserve(remote, size-held) {
			c.Header("Retry-After", "5")
			return nil, release, troy.Errorf(troy.Unavailable, "too many messages arrive at once; send it again")
		}
		held = size
		grown := make([]byte, len(data), size)
		copy(grown, data)
		data = grown
		for len(data) < cap(data) {
			n, err := r.Read(data[len(data):cap(data)])
			data = data[:len(data)+n]
			if errors.Is(err, io.EOF) {
				return data, release, nil
			}
			if err != nil {
				return data, release, err
			}
		}
		size = min(2*size, max(most, size)+1)
	}
}
