package bench

import (
	"fmt"
	"slices"
	"time"
)

// quantile returns the quantile q of the durations in milliseconds; it sorts
// them.
func quantile(times []time.Duration, q float64) float64 {
	slices.Sort(times)
	return float64(times[min(int(q*float64(len(times))), len(times)-1)].Microseconds()) / 1000
}

// quantiles are the median and the 99th percentile in words.
func quantiles(times []time.Duration) string {
	return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", quantile(times, 0.5), quantile(times, 0.99))
}
