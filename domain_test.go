package troy_test

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
)

func TestDomainStates(t *testing.T) {
	t.Parallel()
	want := []struct {
		value, name, next string
		deadline          bool
	}{
		{"waiting_for_dns", "Waiting for DNS", "verifying, issuing, active, failing", true},
		{"verifying", "Verifying", "waiting_for_dns, issuing, active, failing", true},
		{"issuing", "Issuing", "waiting_for_dns, verifying, active, failing", true},
		{"active", "Active", "issuing, failing", false},
		{"failing", "Failing", "verifying, issuing, active", false},
	}
	all := troy.DomainStates()
	if len(all) != len(want) {
		t.Fatalf("%d states, want %d", len(all), len(want))
	}
	for i, w := range want {
		s := all[i]
		if string(s) != w.value || s.String() != w.name {
			t.Errorf("state %d is %q, shown as %q; want %q, %q", i+1, string(s), s, w.value, w.name)
		}
		if parsed, err := troy.ParseDomainState(w.value); err != nil || parsed != s {
			t.Errorf("ParseDomainState(%q) = %q, %v", w.value, string(parsed), err)
		}
		var can []string
		for _, to := range splitList(w.next) {
			if slices.Contains(s.Next(), troy.DomainState(to)) {
				can = append(can, to)
			}
		}
		if diff := cmp.Diff(splitList(w.next), can); diff != "" || len(s.Next()) != len(can) {
			t.Errorf("successors of %s are %v (-want +got):\n%s", s, s.Next(), diff)
		}
		for _, to := range all {
			if got, want := s.CanBecome(to), slices.Contains(can, string(to)); got != want {
				t.Errorf("whether %s can become %s: %t, want %t", s, to, got, want)
			}
		}
		if (s.Deadline() > 0) != w.deadline {
			t.Errorf("the deadline of %s is %s", s, s.Deadline())
		}
		// A domain in any state has a next check, and none waits for more than
		// a day.
		for n := -1; n < 2000; n++ {
			d := s.CheckDelay(n)
			if d <= 0 || d > 24*time.Hour || d < s.CheckDelay(n-1) || s == troy.DomainFailing && d > time.Hour {
				t.Fatalf("after %d checks in %s the next comes after %s", n, s, d)
			}
		}
	}
	for _, bad := range []string{"", "Active", "waiting for dns", "deleted"} {
		if s, err := troy.ParseDomainState(bad); err == nil || s != "" {
			t.Errorf("ParseDomainState(%q) = %q, %v; want an error", bad, string(s), err)
		}
	}
	if got := troy.DomainState("").String(); got != "" {
		t.Errorf("no state is shown as %q", got)
	}
}

const domainsPage = "docs/domains.md"

// TestDomainsPage holds the paragraphs and the table of docs/domains.md to the
// states.
func TestDomainsPage(t *testing.T) {
	t.Parallel()
	var want, got, wantRows [][]string
	for _, s := range troy.DomainStates() {
		want = append(want, []string{s.String(), string(s)})
		row := []string{s.String()}
		for _, to := range s.Next() {
			row = append(row, to.String())
		}
		wantRows = append(wantRows, row)
	}
	for _, m := range regexp.MustCompile("(?m)^\\*\\*(.+?)\\*\\* \\(`(.+?)`\\)\\. \\S").FindAllStringSubmatch(page(t, domainsPage), -1) {
		got = append(got, m[1:])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("package troy (-) against the paragraphs of %s (+):\n%s", domainsPage, diff)
	}
	var rows [][]string
	for _, row := range table(t, domainsPage, "state") {
		rows = append(rows, append([]string{row[0]}, splitList(row[1])...))
	}
	if diff := cmp.Diff(wantRows, rows); diff != "" {
		t.Errorf("package troy (-) against the table of %s (+):\n%s", domainsPage, diff)
	}
}
