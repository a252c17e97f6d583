package builder

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestLogEnd(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, "line %d\n", i)
	}
	const failed = "The phase Build took 3 s, until 12:00:00 UTC.\nFailed: the command of the phase Build ended with exit code 1.\nAdvice: do this.\n"
	for name, test := range map[string]struct {
		log   string
		first string
		last  string
		lines int
	}{
		"nothing":              {"", "", "", 1},
		"a few lines":          {"a\nb\n", "a", "b", 2},
		"many":                 {many.String(), "line 970", "line 999", tailLines},
		"long lines":           {strings.Repeat(strings.Repeat("x", 3000)+"\n", 40), strings.Repeat("x", tailLine-1) + "…", strings.Repeat("x", tailLine-1) + "…", 30},
		"many bytes":           {strings.Repeat(strings.Repeat("é", 3000)+"\n", 40), strings.Repeat("é", tailLine-1) + "…", strings.Repeat("é", tailLine-1) + "…", 16},
		"one very long line":   {strings.Repeat("y", 3<<20), strings.Repeat("y", tailLine-1) + "…", strings.Repeat("y", tailLine-1) + "…", 1},
		"colours":              {"\x1b[1;31mred\x1b[0m\r\nnext\x07\n", "red", "next", 2},
		"half a letter in UTF": {"caf\xe9\nend\n", "caf\uFFFD", "end", 2},
		"the last phase":       {"==> Install: npm ci\nadded\n==> Build: npm run build\n\nfirst\nlast\n\n" + failed, "first", "last", 2},
		"a phase without text": {"==> Install: npm ci\nadded\n==> Build: npm run build\n" + failed, "", "", 1},
		"no heading of Troy's": {"==> Building\nfirst\n==> Build it\nlast\n", "==> Building", "last", 4},
		"a cut phase":          {"==> Build: x\n" + strings.Repeat("z\n", 1<<20) + "last\n", "z", "last", tailLines},
		"words like Troy's":    {"Failed: a test\nmore\n", "Failed: a test", "more", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, part := range []int{1, 7, 1 << 20, len(test.log) + 1} {
				if part < 8 && len(test.log) > 1<<20 {
					continue
				}
				var e LogEnd
				for rest := test.log; rest != ""; {
					n := min(part, len(rest))
					e.Add([]byte(rest[:n]))
					rest = rest[n:]
				}
				lines := strings.Split(Tail(e.Phase()), "\n")
				if len(lines) != test.lines || lines[0] != test.first || lines[len(lines)-1] != test.last {
					t.Fatalf("in parts of %d: %d lines from %.40q to %.40q", part, len(lines), lines[0], lines[len(lines)-1])
				}
			}
		})
	}
}

// TestAdviceOnlyOnCommands gives advice only if the failure of a command or a
// limit that can be changed is the cause.
func TestAdviceOnlyOnCommands(t *testing.T) {
	t.Parallel()
	code := func(n int) *int { return &n }
	const log, cause = "sh: 1: vite: not found\n", "the command of the phase Build was not found (exit code 127)"
	failed := PhaseRun{Phase: PhaseBuild, Command: "npm run build", ExitCode: code(127)}
	for _, c := range []struct {
		name  string
		build Build
		want  bool
	}{
		{"a command failed", Build{State: Failed, Cause: cause, Phases: []PhaseRun{failed}}, true},
		{"the build took too long", Build{State: Failed, Cause: TookLonger(30 * time.Minute), Phases: []PhaseRun{failed}}, true},
		{"the build used too much", Build{State: Failed, Cause: UsedMore(1 << 30), Phases: []PhaseRun{failed}}, true},
		{"the log passed its limit", Build{State: Failed, Cause: LogPassed(1 << 20), Phases: []PhaseRun{failed}}, false},
		{"it was stopped", Build{State: Stopped, Cause: cause, Phases: []PhaseRun{failed}}, false},
		{"nothing ran", Build{State: Failed, Cause: cause}, false},
		{"Troy's own phase", Build{State: Failed, Cause: cause, Phases: []PhaseRun{failed, {Phase: PhaseArchive, ExitCode: code(1)}}}, false},
		{"a phase that runs", Build{State: Failed, Cause: cause, Phases: []PhaseRun{{Phase: PhaseBuild, Command: "x"}}}, false},
	} {
		if got := c.build.Advice(log); (got != "") != c.want {
			t.Errorf("%s: the advice is %q", c.name, got)
		}
	}
}
