package traffic

import "time"

// Batch counts the requests of one site that a log has, by day. It is not safe
// for concurrent use.
type Batch struct {
	first, last string
	days        map[string]*Site
}

// NewBatch returns an empty Batch.
func NewBatch(now time.Time) *Batch {
	// Another machine's clock may be ahead.
	return &Batch{FirstKept(now).Format(Day), now.UTC().Add(time.Hour).Format(Day), map[string]*Site{}}
}

// Add counts a response of a day. It returns false, and does not count it, if
// counts of the day are no longer kept, or if the day has not begun.
func (b *Batch) Add(day string, seen Seen) bool {
	if day < b.first || day > b.last {
		return false
	}
	if b.days[day] == nil {
		b.days[day] = newSite()
	}
	return b.days[day].add(seen)
}

// Reports returns what was counted on each day.
func (b *Batch) Reports() map[string]Report {
	reports := make(map[string]Report, len(b.days))
	for day, s := range b.days {
		reports[day] = s.report()
	}
	return reports
}
