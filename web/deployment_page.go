package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
)

// maxShown is how many bytes of a log's end the page of a deployment shows.
const maxShown = 512 << 10

// deploymentView is what the page of a deployment shows.
type deploymentView struct {
	frame
	deploymentJSON
	Pipeline string
	Tone     string // good, bad or neither
	Took     string
	Phases   []phaseView
	// LogURL is where the log is; empty without one. The page shows it from
	// LogFrom.
	LogURL  string
	LogFrom int64
}

type phaseView struct {
	Name, Command, Took, Outcome, Tone string
}

// deploymentShow is the page that forges link to: how a deployment stands, and
// its log while it grows.
func (s *server) deploymentShow(_ context.Context, c *gin.Context, who caller) error {
	d, err := s.deployment(c, who)
	if err != nil {
		return err
	}
	whole, p, err := s.viewWhole(c, d)
	if err != nil {
		return err
	}
	v := deploymentView{frame: s.pages.frame, deploymentJSON: whole, Pipeline: p.Slug}
	switch d.State {
	case troy.Succeeded:
		v.Tone = "good"
	case troy.Failed:
		v.Tone = "bad"
	}
	if d.StartedAt != nil {
		v.Took = took(*d.StartedAt, d.FinishedAt)
	}
	if v.Build != nil {
		if v.Phases, err = phaseViews(v.Build.Phases); err != nil {
			return fmt.Errorf("read the phases of deployment %s: %w", d.ID, err)
		}
		v.LogURL, v.LogFrom = c.Request.URL.EscapedPath()+"/log", max(v.Build.LogBytes-maxShown, 0)
	}
	return s.pages.show(c, http.StatusOK, deploymentPage, v, "")
}

// deploymentShowLog is the log in the place in which browsers send the token
// that they were given for the page.
func (s *server) deploymentShowLog(c *gin.Context) error {
	who, err := s.invite(c, credentials.Viewer)
	if err != nil {
		return err
	}
	return s.deploymentLog(c, who)
}

func phaseViews(stored json.RawMessage) ([]phaseView, error) {
	var phases []struct {
		Phase    string     `json:"phase"`
		Command  string     `json:"command"`
		Started  time.Time  `json:"started"`
		Ended    *time.Time `json:"ended"`
		ExitCode *int       `json:"exit_code"`
	}
	if err := json.Unmarshal(stored, &phases); err != nil {
		return nil, err
	}
	views := make([]phaseView, len(phases))
	for i, p := range phases {
		v := phaseView{Name: p.Phase, Command: p.Command, Took: took(p.Started, p.Ended)}
		switch {
		case p.ExitCode == nil:
			v.Outcome = "running"
		case *p.ExitCode == 0:
			v.Outcome, v.Tone = "done", "good"
		case *p.ExitCode < 0:
			v.Outcome, v.Tone = "stopped", "bad"
		default:
			v.Outcome, v.Tone = fmt.Sprintf("failed, exit code %d", *p.ExitCode), "bad"
		}
		views[i] = v
	}
	return views, nil
}

// took is how long something took, empty while it goes on.
func took(from time.Time, to *time.Time) string {
	if to == nil || to.IsZero() {
		return ""
	}
	d := to.Sub(from)
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
