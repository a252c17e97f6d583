package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
)

// maxTitle is the maximum length in characters of a report's title, which forges
// show in lists of checks.
const maxTitle = 200

// detailBuild adds to a report what is known of the deployment's build: its
// phases and, if it failed, the advice and the last lines of the log, or else
// its warnings.
func (w *Workers) detailBuild(ctx context.Context, d queries.Deployment, r *forge.Report) error {
	b, err := w.q.BuildGet(ctx, d.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the build: %w", err)
	}
	if d.State == troy.Failed && d.Cause != "" {
		r.Title = troy.Cut("Failed: "+orElse(b.Advice, d.Cause), maxTitle)
	}
	if d.State == troy.Succeeded && len(b.Warnings) > 0 {
		r.Title += ", with a warning"
		for _, warning := range b.Warnings {
			r.Summary += "\n\nWarning: " + markdown(warning)
		}
	}
	if !d.State.Ended() {
		return nil // forges get states, not phases
	}
	var phases []builder.PhaseRun
	if err := json.Unmarshal(b.Phases, &phases); err != nil {
		return fmt.Errorf("read the phases: %w", err)
	}
	r.Text = phaseTable(phases)
	if d.State == troy.Failed && b.Tail != "" {
		of := "the log"
		if n := len(phases); n > 0 {
			of = "the phase " + phases[n-1].Phase.String()
		}
		r.Text += fmt.Sprintf("The last lines of %s:\n\n%s\n", of, fenced(b.Tail))
	}
	return nil
}

// phaseTable returns a table of phases with their times, or "".
func phaseTable(phases []builder.PhaseRun) string {
	if len(phases) == 0 {
		return ""
	}
	text := "| Phase | Time | Result |\n|---|---|---|\n"
	for _, p := range phases {
		took, result := "", "stopped"
		if !p.Ended.IsZero() {
			took = builder.InSeconds(p.Ended.Sub(p.Started))
		}
		switch {
		case p.ExitCode == nil:
		case *p.ExitCode == 0:
			result = "done"
		case *p.ExitCode < 0:
			result = "killed"
		case p.Command == "":
			result = "failed"
		default:
			result = fmt.Sprintf("failed with exit code %d", *p.ExitCode)
		}
		text += fmt.Sprintf("| %s | %s | %s |\n", p.Phase, took, result)
	}
	return text + "\n"
}

// markdownEscapes escapes what GitHub's Markdown may interpret within a line
// (github.github.com/gfm, backslash escapes).
var markdownEscapes = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", `*`, `\*`, `_`, `\_`, `[`, `\[`, `]`, `\]`, `<`, `\<`, `>`, `\>`, `#`, `\#`, `|`, `\|`, `~`, `\~`, `&`, `\&`, `!`, `\!`, `$`, `\$`,
)

// oneLine returns text without line ends.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// markdown returns text as one paragraph of Markdown that shows it verbatim.
func markdown(text string) string {
	return markdownEscapes.Replace(oneLine(text))
}

// fenced returns text as a fenced code block, which none of its lines can end:
// the fence is longer than every run of backticks.
func fenced(text string) string {
	fence, run := 3, 0
	for _, c := range text {
		if c != '`' {
			run = 0
			continue
		}
		run++
		fence = max(fence, run+1)
	}
	marks := strings.Repeat("`", fence)
	return marks + "text\n" + text + "\n" + marks
}
