package web

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
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

// place is a place in a list that is ordered by time, id and one more value.
type place struct {
	at   time.Time
	id   uuid.UUID
	last string
}

func (p place) String() string {
	return fmt.Sprintf("%d.%s.%s", p.at.UnixMicro(), p.id, p.last)
}

// place reads an after that is a place, with the default for none.
func (p page) place(start place) (place, error) {
	if p.after == "" {
		return start, nil
	}
	parts := strings.SplitN(p.after, ".", 3)
	if len(parts) != 3 {
		return start, badAfter()
	}
	micros, err := strconv.ParseInt(parts[0], 10, 64)
	id, ok := parseID(parts[1])
	at := time.UnixMicro(micros)
	if err != nil || !ok || at.Year() < 1 || at.Year() > 9999 || len(parts[2]) > 64 || strings.ContainsRune(parts[2], 0) {
		return start, badAfter()
	}
	return place{at, id, parts[2]}, nil
}

// later is after everything that happened.
func later() place { return place{credentials.Later(), uuid.Nil, "0"} }

func (s *server) activityList(c *gin.Context, who caller) error {
	ctx := c.Request.Context()
	pg, err := pageOf(c)
	if err != nil {
		return err
	}
	before, err := pg.place(later())
	if err != nil {
		return err
	}
	number, err := strconv.ParseInt(before.last, 10, 64)
	if err != nil {
		return badAfter()
	}
	only, err := s.onlyPipelines(c, who)
	if err != nil {
		return err
	}
	var rows []queries.ActivityListRow
	if only == nil {
		rows, err = s.q.ActivityList(ctx, queries.ActivityListParams{
			BeforeTime: before.at, BeforeID: before.id, BeforeNumber: number, PageLimit: pg.limit + 1, Everything: who.Role.May(credentials.Admin),
		})
	} else {
		var some []queries.ActivityOfRow
		some, err = s.q.ActivityOf(ctx, queries.ActivityOfParams{
			BeforeTime: before.at, BeforeID: before.id, BeforeNumber: number, PageLimit: pg.limit + 1, PipelineIds: only, Variables: who.Role.May(credentials.Admin),
		})
		for _, r := range some {
			rows = append(rows, queries.ActivityListRow(r))
		}
	}
	if err != nil {
		return fmt.Errorf("list the activity: %w", err)
	}
	rows, more := cut(rows, pg)
	answer := struct {
		Activity []activityJSON `json:"activity"`
		Next     string         `json:"next,omitempty"`
	}{Activity: make([]activityJSON, 0, len(rows))}
	for _, r := range rows {
		answer.Activity = append(answer.Activity, describeActivity(r, who))
	}
	if more {
		last := rows[len(rows)-1]
		answer.Next = place{last.Time, last.ID, strconv.FormatInt(last.Number, 10)}.String()
	}
	reply.JSON(c.Writer, http.StatusOK, answer)
	return nil
}

func describeActivity(r queries.ActivityListRow, who caller) activityJSON {
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
