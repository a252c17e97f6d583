package dashboard

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// sparkView draws the last deployments of a pipeline as bars: the longer one
// took, the higher; the newest on the right.
type sparkView struct {
	Bars  []bar
	Label string
}

type bar struct {
	X, Y, Height int
	Tone, Title  string
}

const (
	sparkHeight = 24
	sparkStep   = 8 // a bar and the gap behind it
)

// ran is how long a deployment ran so far.
func ran(d queries.Deployment) (time.Duration, bool) {
	if d.StartedAt == nil {
		return 0, false
	}
	if d.FinishedAt != nil {
		return d.FinishedAt.Sub(*d.StartedAt), true
	}
	return time.Since(*d.StartedAt), true
}

// spark draws deployments, which come the newest first.
func spark(list []queries.Deployment) sparkView {
	var v sparkView
	counts := map[troy.DeploymentState]int{}
	for i, d := range list[:min(len(list), sparkBars)] {
		title := fmt.Sprintf("#%d %s", d.Number, d.State)
		height := 4
		if t, ok := ran(d); ok && d.State.Ended() {
			// From a tenth of a second to an hour, by the logarithm.
			height += int(math.Max(0, math.Min(1, (math.Log10(t.Seconds()+0.1)+1)/4.6)) * (sparkHeight - 4))
			title += ", " + took(t)
		}
		counts[d.State]++
		v.Bars = append(v.Bars, bar{X: (sparkBars - 1 - i) * sparkStep, Y: sparkHeight - height, Height: height, Tone: stateTone(d.State), Title: title})
	}
	var parts []string
	for _, s := range troy.DeploymentStates() {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	v.Label = fmt.Sprintf("The last %d deployments: %s", len(v.Bars), strings.Join(parts, ", "))
	return v
}
