package sandbox

import (
	"context"
	"os"
	"os/exec"

	"github.com/troy-iaas/troy/builder/toolchain"
)

// bare runs commands like the worker itself, except for their environment.
type bare struct {
	files  buildFiles
	at     places
	script string
}

func newBare(b *Builder, f buildFiles, cache *depCache, tools []toolchain.Ready) *bare {
	return &bare{
		files: f, script: f.path("work", "etc", "phase.sh"),
		at: places{
			repo: f.path("work", "repo"), home: f.path("work", "home"), temp: f.path("work", "tmp"), cache: cache.dir,
			path: append(toolPath(tools, func(t toolchain.Ready) string { return t.Dir }, b.programFolders()), f.path("work", "bin")),
		},
	}
}

func (s *bare) places() places { return s.at }

func (s *bare) command(_ context.Context, script string) (*exec.Cmd, error) {
	if err := writeScript(s.script, script); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", s.script) //nolint:noctx // the run ends it with all that came of it
	cmd.Env = []string{buildMark + "=" + s.files.tree.Deployment.String(), "PATH=" + os.Getenv("PATH")}
	ownGroup(cmd)
	return cmd, nil
}

func (s *bare) abort(cmd *exec.Cmd) { killMarked(cmd, s.mark()) }

func (s *bare) sweep(cmd *exec.Cmd) { killMarked(cmd, s.mark()) }

func (s *bare) mark() string { return buildMark + "=" + s.files.tree.Deployment.String() }

func (s *bare) usage(int) (usage, error) { return usageOfMarked(s.mark()) }

func (s *bare) close() error { return nil }
