package dashboard

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
)

// scheduleOf returns when a pipeline deploys by itself, nil for never.
func (d *Dashboard) scheduleOf(v *visit, p queries.Pipeline) (*queries.Schedule, error) {
	s, err := d.q.ScheduleGet(v.ctx(), p.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the schedule of pipeline %s: %w", p.ID, err)
	}
	return &s, nil
}

// saveSchedule sets a pipeline's schedule, or removes it if the field is empty.
func (d *Dashboard) saveSchedule(v *visit, p queries.Pipeline, form url.Values) error {
	cron, zone := strings.TrimSpace(form.Get("schedule_cron")), strings.TrimSpace(form.Get("schedule_zone"))
	if cron == "" {
		err := d.deps.Intake.RemoveSchedule(v.ctx(), p.ID, v.who.Actor())
		if troy.KindOf(err) == troy.NotFound {
			return nil
		}
		return err
	}
	_, err := d.deps.Intake.SetSchedule(v.ctx(), p.ID, cron, zone, v.who.Actor())
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Field != "" {
		return e.At("schedule_" + e.Field)
	}
	return err
}
