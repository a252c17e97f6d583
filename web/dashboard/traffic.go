package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/traffic"
	"github.com/troy-iaas/troy/web/lists"
)

// trafficShown is how many paths a page lists.
const trafficShown = 20

// trafficView is the page with the requests to a pipeline's site.
type trafficView struct {
	frame
	Slug, Name, Address string
	// None says why nothing is counted.
	None    string
	Delay   string // from a request to its count
	Charts  []chartView
	Days    []traffic.DayTotal
	Paths   []traffic.Path
	Missing []traffic.Missing
	Total   traffic.Total
}

func (d *Dashboard) traffic(v *visit) error {
	p, err := d.find(v)
	if troy.KindOf(err) == troy.NotFound {
		return d.gone(v, err)
	}
	if err != nil {
		return err
	}
	view := trafficView{frame: d.frame(v, p.Name+" traffic"), Slug: p.Slug, Name: p.Name, Delay: "a minute or two"}
	if d.cfg.AccessLogs {
		view.Delay = "some hours"
	}
	host, err := d.q.PipelineAddress(v.ctx(), p.ID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read the host of pipeline %s: %w", p.ID, err)
	}
	if host != "" && p.LiveDeploymentID != nil {
		view.Address = d.cfg.SiteURL(host)
	}
	t, err := d.deps.Traffic(v.ctx(), p.ID, time.Now(), lists.StatsDays)
	switch {
	case troy.KindOf(err) == troy.Conflict:
		view.None = err.Error()
	case err != nil:
		return fmt.Errorf("read the traffic of %s: %w", p.ID, err)
	}
	view.Total = t.Total
	if t.Requests > 0 {
		view.Charts = trafficCharts(t.Days)
		view.Paths, view.Missing = t.Paths[:min(len(t.Paths), trafficShown)], t.Missing[:min(len(t.Missing), trafficShown)]
		for _, day := range t.Days {
			if day.Requests > 0 {
				view.Days = append(view.Days, day)
			}
		}
	}
	return d.show(v, http.StatusOK, "traffic.html", view)
}

// trafficCharts draws the days.
func trafficCharts(days []traffic.DayTotal) []chartView {
	charts := []chartView{{ID: "requests", Title: "Requests"}, {ID: "bytes", Title: "Sent"}, {ID: "missing", Title: "Not found"}}
	values := func(t traffic.Total) [3]int64 { return [3]int64{t.Requests, t.Bytes, t.NotFound} }
	text := func(chart int, n int64) string {
		if chart == 1 {
			return troy.Size(n)
		}
		return fmt.Sprint(n)
	}
	var most, sum [3]int64
	for _, d := range days {
		for i, n := range values(d.Total) {
			most[i], sum[i] = max(most[i], n), sum[i]+n
		}
	}
	for i := range charts {
		c := &charts[i]
		c.Figure = text(i, sum[i])
		c.Label = fmt.Sprintf("%s in %s, at most %s on one day", c.Figure, troy.Count(len(days), "day", "days"), text(i, most[i]))
		for at, d := range days {
			n := values(d.Total)[i]
			if h := scaled(float64(n), float64(most[i])); h > 0 {
				c.Bars = append(c.Bars, chartBarView{
					X: at * chartStep, Y: chartHeight - h, Width: chartBar, Height: h, Tone: [...]string{"busy", "busy", "wait"}[i],
					Title: fmt.Sprintf("%s: %s", d.Day, text(i, n)),
				})
			}
		}
	}
	return charts
}
