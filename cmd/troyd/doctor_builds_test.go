package main

import (
	"strings"
	"testing"
)

func TestDoctorTellsOfUnfilteredBuilds(t *testing.T) {
	t.Parallel()
	for _, filtered := range []bool{true, false} {
		var out strings.Builder
		d := &doctor{out: &out}
		d.builds(true, filtered)
		if got := strings.Contains(out.String(), "system calls are not filtered"); got == filtered || d.result() != nil {
			t.Errorf("filtered is %v; doctor says %q, %v", filtered, out.String(), d.result())
		}
	}
}
