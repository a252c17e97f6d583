package forge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/troy-iaas/troy"
)

// git runs git in a folder.
type git struct {
	dir  string
	home string // instead of the user's
	// budget bounds the folder, together with the source's other files.
	budget *budget
}

// gitError is git's failure. It does not show git's output, which may be
// untrusted; said serves to classify failures.
type gitError struct {
	command string
	said    string
	err     error
}

func (e *gitError) Error() string { return "git " + e.command + ": " + e.err.Error() }
func (e *gitError) Unwrap() error { return e.err }

// command prepares git with only these settings: no configuration of the
// machine or its user, and no GIT_* variable of this process. They are in the
// environment, so that no command line shows them.
func (g git) command(ctx context.Context, settings []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = g.dir
	settings = append([]string{
		"protocol.allow", "never", "core.hooksPath", "/dev/null", "credential.helper", "", "http.followRedirects", "false",
		"gc.auto", "0", "maintenance.auto", "false", "core.askPass", "", "http.lowSpeedLimit", "1000", "http.lowSpeedTime", "60",
	}, settings...)
	// Go and git then trust the same authorities.
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		settings = append(settings, "http.sslCAInfo", file)
	}
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.home, "LC_ALL=C", "GIT_DIR=" + g.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_ATTR_NOSYSTEM=1", "GIT_TEMPLATE_DIR=", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "GIT_ALLOW_PROTOCOL=https:http",
		"GIT_CONFIG_COUNT=" + strconv.Itoa(len(settings)/2),
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"} {
		if value, set := os.LookupEnv(name); set {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	for i := 0; i < len(settings); i += 2 {
		n := strconv.Itoa(i / 2)
		cmd.Env = append(cmd.Env, "GIT_CONFIG_KEY_"+n+"="+settings[i], "GIT_CONFIG_VALUE_"+n+"="+settings[i+1])
	}
	// git starts other processes, which have to end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// maxSaid bounds how much of git's output is kept.
const maxSaid = 16 << 20

// run runs git and returns what it printed.
func (g git) run(ctx context.Context, settings []string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gitTimeout, errors.New("it took too long"))
	defer cancel()
	ctx, tooMuch := context.WithCancelCause(ctx)
	defer tooMuch(nil)
	cmd := g.command(ctx, settings, args...)
	out, said := capped{left: maxSaid}, capped{left: 64 << 10}
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start git: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(watchGit)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			if err != nil {
				return nil, &gitError{command: args[0], said: string(said.kept), err: err}
			}
			if size(ctx, g.dir) > g.budget.left() {
				return nil, g.budget.exceeded()
			}
			if out.left < 0 {
				return nil, troy.Errorf(troy.TooLarge, "the repository has more files than can be listed")
			}
			return out.kept, nil
		case <-look.C:
			if size(ctx, g.dir) > g.budget.left() {
				tooMuch(g.budget.exceeded())
			}
		}
	}
}

// stream starts git and returns its output as it arrives. wait ends git and
// returns its error.
func (g git) stream(ctx context.Context, args ...string) (io.Reader, func() error, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	cmd := g.command(ctx, nil, args...)
	said := capped{left: 64 << 10}
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, nil, fmt.Errorf("start git: %w", err)
	}
	return out, func() error {
		// A reader that stops early ends git.
		_, rest := io.Copy(io.Discard, io.LimitReader(out, 1<<20))
		err := errors.Join(rest, out.Close())
		if waited := cmd.Wait(); waited != nil {
			err = &gitError{command: args[0], said: string(said.kept), err: waited}
		}
		cancel()
		return err
	}, nil
}

// capped keeps the first bytes written to it.
type capped struct {
	kept []byte
	left int // negative: there was more
}

func (c *capped) Write(p []byte) (int, error) {
	c.kept = append(c.kept, p[:max(min(len(p), c.left), 0)]...)
	c.left -= len(p)
	return len(p), nil
}

// size returns the total size of a folder's files, or of a part of them if the
// context ends first.
func size(ctx context.Context, dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return ctx.Err() // git makes and removes files meanwhile
	})
	return n
}
