package intake

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
)

// A batch that panics answers all its senders and gives its place back.
func TestPushesSurviveAPanic(t *testing.T) {
	t.Parallel()
	s := newPushes(nil) // committing without a database panics
	for i := range pushLeaders + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		panicked := func() (panicked bool) {
			defer func() { panicked = recover() != nil }()
			_, _ = s.take(ctx, Delivery{Provider: troy.GitHub}, troy.PushEvent{})
			return false
		}()
		if !panicked {
			t.Fatalf("push %d did not panic; a place was lost, or the batch did not fail", i)
		}
		cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leaders) != 0 || len(s.waiting) != 0 {
		t.Errorf("%d places are taken and %d wait", len(s.leaders), len(s.waiting))
	}
}

// A batch has the first push of each repository, in the same order whatever the
// order of arrival.
func TestBatchHasOnePushOfARepository(t *testing.T) {
	t.Parallel()
	s := newPushes(nil)
	for _, of := range []struct {
		provider       troy.Provider
		repository, id string
	}{
		{troy.GitHub, "2", "first"}, {troy.GitHub, "1", "second"}, {troy.GitHub, "2", "third"}, {troy.Bitbucket, "2", "fourth"}, {troy.GitHub, "2", "fifth"},
	} {
		s.waiting = append(s.waiting, &push{
			delivery: Delivery{Provider: of.provider, ID: of.id},
			pushes:   troy.PushEvent{Repository: troy.ForgeRepository{Provider: of.provider, ID: of.repository}},
		})
	}
	for _, want := range [][]string{{"fourth", "second", "first"}, {"third"}, {"fifth"}, nil} {
		var got []string
		for _, p := range s.next() {
			got = append(got, p.delivery.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the batch (-want +got):\n%s", diff)
		}
	}
}
