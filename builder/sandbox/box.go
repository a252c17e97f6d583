package sandbox

import (
	"context"
	"os/exec"

	"github.com/troy-iaas/troy/builder"
)

// sandbox is where one build's commands run: isolated, or bare. It is used by
// the run's thread alone, but for abort and usage.
type sandbox interface {
	places() places
	// command is a process that will run the script, and has not been started.
	command(script string) (*exec.Cmd, error)
	// abort kills a started command with everything that came of it. No other
	// command is started in the sandbox after that.
	abort(cmd *exec.Cmd)
	// sweep kills what a command that has ended left running.
	sweep(cmd *exec.Cmd)
	// usage is what a started command, and what came of it, has just now.
	usage(pid int) (usage, error)
	close() error
}

func (b *Builder) openSandbox(ctx context.Context, f buildFiles, spec builder.Spec, cache *depCache) (sandbox, error) {
	if b.cfg.Isolation == NoIsolation {
		return newBare(b, f, cache), nil
	}
	return b.isolate(ctx, f, spec, cache)
}
