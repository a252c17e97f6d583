package localcloud

import (
	"fmt"
	"strings"
	"time"
)

// bytesInWords writes a size as people do: "64 MiB".
func bytesInWords(n int64) string {
	size, unit := float64(n), "bytes"
	for _, next := range []string{"KiB", "MiB", "GiB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, next
	}
	if size == float64(int64(size)) {
		return fmt.Sprintf("%d %s", int64(size), unit)
	}
	return fmt.Sprintf("%.1f %s", size, unit)
}

// durationInWords writes "30 minutes", and what is no whole minute as Go does.
func durationInWords(d time.Duration) string {
	switch {
	case d == time.Minute:
		return "a minute"
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return d.String()
}

// quote makes one word of s for a POSIX shell (POSIX.1-2017, Shell Command
// Language 2.2.2).
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
