package main

import (
	"strings"
	"testing"
)

// tableOf prints pipelines as a terminal of this width shows them.
func tableOf(width int, uncut bool, rows ...[]cell) string {
	var b strings.Builder
	s := &screen{w: &b, width: width, uncut: uncut}
	s.table([]column{
		{title: "PIPELINE", spill: 20}, {title: "STATUS"}, {title: "UPDATED", optional: true},
		{title: "ID", wide: true}, {title: "URL", spill: 20},
	}, rows)
	return b.String()
}

func pipelineRow(slug string) []cell {
	return []cell{{text: slug}, {text: "Ready for Deployment"}, {text: "3 min ago"}, {text: "the id"}, {text: "https://" + slug + ".sites.example.com"}}
}

// TestLongSlugsHideNothing shows a slug of forty characters among short ones.
func TestLongSlugsHideNothing(t *testing.T) {
	t.Parallel()
	long := "a-slug-of-forty-characters-as-long-as-be"
	got := tableOf(80, false, pipelineRow("blog"), pipelineRow(long), pipelineRow("docs"))
	want := `PIPELINE  STATUS                UPDATED    URL
blog      Ready for Deployment  3 min ago  https://blog.sites.example.com
a-slug-of-forty-characters-as-long-as-be
          Ready for Deployment  3 min ago
  https://a-slug-of-forty-characters-as-long-as-be.sites.example.com
docs      Ready for Deployment  3 min ago  https://docs.sites.example.com
`
	if got != want {
		t.Errorf("at 80 columns:\n%s\nwant\n%s", got, want)
	}
	for _, width := range []int{40, 60, 80, 100, 200} {
		got := tableOf(width, false, pipelineRow("blog"), pipelineRow(long))
		for _, part := range []string{"URL\n", long, "https://blog.sites.example.com", "https://" + long + ".sites.example.com"} {
			if !strings.Contains(got, part) {
				t.Errorf("at %d columns %q is missing:\n%s", width, part, got)
			}
		}
		for line := range strings.Lines(got) {
			if len(line) > width+1 && !strings.Contains(line, long) {
				t.Errorf("at %d columns a line has %d:\n%s", width, len(line)-1, line)
			}
		}
	}
	piped := tableOf(80, true, pipelineRow("blog"), pipelineRow(long))
	if n := strings.Count(piped, "\n"); n != 3 || strings.Contains(piped, "…") || !strings.Contains(piped, long+"  Ready for Deployment  3 min ago  https://"+long) {
		t.Errorf("without a terminal:\n%s", piped)
	}
}

func TestTheWidestColumnIsCutFirst(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	s := &screen{w: &b, width: 40}
	s.table([]column{{title: "NO"}, {title: "MESSAGE", least: 8}, {title: "CAUSE", least: 8}}, [][]cell{
		{{text: "1"}, {text: strings.Repeat("message ", 20)}, {text: "the disk is full"}},
	})
	if want := "NO  MESSAGE             CAUSE\n1   message message m…  the disk is full\n"; b.String() != want {
		t.Errorf("at 40 columns:\n%s\nwant\n%s", b.String(), want)
	}
}
