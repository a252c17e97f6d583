package workers

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
)

func TestPhaseTable(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	run := func(phase builder.Phase, command string, took time.Duration, code int) builder.PhaseRun {
		return builder.PhaseRun{Phase: phase, Command: command, Started: began, Ended: began.Add(took), ExitCode: &code}
	}
	got := phaseTable([]builder.PhaseRun{
		run(builder.PhaseSource, "", 420*time.Millisecond, 0), run(builder.PhaseInstall, "npm ci", 12500*time.Millisecond, 0),
		run(builder.PhaseBuild, "npm run build", 200*time.Second, 1), run(builder.PhaseTest, "x", time.Second, -1), run(builder.PhaseArchive, "", time.Second, 1),
		{Phase: builder.PhaseTest, Command: "x", Started: began},
	})
	const want = `| Phase | Time | Result |
|---|---|---|
| Download Source | 0.4 s | done |
| Install | 12 s | done |
| Build | 3 min 20 s | failed with exit code 1 |
| Test | 1.0 s | killed |
| Archive | 1.0 s | failed |
| Test |  | stopped |

`
	if got != want {
		t.Errorf("the table is\n%s", got)
	}
	if got := phaseTable(nil); got != "" {
		t.Errorf("without phases the table is %q", got)
	}
}

// TestFenced has text that tries to end its code block.
func TestFenced(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", "```", "a\n````\n# b", "`````` x", "~~~\n```\n", strings.Repeat("`", 500)} {
		got := fenced(text)
		lines := strings.Split(got, "\n")
		fence := strings.TrimSuffix(lines[0], "text")
		if fence != strings.Repeat("`", len(fence)) || len(fence) < 3 || lines[len(lines)-1] != fence {
			t.Errorf("fenced(%.40q) = %.80q", text, got)
		}
		for _, line := range lines[1 : len(lines)-1] {
			if strings.Contains(line, fence) {
				t.Errorf("the line %.40q ends the block", line)
			}
		}
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain words; it's \"fine\": a/b.js (1)": "plain words; it's \"fine\": a/b.js (1)",
		"![x](http://e.test)":                    `\!\[x\](http://e.test)`,
		"two\nlines\r\n\n# and a heading":        `two lines \# and a heading`,
		"<img src=x> &amp; `code` *b* _i_ ~s~ |": "\\<img src=x\\> \\&amp; \\`code\\` \\*b\\* \\_i\\_ \\~s\\~ \\|",
	} {
		if got := markdown(text); got != want {
			t.Errorf("markdown(%q) = %q, want %q", text, got, want)
		}
	}
}

// logOf returns the whole log of a deployment that has ended.
func (r *rig) logOf(deployment uuid.UUID) string {
	r.t.Helper()
	var packed []byte
	if err := r.db.QueryRow(r.t.Context(), "SELECT coalesce(log, '') FROM builds WHERE deployment_id = $1", deployment).Scan(&packed); err != nil {
		r.t.Fatal(err)
	}
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer decoder.Close()
	text, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// TestFailedBuildIsExplained fails a build in a known way. The cause, the log
// and the report to the forge have what helps, also if finishing the log is
// repeated.
func TestFailedBuildIsExplained(t *testing.T) {
	t.Parallel()
	for _, poll := range []time.Duration{0, 50 * time.Millisecond} {
		t.Run(poll.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t).withBuilds()
			r.buildPoll = poll
			began, good, bad := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), 0, 127
			r.builder.mu.Lock()
			r.builder.log = "==> Install: npm ci\n\x1b[32madded 3 packages\x1b[0m\n==> Build: npm run build\n\n> web@1.0.0 build\n> vite build\n\n```\nsh: 1: vite: not found\n" +
				"The phase Build took 0.5 s, until 12:00:13 UTC.\nFailed: the command of the phase Build was not found (exit code 127).\n"
			r.builder.failed = builder.Build{Cause: "the command of the phase Build was not found (exit code 127)", Phases: []builder.PhaseRun{
				{Phase: builder.PhaseInstall, Command: "npm ci", Started: began, Ended: began.Add(12 * time.Second), ExitCode: &good},
				{Phase: builder.PhaseBuild, Command: "npm run build", Started: began.Add(12 * time.Second), Ended: began.Add(12500 * time.Millisecond), ExitCode: &bad},
			}}
			r.builder.mu.Unlock()
			r.start()
			p := r.building("blog")
			r.builder.fail(p.ID, true)
			r.head("blog", commitID("first"))
			r.pushed("blog", "", commitID("first"))
			var d queries.Deployment
			eventually(t, func() bool {
				var err error
				d, err = r.q.DeploymentOfCommit(t.Context(), p.ID, commitID("first"))
				return err == nil && d.State == troy.Failed
			}, func() string { return "the deployment is " + string(d.State) })
			const advice = "the program vite is missing; add its package to package.json (npm install --save-dev) and commit the lockfile"
			if want := r.builder.failed.Cause + ": " + advice; d.Cause != want {
				t.Errorf("the cause is %q, want %q", d.Cause, want)
			}
			if log := r.logOf(d.ID); strings.Count(log, "Advice: "+advice+".\n") != 1 || !strings.HasSuffix(log, advice+".\n") || !strings.HasPrefix(log, "==> Install") {
				t.Errorf("the log is\n%s", log)
			}
			var last forge.Report
			eventually(t, func() bool {
				told := r.toldOf(commitID("first"))
				if len(told) > 0 {
					last = told[len(told)-1]
				}
				return last.State == troy.Failed
			}, func() string { return "the forge was not told of the failure" })
			if last.Title != "Failed: "+advice || !strings.HasPrefix(last.Summary, "The command of the phase Build was not found (exit code 127): the program vite is missing; ") {
				t.Errorf("the report is %q: %q", last.Title, last.Summary)
			}
			const want = "| Phase | Time | Result |\n|---|---|---|\n| Install | 12 s | done |\n| Build | 0.5 s | failed with exit code 127 |\n\n" +
				"The last lines of the phase Build:\n\n````text\n> web@1.0.0 build\n> vite build\n\n```\nsh: 1: vite: not found\n````\n"
			if last.Text != want {
				t.Errorf("the text is\n%s\nwant\n%s", last.Text, want)
			}
		})
	}
}

// TestAdviceIsAppendedOnce finishes a log whose advice was appended by a worker
// that stopped before the end.
func TestAdviceIsAppendedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.workers()
	pipeline := r.pipeline("blog")
	id := uuid.Must(uuid.NewV7())
	if _, err := r.db.Exec(t.Context(), `INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, commit_sha, actor, started_at)
		VALUES ($1, $2, 9, 'automated', 'building', $1, $3, 'test', now())`, id, pipeline, commitID("one")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.db.Exec(t.Context(), "INSERT INTO builds (deployment_id, log_cursor) VALUES ($1, 'here')", id); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"==> Build: x\nENOSPC\n", "Failed: the command of the phase Build ended with exit code 1.\n", "Advice: said before.\n"} {
		if _, err := r.q.BuildLogAppend(t.Context(), queries.BuildLogAppendParams{Bytes: []byte(text), LogCursor: "here", DeploymentID: id}); err != nil {
			t.Fatal(err)
		}
	}
	code := 1
	b := builder.Build{State: builder.Failed, Cause: "the command of the phase Build ended with exit code 1", Phases: []builder.PhaseRun{{Phase: builder.PhaseBuild, Command: "x", ExitCode: &code}}}
	for range 2 { // the second finds a whole log
		if err := w.finishLog(t.Context(), id, b); err != nil {
			t.Fatal(err)
		}
		if log := r.logOf(id); strings.Count(log, "Advice: ") != 1 {
			t.Errorf("the log is\n%s", log)
		}
		cause, err := w.causeOf(t.Context(), id, b)
		if err != nil || !strings.HasPrefix(cause, b.Cause+": the disk of the builder is full") {
			t.Errorf("the cause is %q: %v", cause, err)
		}
	}
	row, err := r.q.BuildGet(t.Context(), id)
	if err != nil || row.Tail != "ENOSPC" || row.LogCursor != "here" {
		t.Errorf("the tail is %q, the cursor %q: %v", row.Tail, row.LogCursor, err)
	}
}

// TestUnwatchedIsRecorded records what a workspace has for the newest commit
// alone, and for the root folder of the settings.
func TestUnwatchedIsRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pipeline := r.pipeline("blog")
	id := uuid.Must(uuid.NewV7())
	if _, err := r.db.Exec(t.Context(), `INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, commit_sha, actor, started_at)
		VALUES ($1, $2, 9, 'automated', 'building', $1, $3, 'test', now())`, id, pipeline, commitID("one")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, head, root, found string
		want                    []string
	}{
		{"the head is not known", "", "apps/web", "apps/web", []string{"apps/admin"}},
		{"the newest commit", commitID("one"), "apps/web", "apps/web", []string{"apps/admin"}},
		{"an older commit", commitID("two"), "apps/web", "apps/web", nil},
		{"another root folder by now", commitID("one"), "apps/admin", "apps/web", nil},
		{"no root folder", commitID("one"), "", "", []string{"apps/admin"}},
	} {
		if _, err := r.db.Exec(t.Context(), "UPDATE pipelines SET unwatched = '{}', workspace = '', head_commit = nullif($2, ''), repository_root = nullif($3, '') WHERE id = $1", pipeline, c.head, c.root); err != nil {
			t.Fatal(err)
		}
		if err := r.q.PipelineSawWorkspace(t.Context(), queries.PipelineSawWorkspaceParams{Workspace: ".", Root: c.found, Unwatched: []string{"apps/admin"}, DeploymentID: id}); err != nil {
			t.Fatal(err)
		}
		got, err := r.q.PipelineGet(t.Context(), pipeline)
		if err != nil || got.Workspace != "." || !slices.Equal(got.Unwatched, c.want) {
			encoded, _ := json.Marshal(got.Unwatched)
			t.Errorf("%s: the workspace is %q, not watched are %s: %v", c.name, got.Workspace, encoded, err)
		}
	}
}
