package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/traffic"
	"github.com/troy-iaas/troy/web/reply"
)

// trafficDays is how many days are shown by default.
const trafficDays = 30

// errNoTraffic is for installations on AWS without access logs.
func errNoTraffic() error {
	return troy.Errorf(troy.Conflict, "this installation does not count requests, because CloudFront writes no access logs; the operator can turn them on: set TROY_AWS_LOG_BUCKET for web and work")
}

func (s *server) trafficGet(c *gin.Context, who caller) error {
	p, err := s.pipeline(c.Request.Context(), c, who)
	if err != nil {
		return err
	}
	days := trafficDays
	if text := c.Query("days"); text != "" {
		if days, err = strconv.Atoi(text); err != nil || days < 1 || days > traffic.Kept {
			return troy.Errorf(troy.Invalid, "it is %q; expected a number from 1 to %d", troy.Clip(text), traffic.Kept).At("days")
		}
	}
	summary, err := s.traffic(c.Request.Context(), p.ID, s.now(), days)
	if err != nil {
		return err
	}
	reply.JSON(c.Writer, http.StatusOK, summary)
	return nil
}

// traffic reads the counts of requests to a pipeline's site. A file that can't
// be read is logged, and the others count.
func (s *server) traffic(ctx context.Context, pipeline uuid.UUID, now time.Time, days int) (traffic.Summary, error) {
	if s.cfg.AccessLogs {
		return s.countedTraffic(ctx, pipeline, now, days)
	}
	if s.deps.Traffic == nil {
		return traffic.Summary{}, errNoTraffic()
	}
	summary, err := traffic.Read(s.deps.Traffic(pipeline), now, days)
	if err != nil {
		s.deps.Log.WarnContext(ctx, "can't read some counts of requests", "pipeline_id", pipeline, "error", err)
	}
	return summary, nil
}

// countedTraffic reads what workers counted in the CDN's access logs.
func (s *server) countedTraffic(ctx context.Context, pipeline uuid.UUID, now time.Time, days int) (traffic.Summary, error) {
	first := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-days)
	rows, err := s.q.TrafficGet(ctx, pipeline, first)
	if err != nil {
		return traffic.Summary{}, fmt.Errorf("read the traffic of %s: %w", pipeline, err)
	}
	reports := make(map[string]traffic.Report, len(rows))
	for _, row := range rows {
		var r traffic.Report
		if err := json.Unmarshal(row.Report, &r); err != nil {
			return traffic.Summary{}, fmt.Errorf("read the traffic of %s: %w", pipeline, err)
		}
		reports[row.Day.Format(traffic.Day)] = r
	}
	return traffic.Summarize(now, days, func(day string) traffic.Report { return reports[day] }), nil
}
