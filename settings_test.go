package troy_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
)

func TestBuildLimits(t *testing.T) {
	t.Parallel()
	most := troy.BuildLimits{Minutes: 30, MemoryMiB: 4096, CPUs: 2, Processes: 2048}
	elsewhere := troy.BuildLimits{Minutes: 30, MemoryMiB: 4096, Processes: 2048, Elsewhere: "builds run elsewhere"}
	for _, c := range []struct {
		s     troy.BuildSettings
		most  troy.BuildLimits
		field string // of the error
		says  string
	}{
		{s: troy.BuildSettings{}, most: most},
		{s: troy.BuildSettings{Minutes: 30, MemoryMiB: 4096, CPUs: 2, Processes: 2048}, most: most},
		{s: troy.BuildSettings{Minutes: 1, MemoryMiB: 256, CPUs: 1, Processes: 64}, most: most},
		{s: troy.BuildSettings{Minutes: 31}, most: most, field: "minutes", says: "it is 31; expected 1 to 30"},
		{s: troy.BuildSettings{MemoryMiB: 4097}, most: most, field: "memory_mib", says: "256 to 4096"},
		{s: troy.BuildSettings{MemoryMiB: 1}, most: most, field: "memory_mib", says: "256 to 4096"},
		{s: troy.BuildSettings{CPUs: 3}, most: most, field: "cpus", says: "1 to 2"},
		{s: troy.BuildSettings{CPUs: 3}},
		{s: troy.BuildSettings{CPUs: -1}, field: "cpus", says: "1 to 1024"},
		{s: troy.BuildSettings{Processes: 63}, most: most, field: "processes", says: "64 to 2048"},
		{s: troy.BuildSettings{Minutes: 30}, most: elsewhere},
		{s: troy.BuildSettings{CPUs: 1}, most: elsewhere, field: "cpus", says: "builds run elsewhere"},
	} {
		err := c.s.CheckLimits(c.most)
		e, ok := err.(*troy.Error) //nolint:errorlint // it is not wrapped
		if c.field == "" && err != nil || c.field != "" && (!ok || e.Field != c.field || !strings.Contains(e.Message, c.says)) {
			t.Errorf("%+v with %+v: %v, want %q at %q", c.s, c.most, err, c.says, c.field)
		}
	}
}
