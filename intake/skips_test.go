package intake_test

import (
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
)

// TestSkippedCommitsAreReported checks that each skipped commit of the
// pipeline's branch is reported, and no other push.
func TestSkippedCommitsAreReported(t *testing.T) {
	t.Parallel()
	elsewhere := []string{"elsewhere/a"}
	for name, c := range map[string]struct {
		push   troy.Push
		reason string // of the report; empty for none
	}{
		"a skip marker":         {troy.Push{Skip: "the commit's message says [skip ci]"}, "says [skip ci]"},
		"no watched file":       {troy.Push{Paths: elsewhere, PathsComplete: true}, "no file that the pipeline watches changed"},
		"a watched file":        {troy.Push{Paths: []string{"web/a"}, PathsComplete: true}, ""},
		"another branch":        {troy.Push{Name: "draft", Skip: "it says so"}, ""},
		"the branch's deletion": {troy.Push{Deleted: true, Skip: "it says so"}, ""},
		"the known commit":      {troy.Push{After: commit("a"), Skip: "it says so"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.bound(1)
			w.exec("UPDATE pipelines SET watch_paths = '{web/**}' WHERE id = $1", p.ID)
			w.push(1, troy.Push{After: commit("a")})
			c.push.Before = commit("a")
			if c.push.After == "" {
				c.push.After = commit("b")
			}
			out := w.push(1, c.push)
			if c.reason == "" {
				if n := w.count("SELECT count(*) FROM skips"); n != 0 {
					t.Errorf("%+v: %d reports", out, n)
				}
				return
			}
			if out.Result != intake.Ignored || !strings.Contains(out.Detail, c.reason) {
				t.Errorf("%+v", out)
			}
			if n := w.count(`SELECT count(*) FROM skips s JOIN work w ON w.subject_id = s.id AND w.kind = 'forge:report'
				WHERE s.pipeline_id = $1 AND s.commit_sha = $2 AND strpos(s.reason, $3) > 0`, p.ID, commit("b"), c.reason); n != 1 {
				t.Errorf("%d reports are requested, want 1", n)
			}
			w.push(1, c.push)
			if n := w.count("SELECT count(*) FROM skips"); n != 1 {
				t.Errorf("repeated: %d reports, want 1", n)
			}
		})
	}
}

// TestSkippedHead finds a skipped commit at the head of the branch.
func TestSkippedHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.bound(1)
	w.push(1, troy.Push{After: commit("a")})
	if _, err := w.in.HeadFound(w.ctx(), p.ID, intake.Head{Branch: "main", Commit: commit("b"), Base: commit("a"), Message: "words [skip ci]"}); err != nil {
		t.Fatal(err)
	}
	if n := w.count("SELECT count(*) FROM skips WHERE commit_sha = $1", commit("b")); n != 1 {
		t.Errorf("%d reports, want 1", n)
	}
}
