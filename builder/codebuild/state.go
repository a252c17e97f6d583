package codebuild

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/site"
)

// Get implements builder.Builder. CodeBuild's status decides; the first caller
// to see a build's end checks the output and records the end.
func (b *Builder) Get(ctx context.Context, t site.Tree) (builder.Build, error) {
	now, err := b.get(ctx, t)
	if err != nil {
		return now, fmt.Errorf("get build %s: %w", t.Deployment, err)
	}
	return now, nil
}

func (b *Builder) get(ctx context.Context, t site.Tree) (now builder.Build, err error) {
	r, err := b.read(ctx, t)
	if err != nil {
		return now, err
	}
	if r.End != nil {
		return *r.End, nil
	}
	now = builder.Build{State: builder.Running, Rule: r.Plan.Why, Workspace: r.Plan.Workspace, Unwatched: r.Plan.Unwatched, Root: r.Plan.SettingsRoot, Config: r.Plan.Config, Started: r.Started, Phases: []builder.PhaseRun{}}
	if r.ID == "" {
		// The process that started it did not record the start. Start finds the
		// build, or starts it.
		now.State = builder.Lost
		return now, nil
	}
	found, err := b.look(ctx, r.ID)
	if err != nil {
		return now, err
	}
	if len(found) == 0 {
		return b.lost(ctx, t, r, now)
	}
	theirs := found[0]
	now.Phases = r.phases(theirs.Phases)
	if theirs.Logs != nil && r.LogStream == "" && aws.ToString(theirs.Logs.StreamName) != "" {
		r.LogGroup, r.LogStream = aws.ToString(theirs.Logs.GroupName), aws.ToString(theirs.Logs.StreamName)
		if err := b.write(ctx, t, r); err != nil {
			return now, err
		}
	}
	switch theirs.BuildStatus {
	case types.StatusTypeInProgress:
		return now, b.keepTime(ctx, t, r, now)
	case types.StatusTypeFault:
		return b.lost(ctx, t, r, now)
	case types.StatusTypeStopped:
		now.State, now.Cause = builder.Stopped, r.Cause
		if r.Cause != "" {
			now.State = builder.Failed
		}
	case types.StatusTypeTimedOut:
		now.State, now.Cause = builder.Failed, builder.TookLonger(r.Limits.Time)
	case types.StatusTypeSucceeded:
		if err := b.check(ctx, t, &r, &now); err != nil {
			return now, err
		}
		if now.State == builder.Succeeded {
			if err := b.keepCache(ctx, t, &r); err != nil {
				return now, err
			}
		}
	default:
		now.State, now.Cause = builder.Failed, r.failure(theirs.Phases)
	}
	now.Ended = aws.ToTime(theirs.EndTime).UTC()
	r.End = &now
	if now.Cause != "" {
		r.Tail += "Failed: " + now.Cause + ".\n"
	}
	return now, b.write(ctx, t, r)
}

// keepTime stops a build that takes too long, not counting its wait for a
// machine.
func (b *Builder) keepTime(ctx context.Context, t site.Tree, r record, now builder.Build) error {
	if len(now.Phases) == 0 || time.Since(now.Phases[0].Started) < r.Limits.Time || r.Cause != "" {
		return nil
	}
	r.Cause = builder.TookLonger(r.Limits.Time)
	if err := b.write(ctx, t, r); err != nil {
		return err
	}
	return b.halt(ctx, r.ID)
}

// lost handles a build that CodeBuild aborted or no longer knows. It may be
// restarted once.
func (b *Builder) lost(ctx context.Context, t site.Tree, r record, now builder.Build) (builder.Build, error) {
	if r.Attempts < maxAttempts {
		now.State = builder.Lost
		return now, nil
	}
	r.end(builder.Failed, fmt.Sprintf("CodeBuild aborted the build %d times, through its own fault", r.Attempts), now.Phases...)
	return *r.End, b.write(ctx, t, r)
}

// check opens the output as it will be published. An output that can't be
// published fails the build.
func (b *Builder) check(ctx context.Context, t site.Tree, r *record, now *builder.Build) error {
	s, out, err := b.output(ctx, t, *r)
	if err == nil {
		if err := b.writeList(ctx, t, r, out, s); err != nil {
			return errors.Join(err, s.Close())
		}
		now.State, now.Warnings, r.Tail = builder.Succeeded, out.Warnings, r.Tail+summary(s, out)
		return b.last.keep(t, s)
	}
	if troy.KindOf(err) == troy.Internal {
		return err
	}
	now.State, now.Cause = builder.Failed, err.Error()
	if n := len(now.Phases); n > 0 && now.Phases[n-1].Phase == builder.PhaseArchive {
		code := 1
		now.Phases[n-1].ExitCode = &code
	}
	return nil
}

// phaseOf returns Troy's phase for one of CodeBuild's, or the empty string.
func (r record) phaseOf(t types.BuildPhaseType) (phase builder.Phase, command string) {
	switch t {
	case types.BuildPhaseTypeDownloadSource, types.BuildPhaseTypeInstall:
		return builder.PhaseSource, ""
	case types.BuildPhaseTypePreBuild:
		phase, command = builder.PhaseInstall, r.Plan.Install
	case types.BuildPhaseTypeBuild:
		phase, command = builder.PhaseBuild, r.Plan.Build
	case types.BuildPhaseTypePostBuild:
		phase, command = builder.PhaseTest, r.Plan.Test
	case types.BuildPhaseTypeUploadArtifacts:
		return builder.PhaseArchive, ""
	default:
		return "", ""
	}
	if command == "" {
		return "", ""
	}
	return phase, command
}

// phases converts CodeBuild's phases to Troy's. It omits what CodeBuild runs
// after a failed phase.
func (r record) phases(theirs []types.BuildPhase) []builder.PhaseRun {
	phases := []builder.PhaseRun{}
	for _, p := range theirs {
		phase, command := r.phaseOf(p.PhaseType)
		ended := p.PhaseStatus != "" && p.PhaseStatus != types.StatusTypeInProgress
		good := !ended || p.PhaseStatus == types.StatusTypeSucceeded
		if phase == "" && good {
			continue
		}
		if phase == "" {
			// It failed before the source, or in a phase that is not Troy's.
			phase = builder.PhaseSource
			if len(phases) > 0 {
				phase = builder.PhaseArchive
			}
		}
		run := builder.PhaseRun{Phase: phase, Command: command, Started: aws.ToTime(p.StartTime).UTC()}
		if n := len(phases); n > 0 && phases[n-1].Phase == phase {
			run.Started = phases[n-1].Started // DOWNLOAD_SOURCE, then INSTALL
			phases = phases[:n-1]
		}
		if ended {
			code := 0
			if !good {
				code = exitCode(p)
			}
			run.Ended, run.ExitCode = aws.ToTime(p.EndTime).UTC(), &code
		}
		if phases = append(phases, run); !good {
			break
		}
	}
	return phases
}

// tooLong is build.sh's exit code for a log that is too long.
const tooLong = 113

// exitStatus matches CodeBuild's message about a failed command.
var exitStatus = regexp.MustCompile(`exit status (\d+)`)

func exitCode(p types.BuildPhase) int {
	switch p.PhaseStatus {
	case types.StatusTypeStopped, types.StatusTypeTimedOut:
		return -1
	}
	if m := exitStatus.FindStringSubmatch(contexts(p)); m != nil {
		if code, err := strconv.Atoi(m[1]); err == nil {
			return code
		}
	}
	return 1
}

// contexts joins CodeBuild's messages about a phase.
func contexts(p types.BuildPhase) string {
	text := ""
	for _, c := range p.Contexts {
		text += aws.ToString(c.StatusCode) + ": " + aws.ToString(c.Message)
	}
	return text
}

// maxContext bounds CodeBuild's message in a cause.
const maxContext = 200

// failure says in a sentence why a build failed, by its first failed phase.
func (r record) failure(theirs []types.BuildPhase) string {
	for _, p := range theirs {
		switch p.PhaseStatus {
		case "", types.StatusTypeSucceeded, types.StatusTypeInProgress:
			continue
		}
		code := exitCode(p)
		phase, command := r.phaseOf(p.PhaseType)
		said := contexts(p)
		if len(said) > maxContext {
			said = said[:maxContext] + "…"
		}
		switch {
		case code == tooLong && command != "":
			return builder.LogPassed(r.Limits.LogBytes)
		case command != "":
			return (&builder.PhaseError{Phase: phase, Code: code}).Error()
		case p.PhaseType == types.BuildPhaseTypeQueued:
			return fmt.Sprintf("CodeBuild had no machine for the build within %d minutes", queuedMinutes)
		case phase == builder.PhaseSource:
			return "CodeBuild could not get the source from Troy (" + said + ")"
		case phase == builder.PhaseArchive, p.PhaseType == types.BuildPhaseTypePostBuild:
			return "CodeBuild could not store the output (" + said + ")"
		}
		return "CodeBuild failed in its phase " + string(p.PhaseType) + " (" + said + ")"
	}
	return "CodeBuild reports a failure without a reason"
}
