package web

import (
	"context"
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

// errNoTraffic is for installations whose sites Troy does not serve itself.
func errNoTraffic() error {
	return troy.Errorf(troy.Conflict, "this installation does not count requests: CloudFront serves its sites; use CloudFront's access logs (TROY_AWS_LOG_BUCKET)")
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
	if s.deps.Traffic == nil {
		return traffic.Summary{}, errNoTraffic()
	}
	summary, err := traffic.Read(s.deps.Traffic(pipeline), now, days)
	if err != nil {
		s.deps.Log.WarnContext(ctx, "can't read some counts of requests", "pipeline_id", pipeline, "error", err)
	}
	return summary, nil
}
