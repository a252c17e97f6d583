package intake

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the zones, where the machine has none

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/robfig/cron/v3"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

const (
	// ScheduleEvery is the minimum time between two deployments of a schedule.
	ScheduleEvery = 10 * time.Minute
	// ScheduleLook is the maximum wait of a schedule's work until it looks at the
	// schedule again.
	ScheduleLook = 24 * time.Hour
	// maxCron is the maximum length of a schedule, in characters.
	maxCron = 100
	// scheduleActor is the actor of a schedule's deployments.
	scheduleActor = "schedule"
)

// Schedule says at which times a pipeline deploys by itself.
type Schedule struct {
	fields *cron.SpecSchedule
	zone   *time.Location
}

// ParseSchedule reads a schedule of the five fields of cron, or a name such as
// @daily, in a time zone of the IANA database; "" means UTC. Errors are Invalid
// at the field cron or zone.
func ParseSchedule(text, zone string) (Schedule, error) {
	var s Schedule
	if err := troy.CheckText("cron", text, maxCron); err != nil {
		return s, err
	}
	wrong := func(why string) error {
		return troy.Errorf(troy.Invalid, "%q is not a schedule: %s; expected the five fields minute, hour, day of the month, month and day of the week, like 30 4 * * 1-5, or @daily", text, why).At("cron")
	}
	// The parser takes a zone in front of the fields, and intervals without
	// times.
	if slices.ContainsFunc([]rune(text), func(r rune) bool { return r == '=' }) {
		return s, wrong("the time zone has a field of its own, zone")
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(withSunday(text))
	if err != nil {
		return s, wrong(cronProblem(err.Error()))
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return s, wrong("it names no times of the clock")
	}
	if zone == "" {
		zone = time.UTC.String()
	}
	if s.zone, err = time.LoadLocation(zone); err != nil || zone == time.Local.String() {
		return s, troy.Errorf(troy.Invalid, "the time zone %q is not known; expected a name like Europe/Berlin, or UTC", troy.Clip(zone)).At("zone")
	}
	s.fields = fields
	if fields.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return s, troy.Errorf(troy.Invalid, "%q never comes: no month that it names has such a day", text).At("cron")
	}
	if least := s.least(); least < ScheduleEvery {
		every := "minute"
		if least > time.Minute {
			every = fmt.Sprintf("%d minutes", int(least.Minutes()))
		}
		return s, troy.Errorf(troy.Invalid, "%q comes every %s; expected at least %d minutes between two deployments, like */%[3]d * * * *", text, every, int(ScheduleEvery.Minutes())).At("cron")
	}
	return s, nil
}

// withSunday writes a day of the week of 7 as 0, which the parser expects. Many
// crons take both for Sunday.
func withSunday(text string) string {
	fields := strings.Fields(text)
	if len(fields) != 5 || !strings.Contains(fields[4], "7") {
		return text
	}
	days := strings.Split(fields[4], ",")
	for i, day := range days {
		switch from, to, _ := strings.Cut(day, "-"); {
		case day == "7", day == "7-7":
			days[i] = "0"
		case to == "7":
			days[i] = from + "-6,0"
		}
	}
	fields[4] = strings.Join(days, ",")
	return strings.Join(fields, " ")
}

// cronProblems are the parser's errors in plain words.
var cronProblems = []struct {
	says  *regexp.Regexp
	plain string
}{
	{regexp.MustCompile(`^expected exactly 5 fields, found (\d+): .*`), "the number of fields is $1"},
	{regexp.MustCompile(`^failed to parse int from (.*): strconv\..*`), `"$1" is neither a number nor a name`},
	{regexp.MustCompile(`^end of range \((\d+)\) above maximum \((\d+)\): .*`), "$1 is above the maximum of $2"},
	{regexp.MustCompile(`^beginning of range \((\d+)\) below minimum \((\d+)\): .*`), "$1 is below the minimum of $2"},
	{regexp.MustCompile(`^beginning of range \(\d+\) beyond end of range \(\d+\): (.*)`), "the range $1 ends before it begins"},
	{regexp.MustCompile(`^step of range should be a positive number: (.*)`), "the step of $1 is not above 0"},
	{regexp.MustCompile(`^unrecognized descriptor: (.*)`), "$1 is not a name of times"},
}

func cronProblem(text string) string {
	for _, p := range cronProblems {
		if p.says.MatchString(text) {
			return p.says.ReplaceAllString(text, p.plain)
		}
	}
	return text
}

// least returns the shortest time between two of the schedule's minutes, of the
// same hour or, if it names all hours, of two that follow each other.
func (s Schedule) least() time.Duration {
	set := func(bits uint64, n int) (list []int) {
		for i := range n {
			if bits&(1<<i) != 0 {
				list = append(list, i)
			}
		}
		return list
	}
	minutes, hours := set(s.fields.Minute, 60), set(s.fields.Hour, 24)
	follow := hours[0] == 0 && hours[len(hours)-1] == 23
	for i := 1; i < len(hours); i++ {
		follow = follow || hours[i] == hours[i-1]+1
	}
	least := 24 * 60
	for i := 1; i < len(minutes); i++ {
		least = min(least, minutes[i]-minutes[i-1])
	}
	if follow {
		least = min(least, minutes[0]+60-minutes[len(minutes)-1])
	}
	return time.Duration(least) * time.Minute
}

// Next returns the schedule's first time after another one. A time of the clock
// that is skipped when it is put forward comes as much later. One that comes
// twice when it is put back counts the first time.
func (s Schedule) Next(after time.Time) time.Time {
	// The fields are matched with the clock on the wall, as if it were never
	// changed.
	local := after.In(s.zone)
	wall := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), local.Nanosecond(), time.UTC)
	for {
		wall = s.fields.Next(wall)
		if at := s.when(wall); wall.IsZero() || at.After(after) {
			return at
		}
	}
}

// when returns when the clock of the schedule's zone shows what wall, in UTC,
// shows: the first time if it does so twice. If it never does, the clock of the
// day before counts. time.Date leaves the choice open.
func (s Schedule) when(wall time.Time) time.Time {
	shift := func(near time.Duration) time.Duration {
		_, seconds := wall.Add(near).In(s.zone).Zone()
		return time.Duration(seconds) * time.Second
	}
	before, after := shift(-24*time.Hour), shift(24*time.Hour)
	for _, by := range []time.Duration{max(before, after), min(before, after)} {
		at := wall.Add(-by).In(s.zone)
		if _, seconds := at.Zone(); time.Duration(seconds)*time.Second == by {
			return at
		}
	}
	return wall.Add(-before).In(s.zone)
}

// SetSchedule makes a pipeline deploy the newest commit of its branch at the
// times of a schedule, in place of an earlier schedule.
func (in *Intake) SetSchedule(ctx context.Context, pipeline uuid.UUID, text, zone, actor string) (queries.Schedule, error) {
	var row queries.Schedule
	s, err := ParseSchedule(text, zone)
	if err != nil {
		return row, err
	}
	err = in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Scheduling); err != nil {
			return err
		}
		if p.RepositoryFullName == nil {
			return troy.Errorf(troy.Conflict, "the pipeline %s has no repository, so a schedule has nothing to build; connect one first", p.Slug)
		}
		next := s.Next(time.Now())
		if row, err = q.ScheduleSet(ctx, queries.ScheduleSetParams{PipelineID: p.ID, Cron: text, Zone: s.zone.String(), NextAt: next, SetBy: actor}); err != nil {
			return err
		}
		if err := q.WorkRequest(ctx, queries.WorkRequestParams{Kind: tasks.TypeSchedule, SubjectID: p.ID, DelaySeconds: ScheduleWait(next).Seconds()}); err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: ScheduleSet, Subject: text, Detail: s.zone.String(), Actor: actor, Pipeline: &p})
	})
	if err != nil {
		return row, fmt.Errorf("set the schedule of pipeline %s: %w", pipeline, err)
	}
	return row, nil
}

// ScheduleWait returns how long the work of a schedule waits that is next due at
// a time.
func ScheduleWait(next time.Time) time.Duration {
	return min(max(time.Until(next), 0), ScheduleLook)
}

// RemoveSchedule removes a pipeline's schedule.
func (in *Intake) RemoveSchedule(ctx context.Context, pipeline uuid.UUID, actor string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		removed, err := q.ScheduleRemove(ctx, p.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			return troy.Errorf(troy.NotFound, "the pipeline %s has no schedule", p.Slug)
		}
		if err != nil {
			return err
		}
		return Audit(ctx, q, Change{Action: ScheduleRemove, Subject: removed.Cron, Detail: removed.Zone, Actor: actor, Pipeline: &p})
	})
	if err != nil {
		return fmt.Errorf("remove the schedule of pipeline %s: %w", pipeline, err)
	}
	return nil
}

// RunSchedule deploys a pipeline if its schedule is due, once however many times
// were missed, and returns when it is due next. What the pipeline does not allow
// now is recorded as the schedule's problem. next is zero if the pipeline has no
// schedule or is being deleted.
func (in *Intake) RunSchedule(ctx context.Context, pipeline uuid.UUID) (next time.Time, err error) {
	err = in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		row, err := q.ScheduleGet(ctx, p.ID)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && p.Status.InDeletion() {
			return nil
		}
		if err != nil {
			return err
		}
		now := time.Now()
		if next = row.NextAt; next.After(now) {
			return nil
		}
		s, err := ParseSchedule(row.Cron, row.Zone)
		if err != nil {
			return err
		}
		next = s.Next(now)
		problem := ""
		_, err = deployHead(ctx, q, p, "the schedule was due", scheduleActor)
		if refused, ok := errors.AsType[*troy.Error](err); ok && refused.Kind == troy.Conflict {
			problem, err = refused.Message, nil
		}
		if err != nil {
			return err
		}
		return q.ScheduleDone(ctx, queries.ScheduleDoneParams{PipelineID: p.ID, NextAt: next, Problem: problem})
	})
	if err != nil {
		return next, fmt.Errorf("carry out the schedule of pipeline %s: %w", pipeline, err)
	}
	return next, nil
}
