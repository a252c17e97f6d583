package web

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/web/dashboard"
	"github.com/troy-iaas/troy/web/lists"
	"github.com/troy-iaas/troy/web/reply"
)

// activityJSON is an event of a pipeline or another change.
type activityJSON struct {
	Time       time.Time   `json:"time"`
	Actor      string      `json:"actor"`
	Action     string      `json:"action"`
	Subject    string      `json:"subject,omitempty"`
	Detail     string      `json:"detail,omitempty"`
	PipelineID *uuid.UUID  `json:"pipeline_id,omitempty"`
	Pipeline   string      `json:"pipeline,omitempty"`
	From       troy.Status `json:"from,omitempty"`
	To         troy.Status `json:"to,omitempty"`
	ToName     string      `json:"to_name,omitempty"`
	Version    int64       `json:"version,omitempty"`
	// DeploymentID stays when the deployment is gone; Number does not.
	DeploymentID *uuid.UUID `json:"deployment_id,omitempty"`
	Number       *int64     `json:"number,omitempty"`
	Remote       string     `json:"remote,omitempty"`
}

// activityFilter reads the query.
func (s *server) activityFilter(c *gin.Context, who caller) (lists.ActivityFilter, error) {
	filter, err := lists.ParseActivityFilter(c.Request.URL.Query(), s.now())
	if err != nil {
		return filter, err
	}
	filter.Only, err = s.onlyPipelines(c, who)
	return filter, err
}

func (s *server) activityList(c *gin.Context, who caller) error {
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	filter, err := s.activityFilter(c, who)
	if err != nil {
		return err
	}
	page, err := s.lists.Activity(c.Request.Context(), filter, who, pg.after, pg.limit)
	if err != nil {
		return err
	}
	answer := struct {
		Activity []activityJSON `json:"activity"`
		Next     string         `json:"next,omitempty"`
		Until    *time.Time     `json:"until,omitempty"`
	}{Activity: make([]activityJSON, 0, len(page.Activity)), Next: page.Next}
	for _, a := range page.Activity {
		answer.Activity = append(answer.Activity, describeActivity(a, who))
	}
	if !page.Until.IsZero() {
		answer.Until = utc(&page.Until)
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

const (
	// mostExportsOfOne is how many exports one holder may have at a time.
	mostExportsOfOne = 2
	// mostExport is how long an export may take.
	mostExport = 30 * time.Minute
)

// activityExport sends all of the activity, one JSON object on each line. It
// reads page by page, so it holds one page in memory, and no transaction.
func (s *server) activityExport(c *gin.Context, who caller) error {
	end, ok := s.exports.Take(who.ID)
	if !ok {
		return troy.Errorf(troy.Unavailable, "too many exports are running, of yours or in all; try again when one has ended")
	}
	defer end()
	// Without a time limit, a slow reader would keep its place.
	ctx, cancel := context.WithTimeout(c.Request.Context(), mostExport)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	filter, err := s.activityFilter(c, who)
	if err != nil {
		return err
	}
	var write func([]byte) error
	looked := time.Now()
	err = s.lists.Export(c.Request.Context(), filter, who, func() error {
		if write != nil {
			c.Writer.Flush()
		}
		if time.Since(looked) < tokenLook {
			return nil
		}
		looked = time.Now()
		stands, err := s.stands(c.Request, who)
		if err == nil && !stands {
			err = troy.Errorf(troy.Unauthenticated, "the token was revoked")
		}
		return err
	}, func(a lists.Activity) error {
		line, err := json.Marshal(describeActivity(a, who))
		if err != nil {
			return err
		}
		if write == nil {
			write = s.beginExport(c)
		}
		return write(append(line, '\n'))
	})
	switch {
	case err != nil && write == nil:
		return err
	case err != nil:
		s.deps.Log.WarnContext(c.Request.Context(), "an export was sent in part", "request", note(c.Request.Context()).request, "error", err)
		// The answer has begun; aborting it shows the reader that it is
		// incomplete.
		panic(http.ErrAbortHandler)
	case write == nil:
		s.beginExport(c)
	}
	return nil
}

func (s *server) beginExport(c *gin.Context) func([]byte) error {
	c.Header("Content-Disposition", `attachment; filename="activity.jsonl"`)
	return stream(c, "application/x-ndjson")
}

// activityShowExport is the export for browsers with a session.
func (s *server) activityShowExport(c *gin.Context) error {
	who, err := s.visitor(c.Request, credentials.Viewer)
	if troy.KindOf(err) == troy.Unauthenticated && c.GetHeader("Authorization") == "" {
		dashboard.Login(c.Writer, c.Request)
		return nil
	}
	if err != nil {
		return err
	}
	return s.activityExport(c, who)
}

func describeActivity(r lists.Activity, who caller) activityJSON {
	j := activityJSON{
		Time: r.Time.UTC(), Actor: r.Actor, Action: r.Action, Subject: r.Subject, Detail: r.Detail, Pipeline: r.Slug,
		From: troy.Status(r.FromStatus), To: troy.Status(r.ToStatus), Version: r.Number, DeploymentID: r.DeploymentID, Number: r.DeploymentNumber,
	}
	if r.PipelineID != uuid.Nil {
		j.PipelineID = &r.PipelineID
	}
	if j.To != "" {
		j.ToName = j.To.String()
	}
	if who.Role.May(credentials.Admin) {
		j.Remote = r.Remote
	}
	return j
}

// onlyPipelines returns the pipelines that a list is limited to, by the query or
// the token, or nil for all. A pipeline that was deleted is found by its
// events.
func (s *server) onlyPipelines(c *gin.Context, who caller) ([]uuid.UUID, error) {
	ref, given := c.GetQuery("pipeline")
	if !given {
		return who.Pipelines, nil
	}
	id, err := s.findEventPipeline(c, who, ref)
	if err != nil {
		return nil, err
	}
	return []uuid.UUID{id}, nil
}
