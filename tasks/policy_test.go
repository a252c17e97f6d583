package tasks_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/tasks"
)

func policyOf(t *testing.T, kind string) tasks.Policy {
	t.Helper()
	p, ok := tasks.PolicyOf(kind)
	if !ok {
		t.Fatalf("%s has no policy", kind)
	}
	return p
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	policies := map[string]tasks.Policy{
		"the delay above its bound": {Delay: time.Hour, MaxDelay: time.Minute},
		"no wait":                   {},
		"a bound near the longest":  {Delay: time.Minute, MaxDelay: 200 * 365 * 24 * time.Hour},
	}
	for _, kind := range tasks.Kinds() {
		policies[kind] = policyOf(t, kind)
	}
	for name, p := range policies {
		longest := min(p.Delay, p.MaxDelay)
		for n := 1; n <= 120; n++ {
			for range 20 {
				if d := p.RetryDelay(n); d < longest/2 || d > longest {
					t.Fatalf("%s: after failure %d the wait is %s, want from %s to %s", name, n, d, longest/2, longest)
				}
			}
			if longest > p.MaxDelay/2 {
				longest = p.MaxDelay
			} else {
				longest *= 2
			}
		}
		// There is no attempt before the first, but RetryDelay must return.
		for _, n := range []int{0, -1, -1 << 62} {
			if d := p.RetryDelay(n); d < 0 || d > min(p.Delay, p.MaxDelay) {
				t.Errorf("%s: failure %d waits %s", name, n, d)
			}
		}
	}
}

// TestRetryDelaySpreads checks that retries of work that failed together are
// spread out.
func TestRetryDelaySpreads(t *testing.T) {
	t.Parallel()
	p := policyOf(t, tasks.TypeProvision)
	seen := map[time.Duration]bool{}
	for range 100 {
		seen[p.RetryDelay(1)] = true
	}
	if len(seen) < 50 {
		t.Errorf("a hundred first retries come after %d different waits", len(seen))
	}
}

func TestPoliciesAreWhole(t *testing.T) {
	t.Parallel()
	for _, kind := range tasks.Kinds() {
		p := policyOf(t, kind)
		if p.Queue == "" || p.Attempts < 1 || p.Attempts > 999 || p.Delay <= 0 || p.MaxDelay < p.Delay || p.Deadline <= p.MaxDelay {
			t.Errorf("%s: %+v", kind, p)
		}
	}
	if _, ok := tasks.PolicyOf(tasks.TypeSweep); ok {
		t.Error("the sweep has a policy, but it has no row")
	}
	if p, ok := tasks.PolicyOf("pipeline:unknown"); ok || p != (tasks.Policy{}) {
		t.Errorf("an unknown kind has the policy %+v", p)
	}
}

// TestEveryStatusHasAWayOut checks that exactly the non-resting statuses have
// work.
func TestEveryStatusHasAWayOut(t *testing.T) {
	t.Parallel()
	for _, s := range troy.Statuses() {
		kinds := tasks.OfStatus(s)
		if s.Resting() != (len(kinds) == 0) {
			t.Errorf("%s: resting is %t, its work is %v", s, s.Resting(), kinds)
		}
		for _, kind := range kinds {
			policyOf(t, kind)
		}
	}
}

// TestStatesPage compares docs/states.md with the work and the limits of each
// status.
func TestStatesPage(t *testing.T) {
	t.Parallel()
	const file = "../docs/states.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(strings.TrimSpace(line), "|"); len(cells) == 6 {
			got[strings.TrimSpace(cells[1])] = strings.TrimSpace(cells[3]) + " | " + strings.TrimSpace(cells[4])
		}
	}
	delete(got, "status")
	delete(got, "---")
	want := map[string]string{}
	for _, s := range troy.Statuses() {
		var names, attempts, deadlines []string
		for _, kind := range tasks.OfStatus(s) {
			p := policyOf(t, kind)
			names = append(names, "`"+kind+"`")
			attempts = append(attempts, fmt.Sprintf("%d attempts", p.Attempts))
			deadlines = append(deadlines, hours(p.Deadline))
		}
		switch attempts = slices.Compact(attempts); {
		case len(names) == 0:
			want[s.String()] = "– | –"
		case len(names) == 1:
			want[s.String()] = names[0] + " | " + attempts[0] + ", " + deadlines[0]
		default:
			want[s.String()] = strings.Join(names, ", then ") + " | " + strings.Join(attempts, ", then ") + "; " + strings.Join(deadlines, ", then ")
		}
		for _, kind := range tasks.OfStatus(s) {
			if p := policyOf(t, kind); p.Delay != time.Second || p.MaxDelay != time.Minute {
				t.Errorf("%s says that delays are seconds and double up to a minute; %s has %+v", file, kind, p)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the policies (-) against the table of %s (+):\n%s", file, diff)
	}
	// Every other task that the pages name must exist.
	kinds := append(tasks.Kinds(), tasks.TypeSweep)
	for _, page := range []string{file, "../docs/operations.md", "../docs/api.md", "../docs/cli.md", "../docs/diagrams/provisioning.md", "../docs/diagrams/release-flow.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range regexp.MustCompile(`\bpipeline:[a-z-]+`).FindAllString(string(text), -1) {
			if !slices.Contains(kinds, kind) {
				t.Errorf("%s names the task %s, which does not exist", page, kind)
			}
		}
	}
}

func hours(d time.Duration) string {
	if d == time.Hour {
		return "1 hour"
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}
