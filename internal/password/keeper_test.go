package password

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestOneSiteLeavesRoom fills a site's share of the hashes.
func TestOneSiteLeavesRoom(t *testing.T) {
	t.Parallel()
	k := NewKeeper(time.Now)
	client := netip.MustParseAddr("192.0.2.1")
	flooded, quiet := NewSecrets("flooded"), NewSecrets("quiet")
	for _, s := range []*Secrets{flooded, quiet} {
		if err := s.Add("one", Hash("correct horse", NewSalt())); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(s *Secrets, want int, wantErr error) {
		t.Helper()
		if at, err := k.Verify(t.Context(), s, client, "correct horse"); at != want || !errors.Is(err, wantErr) {
			t.Errorf("Verify for %s returns %d, %v, expected %d, %v", s.site, at, err, want, wantErr)
		}
	}
	var leave []func()
	for range maxOfSite {
		_, release := k.enter(flooded.site)
		leave = append(leave, release)
	}
	for range 2 * AttemptsBurst { // none of them counts
		verify(flooded, -1, ErrBusy)
	}
	verify(quiet, 0, nil)
	for _, release := range leave {
		release()
	}
	if len(k.sites) != 0 {
		t.Errorf("%d sites are kept", len(k.sites))
	}
	verify(flooded, 0, nil)
}
