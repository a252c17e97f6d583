package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/troy-iaas/troy/builder"
)

// cgroup is a control group of version 2 for one phase's processes
// (docs.kernel.org/admin-guide/cgroup-v2.html). The kernel limits its memory
// and processes, and kills it as a unit.
type cgroup struct {
	dir  string
	file *os.File
	// memory and pids report which limits the kernel enforces; the watch
	// enforces the others.
	memory, pids bool
}

// delegated is the group in which Troy may create children: the configured one,
// or the parent of its own group if that is called troyd, as with systemd's
// DelegateSubgroup=troyd (systemd.resource-control(5)). It is empty if there is
// none.
func (b *Builder) delegated() string { return delegated(b.cfg.Cgroup) }

// MemoryIsKept reports whether the kernel enforces builds' memory limits on
// this machine: whether builds have a control group with the memory controller.
func MemoryIsKept(cfg Config) bool { return isKept(cfg, "memory") }

// isKept reports whether builds have a control group with a controller.
func isKept(cfg Config, controller string) bool {
	group := delegated(cfg.Cgroup)
	if group == "" || cfg.Isolation == NoIsolation {
		return false
	}
	data, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(data)), controller)
}

func delegated(configured string) string {
	if configured != "" {
		return configured
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if ok && filepath.Base(own) == "troyd" {
			return filepath.Join("/sys/fs/cgroup", filepath.Dir(own))
		}
	}
	return ""
}

// cpuPeriod is the period of the limit of CPUs in microseconds, the kernel's
// default.
const cpuPeriod = 100_000

// openCgroup makes a group below parent, for one phase.
func openCgroup(ctx context.Context, parent, name string, limits builder.Limits) (*cgroup, error) {
	c := &cgroup{dir: filepath.Join(parent, "troy-build-"+name)}
	// A controller that is missing, or not delegated, is not used.
	c.memory = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+memory"), 0) == nil
	c.pids = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+pids"), 0) == nil
	cpu := limits.CPUs > 0 && os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+cpu"), 0) == nil
	// A worker that was killed left this group. It is recreated: Linux 6.18
	// kills every process that starts in a group that was killed before.
	if err := c.remove(ctx); err != nil {
		return nil, err
	}
	err := os.Mkdir(c.dir, 0o755)
	if err != nil {
		return nil, err
	}
	if c.memory {
		err = errors.Join(c.set("memory.max", strconv.FormatInt(limits.MemoryBytes, 10)), c.set("memory.oom.group", "1"))
		// Without swap there is nothing to bound.
		if swap := c.set("memory.swap.max", "0"); !errors.Is(swap, fs.ErrNotExist) {
			err = errors.Join(err, swap)
		}
	}
	if c.pids {
		err = errors.Join(err, c.set("pids.max", strconv.Itoa(limits.Processes)))
	}
	if cpu {
		err = errors.Join(err, c.set("cpu.max", fmt.Sprintf("%d %d", limits.CPUs*cpuPeriod, cpuPeriod)))
	}
	if err == nil {
		c.file, err = os.Open(c.dir)
	}
	if err != nil {
		return nil, errors.Join(err, c.remove(ctx))
	}
	return c, nil
}

func (c *cgroup) set(name, value string) error {
	f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// place makes a command start in the group.
func (c *cgroup) place(cmd *exec.Cmd) {
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(c.file.Fd())
}

func (c *cgroup) kill() error { return c.set("cgroup.kill", "1") }

// events returns how often the kernel refused or ended something: "oom_kill" of
// memory.events, "max" of pids.events.
func (c *cgroup) events(file, key string) (int, error) {
	f, err := os.Open(filepath.Join(c.dir, file))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, count, _ := strings.Cut(lines.Text(), " "); name == key {
			return strconv.Atoi(count)
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, key)
}

// refused reports which limits the kernel has enforced.
func (c *cgroup) refused(u *usage) error {
	var errs []error
	if c.memory {
		n, err := c.events("memory.events", "oom_kill")
		u.outOfMemory, errs = n > 0, append(errs, err)
	}
	if c.pids {
		n, err := c.events("pids.events", "max")
		u.outOfProcesses, errs = n > 0, append(errs, err)
	}
	return errors.Join(errs...)
}

// removeTimeout bounds the wait for the end of killed processes.
const removeTimeout = 5 * time.Second

// remove kills the group's processes and removes it. The kernel refuses that
// until they have ended; remove waits for it until ctx ends.
func (c *cgroup) remove(ctx context.Context) error {
	if c.file != nil {
		_ = c.file.Close()
	}
	err := c.kill()
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		removeErr := os.Remove(c.dir)
		if removeErr == nil || errors.Is(removeErr, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(removeErr, syscall.EBUSY) {
			return errors.Join(err, removeErr)
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return errors.Join(err, removeErr, ctx.Err())
		}
	}
}
