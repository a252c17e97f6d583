package intake_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
)

// TestScheduleTimes follows schedules over the days on which Berlin's and other
// clocks are put forward and back.
func TestScheduleTimes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ cron, zone, after, times string }{
		"every night, forward":       {"30 2 * * *", "Europe/Berlin", "2027-03-27T00:00:00Z", "03-27T02:30+01 03-28T03:30+02 03-29T02:30+02"},
		"every night, back":          {"30 2 * * *", "Europe/Berlin", "2027-10-30T00:00:00Z", "10-30T02:30+02 10-31T02:30+02 11-01T02:30+01"},
		"every hour, forward":        {"0 * * * *", "Europe/Berlin", "2027-03-27T23:30:00Z", "03-28T01:00+01 03-28T03:00+02 03-28T04:00+02"},
		"every hour, back":           {"0 * * * *", "Europe/Berlin", "2027-10-30T23:30:00Z", "10-31T02:00+02 10-31T03:00+01 10-31T04:00+01"},
		"set in the second hour":     {"15 * * * *", "Europe/Berlin", "2027-10-31T01:10:00Z", "10-31T03:15+01 10-31T04:15+01"},
		"two times that become one":  {"30 2,3 * * *", "Europe/Berlin", "2027-03-27T23:30:00Z", "03-28T03:30+02 03-29T02:30+02"},
		"midnight that is skipped":   {"@daily", "America/Santiago", "2026-09-05T12:00:00Z", "09-06T01:00-03 09-07T00:00-03"},
		"UTC":                        {"30 2 * * *", "", "2027-03-27T00:00:00Z", "03-27T02:30Z 03-28T02:30Z"},
		"weekdays":                   {"0 9 * * mon-fri", "UTC", "2026-12-04T10:00:00Z", "12-07T09:00Z 12-08T09:00Z"},
		"the time itself is not":     {"0 9 * * *", "UTC", "2026-12-04T09:00:00Z", "12-05T09:00Z"},
		"29 February":                {"0 0 29 2 *", "UTC", "2026-12-04T09:00:00Z", "02-29T00:00Z 02-29T00:00Z"},
		"a zone of half an hour":     {"0 0 * * *", "Australia/Lord_Howe", "2027-04-03T00:00:00Z", "04-04T00:00+11 04-05T00:00+10:30"},
		"in the half hour, put back": {"45 1 * * *", "Australia/Lord_Howe", "2027-04-03T12:00:00Z", "04-04T01:45+11 04-05T01:45+10:30"},
	} {
		s, err := intake.ParseSchedule(c.cron, c.zone)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		at, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range strings.Fields(c.times) {
			at = s.Next(at)
			got = append(got, strings.TrimSuffix(at.Format("01-02T15:04Z07:00"), ":00"))
		}
		want := strings.Fields(c.times)
		for i, w := range want {
			if g := got[i]; g != w {
				t.Errorf("%s: %v, want %v", name, got, want)
				break
			}
		}
	}
}

func TestScheduleRefusals(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                        "missing",
		"x":                       "the number of fields is 1; expected the five fields",
		"* * * *":                 "the number of fields is 4",
		"0 0 * * * *":             "the number of fields is 6",
		"61 0 * * *":              "61 is above the maximum of 59; expected",
		"0 0 31 2 *":              "never comes",
		"0 0 30,31 feb *":         "never comes",
		"0 0 31 4,6,9,11 *":       "never comes",
		"* * * * *":               "comes every minute; expected at least 10",
		"*/5 * * * *":             "comes every 5 minutes",
		"0,9 4 * * *":             "comes every 9 minutes",
		"5,58 * * * *":            "comes every 7 minutes",
		"5,58 0,23 * * *":         "comes every 7 minutes",
		"5,58 3,4 * * *":          "comes every 7 minutes",
		"@every 1s":               "names no times of the clock",
		"@reboot":                 "@reboot is not a name of times",
		"TZ=UTC":                  "a field of its own",
		"CRON_TZ=UTC 0 0 * * *":   "a field of its own",
		"0 0 * * *\x00":           "control character",
		strings.Repeat("0 ", 100): "expected at most 100",
		"0 0 1-99999999999 * *":   "99999999999 is above the maximum of 31",
		"0 0 */0 * *":             "the step of */0 is not above 0",
		"0 0 0 * *":               "0 is below the minimum of 1",
		"0 0 * * 8":               "8 is above the maximum of 6",
		"H 4 * * *":               `"H" is neither a number nor a name`,
		"5-1 0 * * *":             "the range 5-1 ends before it begins",
	} {
		_, err := intake.ParseSchedule(text, "UTC")
		if e, ok := errors.AsType[*troy.Error](err); !ok || e.Kind != troy.Invalid || e.Field != "cron" || !strings.Contains(e.Message, says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	for _, fine := range []string{"*/10 * * * *", "5,58 3,7 * * *", "@hourly", "@weekly", "@yearly", "0 0 31 * *", "0 0 31 2 mon", "55,5 * * * *"} {
		if _, err := intake.ParseSchedule(fine, ""); err != nil {
			t.Errorf("%q: %v", fine, err)
		}
	}
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) // a Monday
	for text, want := range map[string]string{"0 4 * * 7": "2026-12-06", "0 4 * * 1-7": "2026-12-01", "0 4 * * 6-7": "2026-12-05", "0 4 * * 3,7": "2026-12-02", "17 7 7 7 *": "2027-07-07"} {
		s, err := intake.ParseSchedule(text, "")
		if err != nil || s.Next(at).Format(time.DateOnly) != want {
			t.Errorf("%q: %v, %v, want %s", text, s.Next(at), err, want)
		}
	}
	for _, zone := range []string{"Local", "Berlin", "../etc/passwd", "Europe/Berlin ", "+02:00", strings.Repeat("x", 1000)} {
		_, err := intake.ParseSchedule("@daily", zone)
		if e, ok := errors.AsType[*troy.Error](err); !ok || e.Field != "zone" || len(e.Message) > 300 {
			t.Errorf("the zone %q: %v", zone, err)
		}
	}
}
