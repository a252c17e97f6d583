package awsdouble

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// command runs one command of a phase on "CodeBuild's machine": a process
// namespace that ends with the build, including all of its processes.
func (c *codebuild) command(b *build, dir, command string) error {
	// Each machine has a /var/tmp of its own.
	cmd := exec.CommandContext(b.ctx, "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc",
		"/bin/bash", "-c", `mount --bind "$0" /var/tmp && exec /bin/bash -c "$1"`, dir+".machine", command)
	cmd.Dir = dir
	// The whole group: if unshare is killed before it arranges for its child to
	// be killed too, the child survives.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// CodeBuild's own variables, and credentials that a build must not see.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/root", "CODEBUILD_SRC_DIR=" + dir, "CODEBUILD_BUILD_ID=" + b.id,
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/secret", "GOFLAGS=-mod=mod", "TROY_TEST_HOST=secret",
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd.Stdout, cmd.Stderr = write, write
	err = cmd.Start()
	_ = write.Close() // the child has its own copy
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(read, 64<<10)
	for {
		text, err := lines.ReadString('\n')
		// As in CloudWatch, several lines are often one event.
		for lines.Buffered() > 0 && len(text) < 128<<10 {
			more, err := lines.ReadString('\n')
			text += more
			if err != nil {
				break
			}
		}
		if text != "" {
			c.say(b, text)
		}
		if err != nil {
			if err != io.EOF {
				c.d.cfg.Log.Debug("a build's output", "error", err)
			}
			break
		}
	}
	return cmd.Wait()
}
