package web

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy/web/reply"
)

// dayJSON counts the deployments that ended on a day.
type dayJSON struct {
	Day        string   `json:"day"`
	Succeeded  int64    `json:"succeeded"`
	Failed     int64    `json:"failed"`
	Cancelled  int64    `json:"cancelled"`
	Superseded int64    `json:"superseded"`
	BuildP50   *float64 `json:"build_p50,omitempty"`
	BuildP95   *float64 `json:"build_p95,omitempty"`
}

func (s *server) statsGet(c *gin.Context, who caller) error {
	only, err := s.onlyPipelines(c, who)
	if err != nil {
		return err
	}
	stats, err := s.lists.Stats(c.Request.Context(), only, s.now())
	if err != nil {
		return err
	}
	answer := struct {
		Days []dayJSON `json:"days"`
		Cut  bool      `json:"cut,omitempty"`
	}{Days: make([]dayJSON, 0, len(stats.Days)), Cut: stats.Cut}
	for _, d := range stats.Days {
		answer.Days = append(answer.Days, dayJSON{d.Day.Format(time.DateOnly), d.Succeeded, d.Failed, d.Cancelled, d.Superseded, d.BuildP50, d.BuildP95})
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}
