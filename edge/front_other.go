//go:build !linux

package edge

import (
	"context"
	"net"
	"time"
)

// Serve answers requests from a listener's connections until ctx is done. Then
// it completes the requests that have begun, but takes no longer than grace.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer s.background(ctx)()
	return s.serveOthers(ctx, s.limits.listener(l), grace)
}
