// Package poll waits in tests for what no signal tells of.
package poll

import (
	"context"
	"time"
)

// Until calls ok at every interval until it returns true. It returns false if
// it did not within the limit, or before the context ended.
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
