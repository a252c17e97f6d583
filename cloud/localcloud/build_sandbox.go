package localcloud

import (
	"context"
	"os/exec"

	"github.com/troy-iaas/troy/cloud"
)

// sandbox is where one build's commands run: isolated, or bare. It is used by
// the run's thread alone, but for kill and usage.
type sandbox interface {
	places() places
	// command is a process that will run the script, and has not been started.
	command(script string) (*exec.Cmd, error)
	// kill ends a started command and everything that came of it.
	kill(cmd *exec.Cmd)
	// usage is what a started command, and what came of it, has just now.
	usage(pid int) (usage, error)
	close() error
}

func (b *Builder) openSandbox(ctx context.Context, f buildFiles, spec cloud.BuildSpec, cache *depCache) (sandbox, error) {
	if b.cfg.Isolation == NoIsolation {
		return newBare(b, f, cache), nil
	}
	return b.isolate(ctx, f, spec, cache)
}
