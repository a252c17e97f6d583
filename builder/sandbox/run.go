package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/files"
)

// run is a build that runs in this process.
type run struct {
	b      *Builder
	spec   builder.Spec
	files  buildFiles
	record buildRecord
	log    *buildLog
	slog   *slog.Logger
	pid    atomic.Int64 // of the running phase, or 0
	begun  time.Time    // when its first command began; zero before
	// ownFolders are the generator's folders that do not come from the cache;
	// nil before the build's command.
	ownFolders map[string]bool
	// modules is the key of node_modules in the cache, or empty.
	modules string

	ctx    context.Context
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when its processes are dead and its end is recorded
	done   chan struct{} // closed when its work folder is removed too
}

// limitError is the cause of a build that exceeded one of its limits.
type limitError struct{ sentence string }

func (e *limitError) Error() string { return e.sentence }

// newRun records that the build begins.
func (b *Builder) newRun(ctx context.Context, spec builder.Spec, f buildFiles, record buildRecord) (*run, error) {
	r := &run{
		b: b, spec: spec, files: f, record: record, ended: make(chan struct{}), done: make(chan struct{}),
		slog: b.cfg.Log.With("pipeline", spec.Tree.Pipeline, "deployment", spec.Tree.Deployment),
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	// A process that died left this.
	if err := errors.Join(removeFolder(ctx, f.path("work")), removeFolder(ctx, f.path("output")), removeFolder(ctx, f.path("files")), removeFolder(ctx, f.path("stop"))); err != nil {
		return nil, err
	}
	var err error
	r.log, err = openLog(f.path("log"), spec, func() {
		r.cancel(&limitError{builder.LogPassed(spec.Limits.LogBytes)})
	})
	if err != nil {
		return nil, err
	}
	if err := r.save(); err != nil {
		return nil, errors.Join(err, r.log.close())
	}
	return r, nil
}

func (r *run) save() error { return r.files.write(r.b.root.Temp(), r.record) }

// main runs the build and records its end. The thread is the parent of the
// build's processes, which die with it by PR_SET_PDEATHSIG (prctl(2)); it is
// kept to the end and not returned to the scheduler.
func (r *run) main() {
	runtime.LockOSThread()
	defer r.cancel(nil)
	timer := time.AfterFunc(r.spec.Limits.Time, func() {
		r.cancel(&limitError{builder.TookLonger(r.spec.Limits.Time)})
	})
	defer timer.Stop()
	if r.record.Attempts > 1 {
		r.log.say("The worker stopped while it was building; the build starts again.")
	}
	stopWatch, diskWatch := r.watchStop(), r.watchDisk()
	err := r.build()
	stopWatch()
	diskWatch()
	r.end(err)
	if err := r.log.close(); err != nil {
		r.slog.Warn("closing a build's log failed", "error", err)
	}
}

// end determines the result. The cause is what ended the context, not the
// failure that followed.
func (r *run) end(err error) {
	cause := context.Cause(r.ctx)
	limit, isLimit := errors.AsType[*limitError](cause)
	known, isKnown := errors.AsType[*troy.Error](err)
	exit, isExit := errors.AsType[*builder.PhaseError](err)
	source, isSource := errors.AsType[*sourceFailed](err)
	r.record.State = builder.Failed
	switch {
	case errors.Is(cause, errShutdown):
		// As if it had not been started: another worker takes over.
		r.record.State = builder.Lost
		r.record.Attempts--
		r.log.say("The worker stops.")
	case errors.Is(cause, errStopped):
		r.record.State = builder.Stopped
		r.log.say("The build was stopped.")
	case r.log.failed() != nil:
		r.record.Cause = "the log could not be written"
		r.slog.Error("a build's log could not be written", "error", r.log.failed())
	case isLimit:
		r.record.Cause = limit.sentence
	case disk.IsFull(err):
		r.record.Cause = builder.DiskFull
		r.slog.Error("a build filled the disk", "error", err)
	case isKnown:
		r.record.Cause = known.Error()
	case isSource:
		r.record.Cause = builder.SourceFailed
		r.slog.Error("fetching a build's source failed", "error", source)
	case isExit:
		r.record.Cause = exit.Error()
	case err != nil:
		// The details may name the machine's folders and are for the operator.
		r.record.Cause = "the builder itself failed; the worker's log has the cause for the operator"
		r.slog.Error("a build failed through a fault of the builder", "error", err)
	default:
		r.record.State = builder.Succeeded
	}
	r.endPhase(err)
	if r.record.Cause != "" {
		r.log.say("Failed: %s.", r.record.Cause)
	}
	r.record.Ended = time.Now().UTC()
	err = r.save()
	if err != nil {
		// On a full disk there is space for it once the work folder is removed.
		r.clean()
		err = r.save()
	}
	if err != nil {
		// The file says that it runs, so it is lost once this process releases
		// it.
		r.slog.Error("recording a build's end failed", "error", err)
	}
	close(r.ended)
	r.clean()
}

// clean removes the build's work, unless the builder is closed first. The next
// Start or Remove completes it.
func (r *run) clean() {
	left := []string{"stop", "work"}
	if r.record.State != builder.Succeeded {
		left = append(left, "output", "files")
	}
	for _, name := range left {
		err := removeFolder(r.b.open, r.files.path(name))
		if err != nil && r.b.open.Err() == nil {
			r.slog.Warn("removing a build's work folder failed", "what", name, "error", err)
		}
	}
}

// build runs the phases.
func (r *run) build() error {
	r.beginPhase(builder.PhaseSource, "")
	plan, err := r.source()
	if err != nil {
		return err
	}
	r.endPhase(nil)
	r.record.Rule, r.record.Workspace, r.record.Config = plan.Why, plan.Workspace, plan.Config
	r.record.Unwatched, r.record.Root = plan.Unwatched, plan.SettingsRoot
	for _, sentence := range append([]string{plan.Why}, plan.Notes...) {
		r.log.say("%s", sentence)
	}
	if ignored := plan.Ignored(r.spec.Variables); ignored != "" {
		r.log.say("%s", ignored)
	}

	if plan.Install+plan.Build+plan.Test != "" {
		if err := r.commands(plan); err != nil {
			return err
		}
	}
	r.beginPhase(builder.PhaseArchive, "")
	if err := r.archive(plan); err != nil {
		return err
	}
	r.endPhase(nil)
	return nil
}

func (r *run) beginPhase(phase builder.Phase, command string) {
	if command == "" {
		r.log.say("==> %s", phase)
	} else {
		r.log.say("==> %s: %s", phase, command)
	}
	r.record.Phases = append(r.record.Phases, builder.PhaseRun{Phase: phase, Command: command, Started: time.Now().UTC()})
	r.saveProgress()
}

// endPhase ends the running phase, if any.
func (r *run) endPhase(err error) {
	if len(r.record.Phases) == 0 {
		return
	}
	phase := &r.record.Phases[len(r.record.Phases)-1]
	if !phase.Ended.IsZero() {
		return
	}
	phase.Ended = time.Now().UTC()
	code := 0
	if exit, ok := errors.AsType[*builder.PhaseError](err); ok {
		code = exit.Code
	} else if err != nil {
		code = 1
	}
	phase.ExitCode = &code
	r.log.say("%s", phase.Took())
}

// saveProgress records the progress for Get. The build does not depend on it.
func (r *run) saveProgress() {
	if err := r.save(); err != nil {
		r.slog.Warn("recording a build's progress failed", "error", err)
	}
}

// source unpacks the commit and plans the build.
func (r *run) source() (build.Plan, error) {
	for _, dir := range []string{"fetch", "repo", "home", "tmp", "shm", "etc", "bin"} {
		if err := os.MkdirAll(r.files.path("work", dir), 0o755); err != nil {
			return build.Plan{}, files.Error(err)
		}
	}
	archive, err := r.spec.Source(r.ctx, r.files.path("work", "fetch"))
	if err != nil {
		return build.Plan{}, sourceError(err)
	}
	// A blocked reader ends with the build.
	stop := context.AfterFunc(r.ctx, func() { _ = archive.Close() })
	defer stop()
	repo := r.files.path("work", "repo")
	err = build.Unpack(r.ctx, archive, repo, r.spec.Limits.Source)
	_ = archive.Close() // everything needed has been read
	if err != nil {
		return build.Plan{}, sourceError(err)
	}
	root, err := os.OpenRoot(repo)
	if err != nil {
		return build.Plan{}, err
	}
	defer root.Close()
	if said := r.spec.Sourced(archive); said != "" {
		r.log.say("%s", said)
	}
	if err := writeGit(root, r.spec.Commit); err != nil {
		return build.Plan{}, err
	}
	return build.Decide(root.FS(), r.spec.Settings)
}

// sourceError returns an error for users unchanged, and replaces others by a
// general message.
func sourceError(err error) error {
	if troy.KindOf(err) != troy.Internal {
		return err
	}
	return &sourceFailed{err}
}

// sourceFailed is a source that could not be fetched, for a reason that
// concerns the operator.
type sourceFailed struct{ err error }

func (e *sourceFailed) Error() string { return "get the source: " + e.err.Error() }
func (e *sourceFailed) Unwrap() error { return e.err }

// commands runs install, build and test in a sandbox.
func (r *run) commands(plan build.Plan) error {
	cache, err := r.b.openCache(r.ctx, r.spec, r.files.path("work"), plan)
	if err != nil {
		return fmt.Errorf("open the dependency cache: %w", err)
	}
	defer func() {
		if note, err := cache.close(r.ctx); err != nil && r.ctx.Err() == nil {
			r.slog.Warn("storing a dependency cache failed", "error", err)
		} else if note != "" {
			r.log.say("%s", note)
		}
		if err := r.b.trimCaches(r.ctx); err != nil && r.ctx.Err() == nil {
			r.slog.Warn("trimming the caches of builds failed", "error", err)
		}
	}()
	if err := writeShims(r.files.path("work", "bin"), plan, r.b.programFolders()); err != nil {
		return err
	}
	tools, err := r.tools(plan)
	if err != nil {
		return err
	}
	defer tools.Close()
	box, err := r.b.openSandbox(r.ctx, r.files, r.spec, cache, tools.Tools)
	if err != nil {
		return err
	}
	if note := r.b.unfiltered(); note != "" {
		r.log.say("%s", note)
		r.slog.Warn("a build's system calls are not filtered", "arch", r.b.arch)
	}
	if n := r.spec.Limits.CPUs; n > 0 && !CPUsAreKept(r.b.cfg) {
		r.log.say("The build may use all CPUs instead of %d, because Troy has no control group that limits CPUs.", n)
	}
	defer func() {
		if err := box.close(); err != nil {
			r.slog.Warn("a build's sandbox was not removed completely", "error", err)
		}
	}()
	if r.begun, err = markBegin(r.ctx, r.files.path("work", "begun")); err != nil {
		return err
	}
	stopWatch := r.watchUsage(box)
	defer stopWatch()
	r.log.say("%s", cache.note)
	if cache.kept {
		r.modules = r.modulesKey(plan)
	}
	for _, step := range []struct {
		phase           builder.Phase
		command, folder string
	}{
		{builder.PhaseInstall, plan.Install, plan.InstallRoot},
		{builder.PhaseBuild, plan.Build, plan.Root},
		{builder.PhaseTest, plan.Test, plan.Root},
	} {
		if step.command == "" {
			continue
		}
		if step.phase == builder.PhaseBuild {
			r.restoreFolders(cache, plan)
		}
		r.beginPhase(step.phase, step.command)
		if err := r.command(box, step.phase, step.command, step.folder, plan); err != nil {
			return err
		}
		r.endPhase(nil)
	}
	r.keepFolders(cache, plan)
	return nil
}

// modulesKey returns the key of node_modules, or "" to install anew.
func (r *run) modulesKey(plan build.Plan) string {
	root, err := os.OpenRoot(r.files.path("work", "repo"))
	if err != nil {
		return ""
	}
	defer root.Close()
	return plan.ModulesKey(root.FS(), r.b.cfg.Environment, r.spec.Variables)
}

// drainTimeout is how long a dead phase's output is read on, in case a process
// outside of it holds the pipe.
const drainTimeout = 5 * time.Second

// command runs one phase's command and all its children to their end.
func (r *run) command(box sandbox, phase builder.Phase, command, folder string, plan build.Plan) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	at := box.places()
	env := environment(r.b.cfg, r.spec, plan, at)
	if phase == builder.PhaseInstall {
		env = build.ForInstall(env)
	}
	if phase == builder.PhaseInstall && r.modules != "" {
		command = "kept=" + build.Quote(path.Join(at.cache, "modules")) + "\n" + plan.KeepModules(r.modules)
	}
	script := phaseScript(env, path.Join(at.repo, folder), makeVenv(plan, at), command)
	cmd, err := box.command(r.ctx, script)
	if err != nil {
		return fmt.Errorf("prepare the phase %s: %w", phase, err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("prepare the phase %s: %w", phase, err)
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	err = cmd.Start()
	_ = write.Close() // the child's copy is what counts
	if err != nil {
		return fmt.Errorf("begin the phase %s: %w", phase, err)
	}
	r.pid.Store(int64(cmd.Process.Pid))
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		out := r.log.redacted(r.log)
		_, _ = io.CopyBuffer(onlyWriter{out}, onlyReader{read}, make([]byte, 32<<10)) // ends with the pipe
		_ = out.Close()                                                               // the log keeps its own error
	}()
	stop := context.AfterFunc(r.ctx, func() { box.abort(cmd) })
	err = cmd.Wait()
	if err != nil {
		// The kernel may have enforced a limit just before the next check.
		r.judgeUsage(box)
	}
	r.pid.Store(0)
	stop()
	box.sweep(cmd)
	if err := read.SetReadDeadline(time.Now().Add(drainTimeout)); err != nil {
		r.slog.Debug("a pipe has no deadline", "error", err)
	}
	<-drained
	if r.ctx.Err() != nil {
		return errors.Join(context.Cause(r.ctx), &builder.PhaseError{Phase: phase, Code: -1})
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &builder.PhaseError{Phase: phase, Code: exit.ExitCode()}
	}
	return err
}

// onlyReader and onlyWriter hide the shortcuts of io.Copy: each piece is stored
// as it arrives.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
