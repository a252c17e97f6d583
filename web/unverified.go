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
	// unverifiedBytes is the memory that messages from outside may take
	// together while they arrive and are handled. unverifiedOfOne is what those
	// from one remote address may take of it, so that one sender leaves room
	// for the others.
	unverifiedBytes = 64 << 20
	unverifiedOfOne = unverifiedBytes / 2
	// firstBuffer is the largest buffer that a message is read into at first. It
	// is reserved before the first byte is read.
	firstBuffer = 16 << 10
	// arrivalTime is how long a message may take to arrive. Forges and SNS give
	// up after 10 to 15 seconds.
	arrivalTime = 10 * time.Second
)

// unverified is the memory budget of messages that have no credential in
// front of the body: their signature can be checked only after all of the body
// was read.
type unverified struct {
	all, ofOne int64

	mu     sync.Mutex
	used   int64
	remote map[netip.Prefix]int64
}

func newUnverified(all, ofOne int64) *unverified {
	return &unverified{all: all, ofOne: ofOne, remote: map[netip.Prefix]int64{}}
}

// reserve takes n bytes of the budget for a remote address, or reports false.
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

// remoteOf is whose share of the budget a request counts against: an IPv4
// address, or an IPv6 network of 64 bits, which is what one subscriber has
// (RFC 6177). Requests without an address share one.
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
// arrivalTime. The body counts against the budget until release is called. A
// body that finds no room is an Unavailable error: its sender comes back.
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
