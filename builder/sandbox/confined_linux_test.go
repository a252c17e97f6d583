package sandbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/site"
)

// TestWithoutFilter builds as on a machine without a filter of system calls.
func TestWithoutFilter(t *testing.T) {
	t.Parallel()
	const words = "System calls are not filtered, because there is no filter for vax"
	command := makeSite + "\ngrep '^Seccomp:' /proc/self/status | tr -d '\\t' > out/seccomp"
	for arch, filter := range map[string]string{runtime.GOARCH: "Seccomp:2\n", "vax": "Seccomp:0\n"} {
		if arch == runtime.GOARCH && !sandbox.FiltersCalls() {
			continue
		}
		e, b := isolatedBuilder(t, sandbox.Config{})
		sandbox.SetArchitecture(b, arch)
		spec := buildertest.Shell(command).Spec(t)
		e.Succeeds(t, spec)
		if got := e.Output(t, spec.Tree)["seccomp"]; got != filter {
			t.Errorf("on %s the build has %q, want %q", arch, got, filter)
		}
		if log := e.LogOf(t, spec.Tree); strings.Contains(log, words) != (arch == "vax") {
			t.Errorf("on %s the log is:\n%s", arch, log)
		}
	}
}

// TestKeysOfTheWorker gives the worker a key in its session keyring on a
// machine without a filter: the build does not get the worker's keyring.
func TestKeysOfTheWorker(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, _ := isolatedBuilder(t, sandbox.Config{Root: root})
	runtime.LockOSThread() // permanently: no other test may have its keyring
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skipf("the kernel or a container's filter has no keyrings: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	key := "troy-test-" + uuid.NewString()
	if _, err := unix.AddKey("user", key, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		t.Fatal(err)
	}
	search := fmt.Sprintf(`perl -e 'my ($type, $key) = ("user", "%[4]s"); print syscall(%[1]d, %[2]d, %[3]d, $type, $key, 0) >= 0 ? "found" : "error ".($!+0)'`,
		unix.SYS_KEYCTL, unix.KEYCTL_SEARCH, unix.KEY_SPEC_SESSION_KEYRING, key)
	if out, err := exec.Command("sh", "-c", search).CombinedOutput(); err != nil || string(out) != "found" {
		t.Fatalf("outside of a build: %q, %v", out, err)
	}
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	worker := prepareWorker(root, sandbox.Bubblewrap, tree, makeSite+"\n"+search+" > out/key")
	worker.Env = append(worker.Env, "TROY_TEST_WORKER_ARCH=vax")
	startPrepared(t, worker)
	waitFor(t, "the build", func() bool {
		_, err := e.Builder.Get(t.Context(), tree)
		return !errors.Is(err, builder.ErrNotFound)
	})
	if b := e.Wait(t, tree); b.State != builder.Succeeded {
		t.Fatalf("the build is %s with the cause %q; its log:\n%s", b.State, b.Cause, e.LogOf(t, tree))
	}
	if got, want := e.Output(t, tree)["key"], fmt.Sprintf("error %d", unix.ENOKEY); got != want {
		t.Errorf("the build's look for the worker's key: %q, want %q", got, want)
	}
}

// TestConnectorIsConfined examines the slirp4netns of a running build.
func TestConnectorIsConfined(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	spec := buildertest.Shell("readlink /proc/self/ns/net; sleep " + word()).Spec(t)
	if err := e.Builder.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	var namespace string
	waitFor(t, "the build's network namespace", func() bool {
		_, after, found := strings.Cut(e.LogOf(t, spec.Tree), "\nnet:[")
		namespace, _, _ = strings.Cut(after, "]")
		return found
	})
	status := connectorOf(t, "net:["+namespace+"]")
	wants := []string{"\nNoNewPrivs:\t1\n", "\nCapEff:\t0000000000000400\n", "\nCapPrm:\t0000000000000400\n", "\nCapBnd:\t0000000000000400\n"}
	if os.Geteuid() != 0 {
		wants = wants[:1]
	}
	if out, err := exec.Command("slirp4netns", "--version").Output(); err == nil && bytes.Contains(out, []byte("libseccomp:")) {
		wants = append(wants, "\nSeccomp:\t2\n")
	}
	for _, want := range wants {
		if !strings.Contains(status, want) {
			t.Errorf("%q is missing in:\n%s", want, status)
		}
	}
	if err := e.Builder.Stop(t.Context(), spec.Tree); err != nil {
		t.Fatal(err)
	}
}

// connectorOf returns the status of the slirp4netns that connects a network
// namespace (proc_pid_status(5)).
func connectorOf(t *testing.T, namespace string) string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		line, err := os.ReadFile(name)
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if err != nil || filepath.Base(args[0]) != "slirp4netns" || len(args) < 3 {
			continue
		}
		if net, err := os.Readlink("/proc/" + args[len(args)-2] + "/ns/net"); err != nil || net != namespace {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(name), "status"))
		if err != nil {
			t.Fatal(err)
		}
		return string(status)
	}
	t.Fatalf("no slirp4netns connects %s", namespace)
	return ""
}
