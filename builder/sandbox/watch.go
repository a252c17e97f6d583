package sandbox

import (
	"fmt"
	"os"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/disk"
)

// usage is the current usage of a build's processes.
type usage struct {
	processes int // including threads
	memory    int64
	// outOfMemory and outOfProcesses mean that the kernel refused more.
	outOfMemory, outOfProcesses bool
}

// usagePoll is how often the usage is checked.
const usagePoll = 250 * time.Millisecond

// watchStop ends the build when another process requests it. The returned
// function ends the watch and waits for its end.
func (r *run) watchStop() (stop func()) {
	return disk.Every(stopPoll, func() {
		if _, err := os.Stat(r.files.path("stop")); err == nil {
			r.cancel(errStopped)
		}
	})
}

// watchUsage ends the build when it exceeds its limits. Kernel limits prevent
// it from using much more before this check sees it.
func (r *run) watchUsage(box sandbox) (stop func()) {
	full := 0
	return disk.Every(usagePoll, func() {
		// At its limit a fork bomb fails to fork and keeps trying: what counts
		// is staying there.
		if u := r.judgeUsage(box); u.processes < r.spec.Limits.Processes-r.spec.Limits.Processes/20 {
			full = 0
		} else if full++; full >= 2 {
			r.cancel(r.tooManyProcesses())
		}
	})
}

// watchDisk ends the build, in any phase, when too little space is left.
func (r *run) watchDisk() (stop func()) {
	return disk.Every(disk.Poll, func() {
		if free, err := disk.Free(r.files.dir); err == nil && free < r.b.minFree {
			r.cancel(&limitError{builder.DiskFull})
		}
	})
}

func (r *run) tooManyProcesses() error {
	return &limitError{fmt.Sprintf("the build ran more than %d processes and threads at once", r.spec.Limits.Processes)}
}

// judgeUsage checks once.
func (r *run) judgeUsage(box sandbox) usage {
	pid := r.pid.Load()
	if pid == 0 {
		return usage{} // between two phases
	}
	u, err := box.usage(int(pid))
	if err != nil {
		r.slog.Debug("reading a build's usage failed", "error", err)
	}
	switch {
	case u.outOfMemory || u.memory > r.spec.Limits.MemoryBytes:
		r.cancel(&limitError{builder.UsedMore(r.spec.Limits.MemoryBytes)})
	case u.outOfProcesses || u.processes > r.spec.Limits.Processes:
		r.cancel(r.tooManyProcesses())
	}
	return u
}

// available returns a *troy.Error of kind Conflict that names what this machine
// lacks to isolate builds.
func (b *Builder) available() error {
	if b.cfg.Isolation == NoIsolation {
		return nil
	}
	missing, err := b.missingPackages()
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return b.connectable()
	}
	install := "apt-get install"
	for _, name := range missing {
		install += " " + name
	}
	return troy.Errorf(troy.Conflict, "builds run untrusted code in isolation, but this machine lacks the programs for it: run %q, or run builds with the worker's rights by TROY_BUILD_ISOLATION=none", install)
}
