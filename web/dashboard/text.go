package dashboard

import (
	"fmt"
	"strings"
	"time"
)

// age is how long ago something was, in words.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	case d < 48*time.Hour:
		return "yesterday"
	case d < 60*24*time.Hour:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	case d < 2*365*24*time.Hour:
		return fmt.Sprintf("%d months ago", int(d.Hours()/24/30.4))
	}
	return fmt.Sprintf("%d years ago", int(d.Hours()/24/365.25))
}

// until formats the time until something happens.
func until(d time.Duration) string {
	switch {
	case d < time.Second:
		return "any moment now"
	case d < time.Minute:
		return "in less than a minute"
	case d < time.Hour:
		return fmt.Sprintf("in %d min", int(d.Round(time.Minute).Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("in %d h", int(d.Round(time.Hour).Hours()))
	}
	return fmt.Sprintf("in %d days", int(d.Hours()/24))
}

// period formats a duration of the configuration.
func period(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= unit.of && d%unit.of == 0 {
			if d == unit.of {
				return "1 " + unit.name
			}
			return fmt.Sprintf("%d %ss", d/unit.of, unit.name)
		}
	}
	return d.String()
}

// stamp is a time for people, and machine is the same for browsers.
func stamp(t time.Time) string   { return t.UTC().Format("2 January 2006, 15:04:05 UTC") }
func machine(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// took is how long something takes.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}

// count is troy.Count for templates: n is any whole number.
func count(n any, one, more string) string {
	text := fmt.Sprint(n)
	if text == "1" {
		return text + " " + one
	}
	return text + " " + more
}

// short is the beginning of a commit's id.
func short(commit string) string { return commit[:min(7, len(commit))] }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// workName is a task's kind for people: "teardown start".
func workName(kind string) string {
	if _, name, found := strings.Cut(kind, ":"); found {
		kind = name
	}
	return strings.ReplaceAll(kind, "-", " ")
}
