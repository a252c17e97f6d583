package edge

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/troy-iaas/troy/internal/network"
)

// connections counts the open connections of clients, in all and by address.
type connections struct {
	max, perClient int
	trusted        network.Proxies
	others         others

	mu       sync.Mutex
	total    int
	byClient map[netip.Prefix]int
	refused  [refusals]int // since the last report
	reported time.Time
}

// refusal is why a connection was closed at once.
type refusal int

const (
	allOpen  refusal = iota // as many as allowed are open
	ofClient                // the client has as many as it may have
	noFiles                 // the system has no more files or memory
	refusals = iota
)

// refuse counts a connection that was closed at once.
func (c *connections) refuse(why refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[why]++
}

// reportInterval is the minimum time between two reports.
const reportInterval = time.Minute

// report logs how many connections were refused since the last report.
func (c *connections) report(now time.Time, log *slog.Logger) {
	c.mu.Lock()
	refused := c.refused
	if refused == [refusals]int{} || now.Sub(c.reported) < reportInterval {
		c.mu.Unlock()
		return
	}
	c.refused, c.reported = [refusals]int{}, now
	c.mu.Unlock()
	log.Warn("connections were closed at once", "all_open", refused[allOpen], "client_has_too_many", refused[ofClient], "no_files_or_memory", refused[noFiles])
}

// newConnections returns a count with bounds; perClient 0 means no bound.
func newConnections(most, perClient int, trusted network.Proxies) *connections {
	return &connections{max: most, perClient: perClient, trusted: trusted, byClient: make(map[netip.Prefix]int)}
}

// client returns the network that counts as one client. counted is false for
// proxies, which connect for all their clients, and for private networks.
func (c *connections) client(from netip.Addr) (who netip.Prefix, counted bool) {
	from = from.Unmap().WithZone("")
	return network.Subscriber(from), !from.IsPrivate() && !from.IsLinkLocalUnicast() && !c.trusted.Contain(from)
}

// admit counts a new connection. It returns false if the connection must be
// closed.
func (c *connections) admit(from netip.Addr) bool {
	who, counted := c.client(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.total >= c.max:
		c.refused[allOpen]++
		return false
	case counted && c.perClient > 0 && c.byClient[who] >= c.perClient:
		c.refused[ofClient]++
		return false
	}
	c.total++
	if counted {
		c.byClient[who]++
	}
	return true
}

// release counts the end of an admitted connection.
func (c *connections) release(from netip.Addr) {
	who, counted := c.client(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if !counted {
		return
	}
	if c.byClient[who]--; c.byClient[who] <= 0 {
		delete(c.byClient, who)
	}
}

// crowded reports whether so many connections are open that idle ones have to
// go.
func (c *connections) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total > c.max/4*3
}

// others are the idle connections that net/http serves. The zero value has none.
type others struct {
	mu   sync.Mutex
	idle map[net.Conn]time.Time // since when
}

// change is the ConnState function of an http.Server.
func (o *others) change(c net.Conn, state http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if state != http.StateIdle {
		delete(o.idle, c)
		return
	}
	if o.idle == nil {
		o.idle = make(map[net.Conn]time.Time)
	}
	o.idle[c] = time.Now()
}

// closeIdle closes the connections that have been idle since before a time.
func (o *others) closeIdle(before time.Time) {
	var old []net.Conn
	o.mu.Lock()
	for c, since := range o.idle {
		if since.Before(before) {
			old = append(old, c)
			delete(o.idle, c)
		}
	}
	o.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}

// handoff is a listener of connections that were accepted elsewhere.
type handoff struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

var errStopped = errors.New("the server is stopping")

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, errStopped
	}
}

// give passes a connection to Accept, or closes it if the server is stopping.
func (h *handoff) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		_ = c.Close()
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.addr }

// begun is a connection whose first bytes were read already.
type begun struct {
	net.Conn
	first []byte
	ended func() // called by the first Close
	once  sync.Once
}

func (b *begun) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	return b.Conn.Read(p)
}

// ReadFrom keeps sendfile possible.
func (b *begun) ReadFrom(r io.Reader) (int64, error) { return io.Copy(b.Conn, r) }

// CloseWrite lets net/http end a connection without losing its last response.
func (b *begun) CloseWrite() error {
	if c, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

func (b *begun) Close() error {
	err := b.Conn.Close()
	b.once.Do(b.ended)
	return err
}

// remote returns the IP address of a peer, or the zero Addr.
func remote(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr()
	}
	return netip.Addr{}
}
