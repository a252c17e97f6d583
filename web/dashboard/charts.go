package dashboard

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/web/lists"
)

// The size of a chart, in units of its drawing.
const (
	chartWidth, chartHeight = 300, 80
	chartStep               = chartWidth / lists.StatsDays
	chartBar                = chartStep - 3
)

// chartsView are the charts of the last days, and the same as a table.
type chartsView struct {
	Charts []chartView
	Days   []chartDay
	Empty  bool
	Cut    bool
}

type chartView struct {
	ID, Title, Figure, Label string
	Bars                     []chartBarView
	Lines                    []chartLine
}

type chartBarView struct {
	X, Y, Width, Height int
	Tone, Title         string
}

type chartLine struct{ Tone, Path string }

// chartDay is a row of the table.
type chartDay struct {
	lists.Day
	P50, P95, Rate string
}

// charts draws statistics.
func charts(s lists.Stats) chartsView {
	view := chartsView{Cut: s.Cut, Empty: true}
	for _, d := range s.Days {
		if d.Ended() == 0 {
			continue
		}
		view.Empty = false
		row := chartDay{Day: d, Rate: percent(d.Failed, d.Succeeded+d.Failed)}
		if d.BuildP50 != nil && d.BuildP95 != nil {
			row.P50, row.P95 = took(seconds(*d.BuildP50)), took(seconds(*d.BuildP95))
		}
		view.Days = append(view.Days, row)
	}
	if !view.Empty {
		view.Charts = []chartView{chartOfDeployments(s.Days), chartOfFailures(s.Days), chartOfBuilds(s.Days)}
	}
	return view
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func percent(part, all int64) string {
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(all))
}

func day(t time.Time) string { return t.Format("2 January") }

// scaled is the height of a value in a chart. What is not zero is seen.
func scaled(value, most float64) int {
	if value <= 0 || most <= 0 {
		return 0
	}
	return max(2, int(math.Round(value/most*chartHeight)))
}

func chartOfDeployments(days []lists.Day) chartView {
	c := chartView{ID: "deployments", Title: "Deployments per day"}
	var most, all int64
	for _, d := range days {
		most, all = max(most, d.Ended()), all+d.Ended()
	}
	c.Figure = fmt.Sprint(all)
	c.Label = fmt.Sprintf("%s ended in %s, at most %d on one day", troy.Count(all, "deployment", "deployments"), troy.Count(len(days), "day", "days"), most)
	for i, d := range days {
		y := chartHeight
		for _, part := range []struct {
			n    int64
			tone string
		}{{d.Succeeded, "good"}, {d.Failed, "bad"}, {d.Cancelled + d.Superseded, "idle"}} {
			h := scaled(float64(part.n), float64(most))
			if h = min(h, y); h == 0 {
				continue
			}
			y -= h
			c.Bars = append(c.Bars, chartBarView{
				X: i * chartStep, Y: y, Width: chartBar, Height: h, Tone: part.tone,
				Title: fmt.Sprintf("%s: %d succeeded, %d failed, %d cancelled or superseded", day(d.Day), d.Succeeded, d.Failed, d.Cancelled+d.Superseded),
			})
		}
	}
	return c
}

func chartOfFailures(days []lists.Day) chartView {
	c := chartView{ID: "failures", Title: "Failure rate"}
	var failed, all int64
	for i, d := range days {
		failed, all = failed+d.Failed, all+d.Succeeded+d.Failed
		if d.Failed == 0 {
			continue
		}
		h := scaled(float64(d.Failed), float64(d.Succeeded+d.Failed))
		c.Bars = append(c.Bars, chartBarView{
			X: i * chartStep, Y: chartHeight - h, Width: chartBar, Height: h, Tone: "bad",
			Title: fmt.Sprintf("%s: %s failed", day(d.Day), percent(d.Failed, d.Succeeded+d.Failed)),
		})
	}
	c.Figure = percent(failed, all)
	c.Label = fmt.Sprintf("%d of %s failed in %s", failed, troy.Count(all, "deployment", "deployments"), troy.Count(len(days), "day", "days"))
	return c
}

func chartOfBuilds(days []lists.Day) chartView {
	c := chartView{ID: "builds", Title: "Build time, p50 and p95", Label: "No build ended", Figure: "–"}
	most := 0.0
	for _, d := range days {
		if d.BuildP95 != nil {
			most = max(most, *d.BuildP95)
		}
	}
	for _, line := range []struct {
		tone string
		of   func(lists.Day) *float64
	}{{"wait", func(d lists.Day) *float64 { return d.BuildP95 }}, {"busy", func(d lists.Day) *float64 { return d.BuildP50 }}} {
		var path strings.Builder
		for i, d := range days {
			value := line.of(d)
			if value == nil {
				continue
			}
			x, y := i*chartStep+chartBar/2, chartHeight-2-int(math.Round(*value/max(most, 1e-9)*(chartHeight-6)))
			fmt.Fprintf(&path, "%s%d %d", map[bool]string{true: "M", false: "L"}[path.Len() == 0], x, y)
			c.Bars = append(c.Bars, chartBarView{X: x - 2, Y: y - 2, Width: 4, Height: 4, Tone: line.tone, Title: fmt.Sprintf("%s: %s", day(d.Day), took(seconds(*value)))})
		}
		if path.Len() > 0 {
			c.Lines = append(c.Lines, chartLine{line.tone, path.String()})
		}
	}
	for _, d := range days {
		if d.BuildP50 != nil && d.BuildP95 != nil {
			c.Figure = took(seconds(*d.BuildP50)) + " / " + took(seconds(*d.BuildP95))
			c.Label = fmt.Sprintf("On %s, half of the builds took at most %s, and 95 %% at most %s", day(d.Day), took(seconds(*d.BuildP50)), took(seconds(*d.BuildP95)))
		}
	}
	return c
}
