package thumbnail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/troy-iaas/troy"
)

const (
	// user is the id of a user without rights, which Chromium becomes
	// if Troy is root.
	user = 65534
	// sharedBytes and tempBytes are the sizes of Chromium's two file systems,
	// which are in memory. scriptMiB is how much memory the scripts of a page get.
	sharedBytes, tempBytes, scriptMiB = "67108864", "134217728", "256"
	// endTime is how long Chromium may take to end after it was killed.
	endTime = 5 * time.Second
)

// preferred makes a program, given by the following arguments, the first that
// the kernel ends when the machine runs out of memory (proc_pid_oom_score_adj(5)).
const preferred = `echo 1000 >/proc/self/oom_score_adj; exec "$@"`

// start runs Chromium until stop is called, the context ends, or it uses more
// than maxMemory; then stop returns TooLarge.
func (b *Browser) start(ctx context.Context) (c *conn, stop func() error, err error) {
	commands, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	read, results, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, commands.Close(), write.Close())
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", preferred, "sh", b.bwrap}, b.args()...)...) //nolint:gosec // the operator's program
	cmd.Env, cmd.Dir = []string{"PATH=/usr/bin:/bin"}, "/"
	cmd.ExtraFiles = []*os.File{commands, results} // 3 and 4, as the pipe of DevTools expects
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user, Gid: user}
	}
	// bubblewrap is the first process of its namespace's parent: with it, the
	// kernel kills all others.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = endTime
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// The kernel sends Pdeathsig when the thread ends that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it was killed
		}
	}()
	err = <-started
	_ = commands.Close()
	_ = results.Close()
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("run %s: %w", b.bwrap, err), write.Close(), read.Close())
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	watched, unwatch := context.WithCancel(ctx)
	exceeded, watching := false, make(chan struct{})
	go func() {
		defer close(watching)
		watchMemory(watched, cmd.Process.Pid, func() {
			exceeded = true
			kill()
		})
	}()
	return newConn(read, write), func() error {
		unwatch()
		<-watching
		kill()
		<-ended
		_ = write.Close()
		_ = read.Close()
		if exceeded {
			return troy.Errorf(troy.TooLarge, "the page used more than %d MiB of memory", maxMemory>>20)
		}
		return nil
	}, nil
}

// args are bubblewrap's (man bwrap). Chromium has no network, sees only programs
// and fonts, and its files are in memory.
func (b *Browser) args() []string {
	args := []string{
		"--unshare-user", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "thumbnail", "--unshare-cgroup-try",
		"--die-with-parent", "--new-session", "--clearenv", "--setenv", "HOME", "/tmp", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LANG", "C.UTF-8",
		"--ro-bind", "/usr", "/usr",
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if target, err := filepath.EvalSymlinks("/" + name); err == nil && target != "/"+name {
			args = append(args, "--symlink", strings.TrimPrefix(target, "/"), "/"+name)
		} else if err == nil {
			args = append(args, "--ro-bind", "/"+name, "/"+name)
		}
	}
	args = append(args, "--dir", "/etc")
	for _, name := range []string{"/etc/fonts", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/chromium.d", "/etc/localtime"} {
		args = append(args, "--ro-bind-try", name, name)
	}
	if real, err := filepath.EvalSymlinks(b.chromium); err == nil && !strings.HasPrefix(real, "/usr/") {
		// Its folder has its other files.
		args = append(args, "--ro-bind", filepath.Dir(real), filepath.Dir(real))
	}
	return append(args,
		"--proc", "/proc", "--dev", "/dev", "--size", sharedBytes, "--tmpfs", "/dev/shm", "--size", tempBytes, "--tmpfs", "/tmp", "--remount-ro", "/", "--chdir", "/tmp", "--",
		b.chromium, "--headless", "--remote-debugging-pipe", "--user-data-dir=/tmp/profile", "--disable-gpu", "--hide-scrollbars", "--mute-audio",
		"--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-extensions",
		"--disable-sync", "--disable-breakpad", "--disable-crash-reporter", "--renderer-process-limit=2", "--js-flags=--max-old-space-size="+scriptMiB,
	)
}
