package bench

import (
	"slices"
	"time"
)

// quantile returns the quantile q of the durations in milliseconds; it sorts
// them.
func quantile(times []time.Duration, q float64) float64 {
	slices.Sort(times)
	return float64(times[min(int(q*float64(len(times))), len(times)-1)].Microseconds()) / 1000
}
