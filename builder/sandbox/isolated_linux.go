package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
)

// needed is an isolating program and its Debian package.
type needed struct{ name, pkg string }

func tools() []needed {
	return []needed{
		{"bwrap", "bubblewrap"}, {"slirp4netns", "slirp4netns"}, {"nft", "nftables"},
		{"nsenter", "util-linux"}, {"unshare", "util-linux"}, {"setpriv", "util-linux"}, {"prlimit", "util-linux"}, {"nice", "coreutils"},
	}
}

// missingPackages lists the packages to install before builds can be isolated.
func (b *Builder) missingPackages() ([]string, error) {
	var missing []string
	for _, t := range tools() {
		if findProgram(t.name, b.tools) == "" && !slices.Contains(missing, t.pkg) {
			missing = append(missing, t.pkg)
		}
	}
	return missing, nil
}

// connectable reports whether this user may open the device that connects a
// build to the network (https://docs.kernel.org/networking/tuntap.html).
func (b *Builder) connectable() error {
	const device = "/dev/net/tun"
	tun, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return troy.Errorf(troy.Conflict, "builds run untrusted code in isolation, but their network device can't be used: %v; run \"chmod 0666 %s\", or run builds with the worker's rights by TROY_BUILD_ISOLATION=none", err, device)
	}
	return tun.Close()
}

// tool runs one of the tools, by its full path and with a clean environment. It
// dies with the thread that starts it.
func (s *isolated) tool(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(findProgram(name, s.b.tools), args...) //nolint:noctx // it lives as long as the sandbox
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// isolated is the sandbox of one build. An idle process, the holder, is the
// first of a process namespace, so that no process in it outlives it, and the
// holder does not outlive the worker. It also holds the network namespace,
// which reaches the outside through slirp4netns; nftables in it refuses private
// networks. Each phase is a bubblewrap in these namespaces.
type isolated struct {
	b       *Builder
	files   buildFiles
	limits  builder.Limits
	cache   string
	tools   []toolchain.Ready
	uid     int // the user of builds; 0 if Troy is not root and so can't choose
	freeUID func()

	holder, slirp     *exec.Cmd
	holderIn, slirpIn *os.File // closing them ends their process

	calls *os.File // from which the phase reads its filter of system calls

	cgroup atomic.Pointer[cgroup] // of the phase; nil if there is none
}

// setUpTimeout bounds each step of making a sandbox.
const setUpTimeout = 20 * time.Second

func (b *Builder) isolate(ctx context.Context, f buildFiles, spec builder.Spec, cache *depCache, tools []toolchain.Ready) (sandbox, error) {
	s := &isolated{b: b, files: f, limits: spec.Limits, cache: cache.dir, tools: tools, freeUID: func() {}}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("isolate the build: %w", err), s.close())
	}
	return s, nil
}

func (s *isolated) open(ctx context.Context) error {
	if err := ownDescriptors(); err != nil {
		return err
	}
	// The thread is the run's own, and its children get its keyring instead of
	// the worker's, which may have keys (session-keyring(7)). A null pointer
	// means no name; the wrapper's "" would be refused.
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil {
		if _, filtered := architectures[s.b.arch]; !filtered && !errors.Is(err, unix.ENOSYS) {
			return fmt.Errorf("give the build its own keyring: %w", err)
		}
		s.b.cfg.Log.Debug("a build has no separate keyring, and no call to reach one either", "error", err)
	}
	if os.Geteuid() == 0 {
		if err := s.takeUID(); err != nil {
			return err
		}
		for _, dir := range []string{"repo", "home", "tmp", "shm", "cache"} {
			if err := s.own(ctx, s.files.path("work", dir)); err != nil {
				return err
			}
		}
		if err := s.own(ctx, s.cache); err != nil {
			return err
		}
	}
	if err := s.writeEtc(); err != nil {
		return err
	}
	if err := s.hold(); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if err := s.connect(ctx); err != nil {
		return fmt.Errorf("connect the network namespace: %w", err)
	}
	if err := s.filter(ctx); err != nil {
		return fmt.Errorf("filter the network namespace: %w", err)
	}
	return nil
}

// ownDescriptors keeps descriptors that this process inherited from reaching a
// build. Those that it opens itself never do (close_range(2), O_CLOEXEC of
// open(2)).
func ownDescriptors() error {
	err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	// Linux before 5.11.
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// uids is the maximum number of concurrent builds.
const uids = 1000

// takeUID takes a user id that no other running build has, preferably the
// cache's owner.
func (s *isolated) takeUID() error {
	first := 0
	if info, err := os.Stat(s.cache); err == nil {
		if owner := int(info.Sys().(*syscall.Stat_t).Uid) - s.b.cfg.FirstUID; owner >= 0 && owner < uids {
			first = owner
		}
	}
	for i := range uids {
		n := (first + i) % uids
		lock := flock.New(s.b.root.Path("builds", "uids", strconv.Itoa(n)), flock.SetPermissions(0o600))
		held, err := lock.TryLock()
		if err != nil {
			return errors.Join(files.Error(err), lock.Close())
		}
		if held {
			s.uid, s.freeUID = s.b.cfg.FirstUID+n, func() { _ = lock.Close() }
			return nil
		}
	}
	return fmt.Errorf("%d builds are running; all user ids are taken", uids)
}

// own gives a folder to the build's user. No process of the build can change it
// meanwhile, and links are not followed.
func (s *isolated) own(ctx context.Context, dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if int(info.Sys().(*syscall.Stat_t).Uid) == s.uid {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	err = walk.Folder(ctx, root, cacheLimits, func(e walk.Entry) error {
		return e.Folder.Lchown(e.Name(), s.uid, s.uid)
	})
	if err != nil {
		return err
	}
	// The folder itself comes last: its owner shows that the rest is done.
	return os.Lchown(dir, s.uid, s.uid)
}

// writeEtc writes the few files of /etc that programs read.
func (s *isolated) writeEtc() error {
	id := s.insideUID()
	for name, content := range map[string]string{
		"passwd":        fmt.Sprintf("root:x:0:0:root:/:/bin/false\nbuild:x:%d:%d:build:/build/home:/bin/sh\n", id, id),
		"group":         fmt.Sprintf("root:x:0:\nbuild:x:%d:\n", id),
		"hosts":         "127.0.0.1 localhost build\n::1 localhost\n",
		"resolv.conf":   "nameserver " + resolver + "\n",
		"hostname":      "build\n",
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		if err := os.WriteFile(s.files.path("work", "etc", name), []byte(content), 0o644); err != nil {
			return files.Error(err)
		}
	}
	return nil
}

// group makes the phase's control group, if Troy may make one on this machine.
func (s *isolated) group(ctx context.Context) *cgroup {
	parent := s.b.delegated()
	if parent == "" {
		return nil
	}
	var errs []error
	if last := s.cgroup.Swap(nil); last != nil {
		errs = append(errs, last.remove(ctx))
	}
	group, err := openCgroup(ctx, parent, s.files.tree.Deployment.String(), s.limits)
	if err := errors.Join(append(errs, err)...); err != nil {
		// The watch then enforces the limits, less precisely.
		s.b.cfg.Log.Warn("a build has no control group", "parent", parent, "error", err)
		return nil
	}
	s.cgroup.Store(group)
	return group
}

// insideUID is the build's user id inside the sandbox.
func (s *isolated) insideUID() int {
	if s.uid == 0 {
		return 1000
	}
	return s.uid
}

// hold starts the process that holds the namespaces. Without root they need a
// user namespace that they belong to.
func (s *isolated) hold() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	s.holderIn = write
	s.holder = s.tool("cat")
	s.holder.Stdin = read
	s.holder.SysProcAttr.Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWPID
	if s.uid == 0 {
		s.holder.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		s.holder.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		s.holder.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	if err := s.holder.Start(); err != nil {
		s.holder = nil
		return err
	}
	return nil
}

// connect runs slirp4netns, which forwards the namespace's packets as an
// ordinary program of this machine (man slirp4netns).
func (s *isolated) connect(ctx context.Context) error {
	ready, readyChild, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	defer readyChild.Close()
	exitChild, exit, err := os.Pipe()
	if err != nil {
		return err
	}
	defer exitChild.Close()
	s.slirpIn = exit
	var said tail
	s.slirp = s.tool("slirp4netns", s.connector(ctx)...)
	s.slirp.ExtraFiles = []*os.File{readyChild, exitChild}
	s.slirp.Stdout, s.slirp.Stderr = &said, &said
	if err := s.slirp.Start(); err != nil {
		s.slirp = nil
		return err
	}
	_ = readyChild.Close() // so that the death of slirp4netns is noticed
	deadline := time.Now().Add(setUpTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := ready.SetReadDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return fmt.Errorf("slirp4netns was not ready (%w): %s", err, said.String())
	}
	return nil
}

// connector returns the arguments of slirp4netns. It needs the worker's user to
// enter a namespace that belongs to it. Then it drops all access to the disk,
// every capability except the one for low ports and, if it was built with
// libseccomp, all system calls that it does not need.
func (s *isolated) connector(ctx context.Context) []string {
	args := []string{"--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox"}
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	version := exec.CommandContext(ctx, findProgram("slirp4netns", s.b.tools), "--version")
	if out, err := version.Output(); err == nil && bytes.Contains(out, []byte("libseccomp:")) {
		args = append(args, "--enable-seccomp")
	} else {
		s.b.cfg.Log.Warn("slirp4netns can't filter its own system calls: it was built without libseccomp", "error", err)
	}
	return append(args, "--ready-fd=3", "--exit-fd=4", strconv.Itoa(s.holder.Process.Pid), "tap0")
}

// enter runs a program in the namespaces.
func (s *isolated) enter(program string, args ...string) *exec.Cmd {
	at := "/proc/" + strconv.Itoa(s.holder.Process.Pid) + "/ns/"
	enter := []string{"--net=" + at + "net", "--pid=" + at + "pid"}
	if s.uid == 0 {
		enter = append(enter, "--user="+at+"user", "--preserve-credentials")
	}
	enter = append(enter, "--", findProgram(program, s.b.tools))
	return s.tool("nsenter", append(enter, args...)...)
}

func (s *isolated) filter(ctx context.Context) error {
	rules, err := networkRules(s.b.cfg.Allow)
	if err != nil {
		return err
	}
	var said tail
	nft := s.enter("nft", "-f", "-")
	nft.Stdin = bytes.NewBufferString(rules)
	nft.Stdout, nft.Stderr = &said, &said
	if err := nft.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = nft.Process.Kill() })
	defer stop()
	if err := nft.Wait(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, said.String())
	}
	return nil
}

// abort kills the holder, and with it the kernel kills every process in its
// namespace (pid_namespaces(7)). nsenter, which is outside, waits for its child
// and ends. If nsenter were killed, its child would fall to the machine's first
// process, and the holder can't end before the child is reaped.
func (s *isolated) abort(*exec.Cmd) {
	_ = s.holder.Process.Kill() // an error means that it has ended
}

// sweepRounds is how often a phase's end searches for remaining processes. Any
// that it misses die with the holder.
const sweepRounds = 20

// sweep kills the processes in the holder's namespace. bubblewrap's own
// --die-with-parent leaves one only if its parent died while the child was
// being created.
func (s *isolated) sweep(*exec.Cmd) {
	if group := s.cgroup.Load(); group != nil {
		_ = group.kill()
	}
	for range sweepRounds {
		left, err := inNamespaceOf(s.holder.Process.Pid)
		if err != nil || len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func (s *isolated) usage(pid int) (usage, error) {
	u, err := usageOfTree(pid)
	if group := s.cgroup.Load(); group != nil {
		err = errors.Join(err, group.refused(&u))
	}
	return u, err
}

// close ends the namespaces.
func (s *isolated) close() error {
	defer s.freeUID()
	var errs []error
	for _, in := range []*os.File{s.slirpIn, s.holderIn, s.calls} {
		if in != nil {
			errs = append(errs, in.Close())
		}
	}
	for _, cmd := range []*exec.Cmd{s.slirp, s.holder} {
		if cmd == nil {
			continue
		}
		_ = cmd.Process.Kill() // closing its pipe ends it too, but later
		if err := cmd.Wait(); err != nil {
			if _, killed := errors.AsType[*exec.ExitError](err); !killed {
				errs = append(errs, err)
			}
		}
	}
	if group := s.cgroup.Swap(nil); group != nil {
		errs = append(errs, group.remove(context.Background()))
	}
	return errors.Join(errs...)
}

// tail keeps the end of a tool's output.
type tail struct {
	mu   sync.Mutex
	said []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said = append(t.said, p...)
	t.said = t.said[max(0, len(t.said)-4<<10):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.said)
}
