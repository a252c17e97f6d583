package builder

import (
	"fmt"
	"time"
)

// Took returns the log line about an ended phase: how long it took and when it
// ended. The dashboard's log.js reads it, and codebuild's build.sh writes it
// too.
func (p PhaseRun) Took() string {
	return fmt.Sprintf("The phase %s took %s, until %s UTC.", p.Phase, InSeconds(p.Ended.Sub(p.Started)), p.Ended.UTC().Format(time.TimeOnly))
}

// InSeconds formats a duration for people: "0.4 s", "12 s", "3 min 20 s".
func InSeconds(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
}
