// Package poll waits in tests for conditions without a signal.
package poll

import (
	"context"
	"time"
)

// Until calls ok at every interval until it returns true. Until returns false
// if the limit passes or the context ends first.
func Until(ctx context.Context, limit, interval time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
