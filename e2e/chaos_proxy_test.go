//go:build chaos

package e2e

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy is between Troy's processes and a server, and simulates network faults.
type proxy struct {
	address string
	target  atomic.Pointer[string]
	delay   atomic.Int64 // nanoseconds, for each piece in either direction
	drop    atomic.Int64 // number of replies to lose with their connection
	closed  chan struct{}

	mu    sync.Mutex
	conns map[net.Conn]bool
	wait  sync.WaitGroup
}

// newProxy listens until the test ends.
func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: l.Addr().String(), conns: map[net.Conn]bool{}, closed: make(chan struct{})}
	p.target.Store(&target)
	p.wait.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.wait.Go(func() { p.carry(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); close(p.closed); p.cut(); p.wait.Wait() })
	return p
}

func (p *proxy) carry(client net.Conn) {
	server, err := net.DialTimeout("tcp", *p.target.Load(), 5*time.Second)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, false) })
	both.Go(func() { p.copy(client, server, true) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

func (p *proxy) copy(to, from net.Conn, reply bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if d := time.Duration(p.delay.Load()); d > 0 {
				select {
				case <-time.After(d): // network latency
				case <-p.closed:
					return
				}
			}
			// The request had its effect, but the reply is lost.
			if reply && p.drop.Load() > 0 && p.drop.Add(-1) >= 0 {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}
