package sandbox_test

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// makeSite is a command that makes a site.
const makeSite = "mkdir -p out && echo '<h1>' > out/index.html"

// TestIsolation checks from inside a build what it can see and change.
func TestIsolation(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(outside, 0o777); err != nil {
		t.Fatal(err)
	}
	spec := buildertest.Shell(makeSite + `
		cd out
		id -u > uid
		grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\t' > status
		ls /proc | grep -E '^[0-9]+$' | wc -l > processes
		ls / > root
		for f in /etc/x /usr/x /x /run/x /build/x /build/bin/x /proc/sys/kernel/hostname $OUTSIDE/x ../../x; do
			if echo x > $f; then echo $f >> written; fi
		done 2>/dev/null
		for f in /build/repo/x /build/home/x /build/cache/x /tmp/x /dev/shm/x; do echo x > $f || echo $f >> refused; done
		cat /etc/shadow > shadow 2>/dev/null || true
		ls $OUTSIDE > outside 2>/dev/null || true
		cat /proc/self/oom_score_adj > oom
		touch setuid && chmod 4755 setuid && stat -c %a setuid > setuid-mode || true
	`).Spec(t)
	spec.Variables = map[string]string{"OUTSIDE": outside}
	e.Succeeds(t, spec)
	out := e.Output(t, spec.Tree)
	if uid := strings.TrimSpace(out["uid"]); uid == "0" || os.Geteuid() == 0 && !strings.HasPrefix(uid, "1990000") {
		t.Errorf("the build runs as %q", uid)
	}
	for _, want := range []string{"CapEff:0000000000000000", "CapPrm:0000000000000000", "NoNewPrivs:1"} {
		if !strings.Contains(out["status"], want) {
			t.Errorf("%s is missing in %q", want, out["status"])
		}
	}
	if n, err := strconv.Atoi(strings.TrimSpace(out["processes"])); err != nil || n > 10 {
		t.Errorf("the build sees %q processes", out["processes"])
	}
	for _, name := range []string{"written", "refused", "shadow", "outside"} {
		if out[name] != "" {
			t.Errorf("%s: %q", name, out[name])
		}
	}
	if strings.Contains(out["root"], "root\n") || strings.Contains(out["root"], "home\n") || strings.TrimSpace(out["oom"]) != "1000" {
		t.Errorf("the root has %q, the OOM score is %q", out["root"], out["oom"])
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}

// TestNetworkIsolation listens on addresses that builds must not reach, and on
// one that an operator allows.
func TestNetworkIsolation(t *testing.T) {
	t.Parallel()
	var accepted atomic.Int64
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_ = conn.Close()
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	mine := ownAddress(t)
	command := makeSite + `
		for host in 127.0.0.1 10.0.2.2 ` + mine + ` 169.254.169.254 192.168.0.1 172.16.0.1 100.64.0.1; do
			if timeout 5 bash -c "exec 3<>/dev/tcp/$host/` + strconv.Itoa(port) + `" 2>/dev/null; then echo $host >> out/reached; fi
		done`
	e, _ := isolatedBuilder(t, sandbox.Config{})
	spec := buildertest.Shell(command).Spec(t)
	e.Succeeds(t, spec)
	if got := e.Output(t, spec.Tree)["reached"]; got != "" || accepted.Load() != 0 {
		t.Fatalf("the build reached %q (%d connections)", got, accepted.Load())
	}
	addr := netip.MustParseAddr(mine)
	allowing, _ := isolatedBuilder(t, sandbox.Config{Allow: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}})
	spec = buildertest.Shell(command).Spec(t)
	allowing.Succeeds(t, spec)
	if got := allowing.Output(t, spec.Tree)["reached"]; got != mine+"\n" {
		t.Fatalf("with %s allowed the build reached %q", mine, got)
	}
}

// TestProxyOfTheNetwork fetches a name that no resolver knows through a proxy at
// a private address, which the operator allows.
func TestProxyOfTheNetwork(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/bin/curl"); err != nil {
		t.Skipf("curl is not installed: %v", err)
	}
	mine := netip.MustParseAddr(ownAddress(t))
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", net.JoinHostPort(mine.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = w.Write([]byte("proxied " + req.URL.Host))
	})}
	go func() { _ = proxy.Serve(listener) }()
	t.Cleanup(func() { _ = proxy.Close() })
	environment := map[string]string{"http_proxy": "http://" + listener.Addr().String(), "NO_PROXY": "direct.invalid"}
	command := makeSite + `; for name in registry.invalid direct.invalid; do curl -sS -m 10 http://$name/ >> out/seen || true; done`
	for _, test := range []struct {
		allow []netip.Prefix
		want  string
	}{{nil, ""}, {[]netip.Prefix{netip.PrefixFrom(mine, 32)}, "proxied registry.invalid"}} {
		e, _ := isolatedBuilder(t, sandbox.Config{Environment: environment, Allow: test.allow})
		spec := buildertest.Shell(command).Spec(t)
		e.Succeeds(t, spec)
		if got := e.Output(t, spec.Tree)["seen"]; got != test.want {
			t.Errorf("with %v allowed the build got %q, want %q; its log:\n%s", test.allow, got, test.want, e.LogOf(t, spec.Tree))
		}
	}
}

// ownAddress returns an address of this machine that is not loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback's")
	return ""
}

// alive lists the processes with a word in their arguments.
func alive(t *testing.T, word string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(data), word) {
			found = append(found, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return found
}

// word returns an argument for sleep that no other process has.
func word() string { return "6" + strconv.FormatUint(uint64(uuid.New().ID()), 10) }

// daemons leaves processes behind in each possible way, and continues.
func daemons(w string) string {
	return "sleep " + w + " & (setsid sleep " + w + " &) ; nohup sh -c 'trap \"\" HUP TERM; sleep " + w + "; true' >/dev/null 2>&1 & "
}

func TestKillsEverything(t *testing.T) {
	t.Parallel()
	for _, isolation := range []sandbox.Isolation{sandbox.Bubblewrap, sandbox.NoIsolation} {
		open := func(t *testing.T) buildertest.Env {
			if isolation == sandbox.NoIsolation {
				e, _ := newBuilder(t, sandbox.Config{Isolation: isolation})
				return e
			}
			e, _ := isolatedBuilder(t, sandbox.Config{})
			return e
		}
		gone := func(t *testing.T, w string) {
			t.Helper()
			deadline := time.Now().Add(5 * time.Second)
			for {
				left := alive(t, w)
				if len(left) == 0 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("these live on: %q", left)
				}
			}
		}
		t.Run(string(isolation)+" after its phase", func(t *testing.T) {
			t.Parallel()
			e, w := open(t), word()
			e.Succeeds(t, buildertest.Shell(daemons(w)+makeSite).Spec(t))
			gone(t, w)
		})
		t.Run(string(isolation)+" when stopped", func(t *testing.T) {
			t.Parallel()
			e, w := open(t), word()
			spec := buildertest.Shell(daemons(w) + "trap '' TERM; sleep " + w).Spec(t)
			if err := e.Builder.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			e.Until(t, spec.Tree, func(builder.Build) bool { return len(alive(t, "sleep\x00"+w)) >= 4 })
			begun := time.Now()
			if err := e.Builder.Stop(t.Context(), spec.Tree); err != nil {
				t.Fatal(err)
			}
			t.Logf("stopping took %s", time.Since(begun))
			gone(t, w)
		})
		t.Run(string(isolation)+" after its time", func(t *testing.T) {
			t.Parallel()
			e, w := open(t), word()
			spec := buildertest.Shell(daemons(w) + "sleep " + w).Spec(t)
			spec.Limits.Time = time.Second
			e.Fails(t, spec, "the build took longer than 1s")
			gone(t, w)
		})
	}
}

// TestKilledWhileSettingUp stops builds while their processes are being
// created, when a kill may come too early to find them.
func TestKilledWhileSettingUp(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e, _ := isolatedBuilder(t, sandbox.Config{Root: root})
	for range 25 {
		spec := buildertest.Shell("sleep 600").Spec(t)
		if err := e.Builder.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		e.Until(t, spec.Tree, func(b builder.Build) bool { return len(b.Phases) == 2 })
		if err := e.Builder.Stop(t.Context(), spec.Tree); err != nil {
			t.Fatal(err)
		}
		if left := alive(t, "builds/"+spec.Tree.Pipeline.String()); len(left) > 0 {
			t.Fatalf("these live on: %.200q", left)
		}
	}
}

func TestForkBomb(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	spec := buildertest.Shell(makeSite + "; bomb() { bomb | bomb & }; bomb; sleep 30; wait").Spec(t)
	spec.Limits.Processes = 200
	e.Fails(t, spec, "the build ran more than 200 processes and threads at once")
	// The worker survives.
	e.Succeeds(t, buildertest.Shell(makeSite).Spec(t))
}

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	e, _ := isolatedBuilder(t, sandbox.Config{})
	// tail buffers output without a line end.
	spec := buildertest.Shell(makeSite + "; (head -c 200M /dev/zero; sleep 30) | tail").Spec(t)
	spec.Limits.MemoryBytes = 100 << 20
	e.Fails(t, spec, "the build used more than 100 MiB of memory")
}

// TestCgroup runs builds in their own control groups. The machine decides which
// limits the kernel enforces in them.
func TestCgroup(t *testing.T) {
	t.Parallel()
	parent := ""
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		dir := filepath.Join(root, "troy-test-"+uuid.NewString())
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err == nil && os.Mkdir(dir, 0o755) == nil {
			parent = dir
		}
	}
	if _, err := os.Stat(filepath.Join(parent, "cgroup.kill")); err != nil {
		t.Skipf("control groups of version 2 can't be made here: %v", err)
	}
	t.Cleanup(func() {
		// It is not empty if a build's group was left.
		if err := os.Remove(parent); err != nil {
			t.Error(err)
		}
	})
	e, _ := isolatedBuilder(t, sandbox.Config{Cgroup: parent, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	spec := buildertest.Shell(makeSite + "; cat /proc/self/cgroup > out/cgroup; echo begun; while [ ! -e /build/home/never ]; do sleep 1; done").Spec(t)
	spec.Limits.CPUs = 2
	if err := e.Builder.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	group := filepath.Join(parent, "troy-build-"+spec.Tree.Deployment.String())
	waitFor(t, "its processes in its group", func() bool {
		if b, err := e.Builder.Get(t.Context(), spec.Tree); err != nil || b.State != builder.Running {
			t.Fatalf("the build is %s (%v) with the cause %q; its log:\n%s", b.State, err, b.Cause, e.LogOf(t, spec.Tree))
		}
		procs, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		return err == nil && strings.Count(string(procs), "\n") >= 3
	})
	if cpus, err := os.ReadFile(filepath.Join(group, "cpu.max")); !errors.Is(err, os.ErrNotExist) && string(cpus) != "200000 100000\n" {
		t.Errorf("cpu.max is %q, %v; want two CPUs", cpus, err)
	}
	if err := e.Builder.Stop(t.Context(), spec.Tree); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the group after the build: %v", err)
	}
	e.Succeeds(t, buildertest.Shell(makeSite).Spec(t))
}

func TestRefusedWithoutTools(t *testing.T) {
	t.Parallel()
	_, b := newBuilder(t, sandbox.Config{})
	sandbox.SetToolFolders(b, "/nowhere")
	err := b.Start(t.Context(), buildertest.Shell(makeSite).Spec(t))
	want := `run "apt-get install bubblewrap slirp4netns nftables util-linux coreutils", or run builds with the worker's rights by TROY_BUILD_ISOLATION=none`
	if troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), want) {
		t.Fatalf("Start: %v, want %q", err, want)
	}
}

// TestWithoutRoot runs the suite as a user who may not switch to another.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the other tests already run without root")
	}
	isolatedBuilder(t, sandbox.Config{})
	dir, err := os.MkdirTemp("", "troy-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "test")
	data, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.WriteFile(program, data, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	// If only root may use the network device, this test's mount namespace has
	// a copy of it that all users may use.
	const script = `mknod -m 666 tun c 10 200 && mount --bind tun /dev/net/tun
		exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", script, "sh", program,
		"-test.run=^(TestBuilderConformance|TestIsolation|TestNetworkIsolation|TestForkBomb|TestKillsEverything)$/^(bubblewrap.*)?$", "-test.v")
	cmd.Env, cmd.Dir = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir), dir
	out, err := cmd.CombinedOutput()
	text := string(out)
	if strings.Contains(text, "builds can't be isolated here") {
		t.Skipf("builds can't be isolated without root here:\n%s", text)
	}
	if err != nil || !strings.Contains(text, "--- PASS: TestIsolation") {
		t.Fatalf("without root: %v\n%s", err, text)
	}
}

func TestSettingsOfTheBuilder(t *testing.T) {
	t.Parallel()
	for _, cfg := range []sandbox.Config{
		{},
		{Root: t.TempDir(), Isolation: "sometimes"},
		{Root: t.TempDir(), Environment: map[string]string{"A B": "x"}},
	} {
		if b, err := sandbox.New(cfg); err == nil {
			t.Errorf("%+v made %v", cfg, b)
		}
	}
}

// TestPip installs a local package, which needs no network, on systems whose
// Python refuses it (PEP 668).
func TestPip(t *testing.T) {
	t.Parallel()
	if err := exec.Command("/usr/bin/python3", "-c", "import ensurepip").Run(); err != nil {
		t.Skipf("Python can't make virtual environments here: %v", err)
	}
	e, _ := isolatedBuilder(t, sandbox.Config{})
	e.Deadline = 5 * time.Minute // a virtual environment is thousands of files
	source := buildertest.Repository{
		"requirements.txt": "./site-1-py3-none-any.whl\n",
		"wheel.py": `import zipfile
with zipfile.ZipFile("site-1-py3-none-any.whl", "w") as z:
    z.writestr("sitemaker.py", "def main(): print('made')\n")
    z.writestr("site-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: site\nVersion: 1\n")
    z.writestr("site-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr("site-1.dist-info/entry_points.txt", "[console_scripts]\nsitemaker = sitemaker:main\n")
    z.writestr("site-1.dist-info/RECORD", "")
`,
	}
	spec := source.Spec(t)
	spec.Settings = build.Settings{
		Install: "python3 wheel.py && pip install --no-index -r requirements.txt",
		Build:   "mkdir out && sitemaker >out/index.html", Output: "out",
	}
	e.Succeeds(t, spec)
	if got := e.Output(t, spec.Tree)["index.html"]; got != "made\n" {
		t.Fatalf("the page is %q", got)
	}
}
