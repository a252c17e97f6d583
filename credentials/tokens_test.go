package credentials_test

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy/credentials"
)

func TestParseExpiry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"": "2027-02-27T12:00:00Z", "30d": "2026-12-29T12:00:00Z", "12h": "2026-11-30T00:00:00Z", "2027-01-31": "2027-01-31T00:00:00Z",
		"2027-01-31T10:00:00+01:00": "2027-01-31T09:00:00Z", "never": "never",
		"soon": "", "d": "", "-1d": "", "0d": "", "1hd": "", "2020-01-01": "", "99999999999d": "", "1e3d": "", " 1d": "",
	} {
		at, err := credentials.ParseExpiry(text, now)
		got := ""
		if err == nil {
			got = "never"
			if at != nil {
				got = at.UTC().Format(time.RFC3339)
			}
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", text, got, err, want)
		}
	}
}
