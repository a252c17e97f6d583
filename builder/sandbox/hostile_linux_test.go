package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// systemCall returns a command that makes a system call and prints its error
// number.
func systemCall(name string, number int, args ...string) string {
	return fmt.Sprintf("echo %s $(perl -e 'syscall(%s) >= 0 ? print 0 : print $!+0') >> out/calls\n", name, strings.Join(append([]string{fmt.Sprint(number)}, args...), ", "))
}

// TestSystemCalls makes forbidden and allowed calls in a build.
func TestSystemCalls(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	const newUser = "0x10000000"
	refused := map[string]unix.Errno{}
	command := makeSite + "\n"
	call := func(want unix.Errno, name string, number int, args ...string) {
		refused[name] = want
		command += systemCall(name, number, args...)
	}
	call(unix.EPERM, "keyctl", unix.SYS_KEYCTL, "0", "-3", "0")
	call(unix.EPERM, "add_key", unix.SYS_ADD_KEY, "0", "0", "0", "0", "-4")
	call(unix.EPERM, "request_key", unix.SYS_REQUEST_KEY, "0", "0", "0", "0")
	call(unix.EPERM, "io_uring_setup", unix.SYS_IO_URING_SETUP, "1", "0")
	call(unix.EPERM, "userfaultfd", unix.SYS_USERFAULTFD, "1")
	call(unix.EPERM, "perf_event_open", unix.SYS_PERF_EVENT_OPEN, "0", "0", "0", "0", "0")
	call(unix.EPERM, "bpf", unix.SYS_BPF, "0", "0", "0")
	call(unix.EPERM, "mount", unix.SYS_MOUNT, "0", "0", "0", "0", "0")
	call(unix.EPERM, "fsopen", unix.SYS_FSOPEN, "0", "0")
	call(unix.EPERM, "setns", unix.SYS_SETNS, "0", "0")
	call(unix.EPERM, "unshare_user", unix.SYS_UNSHARE, newUser)
	call(unix.EPERM, "clone_user", unix.SYS_CLONE, newUser+" | 17", "0", "0", "0", "0")
	call(unix.ENOSYS, "clone3", unix.SYS_CLONE3, "0", "0")
	call(unix.EAFNOSUPPORT, "vsock", unix.SYS_SOCKET, "40", "1", "0")
	call(unix.EAFNOSUPPORT, "alg", unix.SYS_SOCKET, "38", "5", "0")
	call(0, "inet", unix.SYS_SOCKET, "2", "1", "0")
	call(0, "unix", unix.SYS_SOCKET, "1", "1", "0")
	call(0, "getpid", unix.SYS_GETPID)
	call(0, "unshare_files", unix.SYS_UNSHARE, "0x400")
	spec := buildertest.Shell(command).Spec(t)
	e.Succeeds(t, spec)
	got := e.Output(t, spec.Tree)["calls"]
	t.Logf("errors by their numbers:\n%s", got)
	for name, want := range refused {
		if !strings.Contains("\n"+got, fmt.Sprintf("\n%s %d\n", name, want)) {
			t.Errorf("%s did not end with %d (%v)", name, want, want)
		}
	}
}

// TestCommonPrograms runs the usual tools in a build.
func TestCommonPrograms(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	command := makeSite + "\n"
	programs := map[string]string{
		"node":    `node -e "new Worker(String.raw\x60require(\"fs\").writeFileSync(\"out/node\", \"ok\")\x60, {eval: true})"`,
		"python3": `python3 -c "import subprocess, threading; threading.Thread(target=lambda: subprocess.run([\"sh\", \"-c\", \"echo ok > out/python3\"])).start()"`,
		"ruby":    `ruby -e "Thread.new { system(\"echo ok > out/ruby\") }.join"`,
		"git":     `git init -q g && git -C g -c user.name=a -c user.email=b commit -q --allow-empty -m x && git -C g log --oneline | grep -q x && echo ok > out/git`,
		"npm":     `npm --version > /dev/null && echo ok > out/npm`,
		"make":    `printf "all:\n\techo ok > out/make\n" > Makefile && make -j4`,
	}
	programs["node"] = `echo "new (require(\"worker_threads\").Worker)(\"require(\x27fs\x27).writeFileSync(\x27out/node\x27, \x27ok\x27)\", {eval: true})" > w.js && node w.js`
	var there []string
	for name, use := range programs {
		file, err := exec.LookPath(name)
		if err != nil || !strings.HasPrefix(file, "/usr/") {
			t.Logf("%s is not installed where builds see it", name)
			continue
		}
		there = append(there, name)
		command += use + "\n"
	}
	spec := buildertest.Repository{"troy.toml": "[build]\ncommand = \"bash run.sh\"\noutput = \"out\"\n", "run.sh": "set -e\n" + strings.NewReplacer(`\x27`, `'`).Replace(command)}.Spec(t)
	e.Succeeds(t, spec)
	out := e.Output(t, spec.Tree)
	for _, name := range there {
		if strings.TrimSpace(out[name]) != "ok" {
			t.Errorf("%s left %q", name, out[name])
		}
	}
	t.Logf("run: %q", there)
}

// TestDescriptorsStayOutside starts a worker with a descriptor that it did not
// open, and lists the descriptors of its build.
func TestDescriptorsStayOutside(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, _ := isolatedBuilder(t, sandbox.Config{Root: root})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(secret)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	command := makeSite + "; ls -l /proc/self/fd > out/fds; cat <&9 > out/read 2>/dev/null || true; sync"
	tree := buildertest.Shell(command).Spec(t).Tree
	w := prepareWorker(root, sandbox.Bubblewrap, tree, command)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	w.ExtraFiles = []*os.File{null, null, null, null, null, null, held} // 9 is the last
	startPrepared(t, w)
	waitFor(t, "the build", func() bool {
		b, err := e.Builder.Get(t.Context(), tree)
		return err == nil && b.State != builder.Running
	})
	out := e.Output(t, tree)
	t.Logf("the build has\n%s", out["fds"])
	if strings.Contains(out["fds"], "secret") || strings.Contains(out["read"], "secret") || strings.Count(out["fds"], "->") > 5 {
		t.Errorf("a descriptor of the worker reached the build: %q", out["read"])
	}
}

// TestMemoryOfNobody fills memory that belongs to no process, and tries to
// mount a file system in memory.
func TestMemoryOfNobody(t *testing.T) {
	t.Parallel()
	memfd := func(then string) string {
		return fmt.Sprintf(`perl -e '$n = "m"; $fd = syscall(%d, $n, 0); open(F, ">&=", $fd) or die; print F "x" x 1048576 for 1..200; %s; sleep 30'`, unix.SYS_MEMFD_CREATE, then)
	}
	e, _ := isolatedBuilder(t, sandbox.Config{})
	spec := buildertest.Shell(makeSite + "; " + memfd("1")).Spec(t)
	spec.Limits.MemoryBytes = 100 << 20
	e.Fails(t, spec, "the build used more than 100 MiB of memory")

	spec = buildertest.Shell(makeSite + `
		unshare --user --map-root-user --mount sh -c "mount -t tmpfs none /tmp && echo mounted > out/namespace" || true
		for dir in / /dev /run /etc /proc; do if touch $dir/x; then echo $dir >> out/written; fi; done
		perl -e 'syscall(` + fmt.Sprint(unix.SYS_SHMGET) + `, 0, 1 << 28, 01600) >= 0 and print "shared"' > out/shm || true
		true`).Spec(t)
	e.Succeeds(t, spec)
	out := e.Output(t, spec.Tree)
	if out["namespace"] != "" || out["written"] != "" || out["shm"] != "" {
		t.Errorf("the build got %q", out)
	}
}

func TestKeptLimits(t *testing.T) {
	t.Parallel()
	group := t.TempDir()
	for controllers, kept := range map[string][2]bool{"cpu memory pids\n": {true, true}, "cpu pids\n": {false, true}, "memory": {true, false}, "": {}} {
		if err := os.WriteFile(filepath.Join(group, "cgroup.controllers"), []byte(controllers), 0o644); err != nil {
			t.Fatal(err)
		}
		cfg := sandbox.Config{Cgroup: group}
		if got := [2]bool{sandbox.MemoryIsKept(cfg), sandbox.CPUsAreKept(cfg)}; got != kept {
			t.Errorf("with the controllers %q: %v, want %v", controllers, got, kept)
		}
		cfg.Isolation = sandbox.NoIsolation
		if sandbox.MemoryIsKept(cfg) || sandbox.CPUsAreKept(cfg) {
			t.Errorf("with the controllers %q, builds without isolation have a control group", controllers)
		}
	}
}

// TestUnlimitedCPUs checks that the log says that nothing keeps a limit of CPUs.
func TestUnlimitedCPUs(t *testing.T) {
	t.Parallel()
	e, _ := newBuilder(t, sandbox.Config{Isolation: sandbox.NoIsolation})
	for cpus, told := range map[int]bool{0: false, 2: true} {
		spec := buildertest.Shell(makeSite).Spec(t)
		spec.Limits.CPUs = cpus
		e.Succeeds(t, spec)
		if log := e.LogOf(t, spec.Tree); strings.Contains(log, "may use all CPUs instead of 2") != told {
			t.Errorf("with the limit %d the log is:\n%s", cpus, log)
		}
	}
}
