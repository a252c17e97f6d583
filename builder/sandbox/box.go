package sandbox

import (
	"context"
	"os/exec"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/toolchain"
)

// sandbox runs one build's commands, isolated or bare. Only the run's thread
// uses it, except for abort and usage.
type sandbox interface {
	places() places
	// command returns a process that will run the script; it is not started
	// yet.
	command(ctx context.Context, script string) (*exec.Cmd, error)
	// abort kills a started command and all its descendants. No further command
	// starts in the sandbox after that.
	abort(cmd *exec.Cmd)
	// sweep kills processes that an ended command left running.
	sweep(cmd *exec.Cmd)
	// usage returns the current usage of a started command and its descendants.
	usage(pid int) (usage, error)
	close() error
}

func (b *Builder) openSandbox(ctx context.Context, f buildFiles, spec builder.Spec, cache *depCache, tools []toolchain.Ready) (sandbox, error) {
	if b.cfg.Isolation == NoIsolation {
		return newBare(b, f, cache, tools), nil
	}
	return b.isolate(ctx, f, spec, cache, tools)
}
