package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// background starts what runs beside the requests until ctx is done. stop waits
// for it, and writes what was observed.
func (s *Server) background(ctx context.Context) (stop func()) {
	s.clock.tick()
	go s.encoder.run(ctx)
	// The last requests need the others.
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	group.Go(func() { s.clock.run(serving) })
	group.Go(func() { s.limits.run(serving, s.times.crowded, s.log) })
	if s.observer != nil {
		group.Go(func() { s.observer.run(serving) })
	}
	return func() { end(); group.Wait() }
}

// run reports refused connections, and closes net/http's idle ones that have to
// go, until ctx is done.
func (c *connections) run(ctx context.Context, idleFor time.Duration, log *slog.Logger) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			c.report(now, log)
			if c.crowded() {
				c.others.closeIdle(now.Add(-idleFor))
			}
		}
	}
}

// serveOthers serves a listener with net/http until ctx is done, and then
// completes the requests that have begun, within grace.
func (s *Server) serveOthers(ctx context.Context, l net.Listener, grace time.Duration) error {
	server := s.HTTPServer()
	server.ConnState = s.limits.others.change
	return s.serveWith(ctx, server, l, grace)
}

// serveWith serves a listener with a server until ctx is done.
func (s *Server) serveWith(ctx context.Context, server *http.Server, l net.Listener, grace time.Duration) error {
	failed := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			failed <- server.ServeTLS(l, "", "")
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(stopCtx); err != nil {
		return server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listener returns a listener whose connections count.
func (c *connections) listener(l net.Listener) net.Listener { return counted{l, c} }

type counted struct {
	net.Listener
	limits *connections
}

func (l counted) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := remote(c.RemoteAddr())
		if l.limits.admit(from) {
			return &begun{Conn: c, ended: func() { l.limits.release(from) }}, nil
		}
		_ = c.Close()
	}
}
