package edge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// manyHandshakes is the number of QUIC handshakes from which on clients must
// prove their addresses first (RFC 9000 §8.1.2), because the addresses of the
// first packets can be forged.
const manyHandshakes = 32

// altSvcAge is how long browsers remember that a host has HTTP/3 (RFC 7838). They
// use TCP again as soon as QUIC fails.
const altSvcAge = "86400"

var errBusy = errors.New("too many connections")

// ServeHTTP3 answers HTTP/3 requests from packets until ctx is done. Then it
// completes the requests that it has read, but takes no longer than grace.
// ServeTLS must run too, because it manages the certificates. ServeHTTP3 fails if
// the server has no HTTP/3.
func (s *Server) ServeHTTP3(ctx context.Context, packets net.PacketConn, grace time.Duration) error {
	if s.secure == nil || s.secure.altSvc == "" {
		return errors.New("edge: the server has no HTTP/3")
	}
	transport := &quic.Transport{Conn: packets, ConnContext: s.greetQUIC, VerifySourceAddress: func(net.Addr) bool {
		return len(s.secure.handshakes.slots) >= min(manyHandshakes, cap(s.secure.handshakes.slots)/2)
	}}
	defer func() { _ = transport.Close() }()
	// Requests in 0-RTT packets could be replayed, so they are not accepted.
	l, err := transport.Listen(http3.ConfigureTLSConfig(s.secure.certificates.TLSConfig()), &quic.Config{
		HandshakeIdleTimeout: s.times.header, MaxIdleTimeout: s.times.idle,
	})
	if err != nil {
		return err
	}
	server := &http3.Server{Handler: http.HandlerFunc(s.serveStream), MaxHeaderBytes: 32 << 10, IdleTimeout: s.times.idle}
	var group sync.WaitGroup
	defer group.Wait()
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			if ctx.Err() == nil {
				return err
			}
			break
		}
		conn.Context().Value(greetingKey{}).(*sync.Once).Do(func() { <-s.secure.handshakes.slots })
		group.Go(func() { _ = server.ServeQUICConn(conn) }) // how a connection ends concerns its client alone
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	_ = server.Shutdown(stopCtx) // closes the connections that remain
	return nil
}

// greetingKey is the key of a QUIC connection's place among the handshakes.
type greetingKey struct{}

// greetQUIC admits a new QUIC connection. While many connections are open, clients
// get none and use TCP, whose idle connections can be closed.
func (s *Server) greetQUIC(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	from := netip.Addr{}
	if udp, ok := info.RemoteAddr.(*net.UDPAddr); ok {
		from = udp.AddrPort().Addr()
	}
	if s.limits.crowded() || !s.limits.admit(from) {
		return nil, errBusy
	}
	select {
	case s.secure.handshakes.slots <- struct{}{}:
	default:
		s.limits.release(from)
		return nil, errBusy
	}
	once := &sync.Once{}
	context.AfterFunc(ctx, func() { // the connection ended, or its handshake failed
		once.Do(func() { <-s.secure.handshakes.slots })
		s.limits.release(from)
	})
	return context.WithValue(ctx, greetingKey{}, once), nil
}

// serveStream serves one request with the time limits of the other protocols.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	control, now := http.NewResponseController(w), time.Now()
	if errors.Join(control.SetReadDeadline(now.Add(s.times.body)), control.SetWriteDeadline(now.Add(s.times.write))) != nil {
		return // the stream is closed
	}
	s.ServeHTTP(w, r)
}
