package workers

import (
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// TestBuildLimits compares what a build may use with the limits of the
// installation and of the pipeline.
func TestBuildLimits(t *testing.T) {
	t.Parallel()
	most := builder.Limits{Time: 20 * time.Minute, MemoryBytes: 2 << 30, Processes: 1000, CPUs: 4}
	for _, c := range []struct {
		name      string
		settings  troy.BuildSettings
		untrusted bool
		want      builder.Limits
	}{
		{"none of its own", troy.BuildSettings{}, false, most},
		{"lower ones", troy.BuildSettings{Minutes: 5, MemoryMiB: 512, Processes: 100, CPUs: 1}, false, builder.Limits{Time: 5 * time.Minute, MemoryBytes: 512 << 20, Processes: 100, CPUs: 1}},
		{"higher ones, which the installation allowed before", troy.BuildSettings{Minutes: 50, MemoryMiB: 51200, Processes: 10000, CPUs: 100}, false, most},
		{"a stranger's", troy.BuildSettings{MemoryMiB: 512}, true, builder.Limits{Time: untrustedTime, MemoryBytes: 512 << 20, Processes: 1000, CPUs: 4}},
	} {
		w := &Workers{cfg: Config{BuildLimits: most, Limits: site.DefaultLimits()}}
		got := w.buildLimits(queries.Deployment{Trusted: !c.untrusted}, c.settings)
		if got.Time != c.want.Time || got.MemoryBytes != c.want.MemoryBytes || got.Processes != c.want.Processes || got.CPUs != c.want.CPUs {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	w := &Workers{cfg: Config{BuildLimits: builder.Limits{Time: time.Minute}}}
	if got := w.buildLimits(queries.Deployment{Trusted: true}, troy.BuildSettings{CPUs: 1}); got.CPUs != 1 || got.MemoryBytes != builder.DefaultLimits().MemoryBytes {
		t.Errorf("without limits of the installation: %+v", got)
	}
}
