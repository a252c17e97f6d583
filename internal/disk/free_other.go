//go:build !linux

package disk

import "math"

// Free returns no limit on this platform.
func Free(string) (int64, error) { return math.MaxInt64, nil }
