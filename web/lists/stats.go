package lists

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/queries"
)

const (
	// StatsDays is the number of days of statistics, today included.
	StatsDays = 30
	// mostOfOne is how many of its newest deployments a pipeline's statistics
	// count, and mostOfSome how many those of several pipelines do.
	mostOfOne, mostOfSome = 2000, 20_000
	// settled is the time after which no deployment is added to a day: a
	// transaction that began on the day has ended.
	settled = time.Hour
)

// Day counts the deployments that ended on a day in UTC.
type Day struct {
	Day                                      time.Time
	Succeeded, Failed, Cancelled, Superseded int64
	// BuildP50 and BuildP95 are the times that half and 95 % of the builds took
	// at most, in seconds; nil if none ended.
	BuildP50, BuildP95 *float64
}

// Ended is the number of deployments that ended.
func (d Day) Ended() int64 { return d.Succeeded + d.Failed + d.Cancelled + d.Superseded }

// Stats are the statistics of the last days, the oldest first.
type Stats struct {
	Days []Day
	// Cut says that there were more deployments than were counted.
	Cut bool
}

// Stats counts the deployments of the last days of some pipelines or, if only
// is nil, of all.
func (l Lists) Stats(ctx context.Context, only []uuid.UUID, now time.Time) (Stats, error) {
	today := now.UTC().Truncate(24 * time.Hour)
	first := today.AddDate(0, 0, 1-StatsDays)
	if only != nil {
		return l.statsOf(ctx, only, first)
	}
	kept, err := l.Q.DayList(ctx, first)
	if err != nil {
		return Stats{}, fmt.Errorf("read the statistics: %w", err)
	}
	known := map[int64]queries.Day{}
	for _, d := range kept {
		known[d.Day.Unix()] = d
	}
	s := blank(first)
	for i := range s.Days {
		d := &s.Days[i]
		if k, ok := known[d.Day.Unix()]; ok {
			d.Succeeded, d.Failed, d.Cancelled, d.Superseded, d.BuildP50, d.BuildP95 = k.Succeeded, k.Failed, k.Cancelled, k.Superseded, k.BuildP50, k.BuildP95
			continue
		}
		if err := l.count(ctx, d, now); err != nil {
			return Stats{}, err
		}
	}
	return s, nil
}

// count counts a day and keeps the count if the day is over.
func (l Lists) count(ctx context.Context, d *Day, now time.Time) error {
	end := d.Day.AddDate(0, 0, 1)
	c, err := l.Q.DayCount(ctx, d.Day, end)
	if err != nil {
		return fmt.Errorf("count the deployments of %s: %w", d.Day.Format(time.DateOnly), err)
	}
	d.Succeeded, d.Failed, d.Cancelled, d.Superseded, d.BuildP50, d.BuildP95 = c.Succeeded, c.Failed, c.Cancelled, c.Superseded, known(c.BuildP50), known(c.BuildP95)
	if now.Sub(end) < settled {
		return nil
	}
	err = l.Q.DayKeep(ctx, queries.DayKeepParams{
		Day: d.Day, Succeeded: d.Succeeded, Failed: d.Failed, Cancelled: d.Cancelled, Superseded: d.Superseded, BuildP50: d.BuildP50, BuildP95: d.BuildP95,
	})
	if err != nil {
		return fmt.Errorf("keep the count of %s: %w", d.Day.Format(time.DateOnly), err)
	}
	return nil
}

func (l Lists) statsOf(ctx context.Context, only []uuid.UUID, first time.Time) (Stats, error) {
	each := max(1, min(mostOfOne, mostOfSome/max(1, len(only))))
	rows, err := l.Q.DaysOf(ctx, queries.DaysOfParams{PipelineIds: only, Each: int64(each), FromDay: first})
	if err != nil {
		return Stats{}, fmt.Errorf("count the deployments of pipelines: %w", err)
	}
	s := blank(first)
	for _, r := range rows {
		s.Cut = r.Cut
		i := int(r.Day.Sub(first) / (24 * time.Hour))
		if i >= 0 && i < len(s.Days) {
			s.Days[i] = Day{r.Day.UTC(), r.Succeeded, r.Failed, r.Cancelled, r.Superseded, known(r.BuildP50), known(r.BuildP95)}
		}
	}
	return s, nil
}

// blank are days without deployments.
func blank(first time.Time) Stats {
	s := Stats{Days: make([]Day, StatsDays)}
	for i := range s.Days {
		s.Days[i].Day = first.AddDate(0, 0, i)
	}
	return s
}

// known returns nil for the -1 of days without builds.
func known(seconds float64) *float64 {
	if seconds < 0 {
		return nil
	}
	return &seconds
}
