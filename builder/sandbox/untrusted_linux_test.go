package sandbox_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
)

// probe is something that a stranger's build tries. Its command succeeds if the
// build gets what it wants.
type probe struct {
	what, command string
	// control is where the same command has to succeed, so that the probe proves
	// something: with the worker's rights, in a trusted build of the pipeline,
	// in a build with access to this machine's own address, or in the stranger's
	// build itself.
	control string
}

const (
	byWorker    = "worker"
	byTrusted   = "trusted"
	whereOpen   = "allowed"
	byTheBuild  = "itself"
	findSecrets = "find / -xdev -name 'secret-of-*' 2>/dev/null | grep ."
)

func connect(host, port string) string {
	return `timeout 5 bash -c "exec 3<>/dev/tcp/` + host + "/" + port + `"`
}

// loopback listens as a service of the installation does, and counts
// connections.
func loopback(t *testing.T, n *atomic.Int64) (port string) {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			_ = conn.Close()
		}
	}()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// TestUntrustedBuildGetsNothing has a stranger's build try everything that it
// should not reach, while another pipeline's build runs.
func TestUntrustedBuildGetsNothing(t *testing.T) {
	t.Parallel()
	data, err := os.MkdirTemp("", "troy-data-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	// Anyone may read and write there, so only the isolation protects it.
	trees := filepath.Join(data, "cloud", "trees")
	if err := os.MkdirAll(trees, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{data, filepath.Dir(trees), trees} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	secretFile := filepath.Join(trees, "secret-of-a-tree")
	if err := os.WriteFile(secretFile, []byte("a tree"), 0o666); err != nil {
		t.Fatal(err)
	}
	e, _ := isolatedBuilder(t, sandbox.Config{Root: data, CacheBytes: 1 << 20})

	// The pipeline has a cache, and another pipeline's build runs.
	shell := func(command string) buildertest.Repository {
		repo := buildertest.Shell(command)
		repo["troy.toml"] += "install = \"\"\n"
		repo["package.json"], repo["package-lock.json"] = "{}", "one"
		return repo
	}
	stranger := shell("").Spec(t)
	pipeline := stranger.Tree.Pipeline
	cached := shell(makeSite + `; mkdir -p "$npm_config_cache"; echo ours > "$npm_config_cache/seen"`).Spec(t)
	cached.Tree.Pipeline = pipeline
	e.Succeeds(t, cached)
	other := buildertest.Shell(makeSite + "; echo begun; touch secret-of-a-build; while [ ! -e /build/home/never ]; do sleep 1; done").Spec(t)
	if err := e.Builder.Start(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	others := filepath.Join(data, "builds", other.Tree.Pipeline.String(), other.Tree.Deployment.String(), "work", "repo", "secret-of-a-build")
	waitFor(t, "the other build", func() bool { _, err := os.Stat(others); return err == nil })

	var connections atomic.Int64
	web, postgres, redis := loopback(t, &connections), loopback(t, &connections), loopback(t, &connections)
	mine := ownAddress(t)
	worker := "/proc/" + strconv.Itoa(os.Getpid())
	// A pattern that does not match its own text in arguments.
	program := "'[" + filepath.Base(os.Args[0])[:1] + "]" + filepath.Base(os.Args[0])[1:] + "'"
	caches := filepath.Join(data, "builds", pipeline.String(), "cache")
	probes := []probe{
		{"the address that the operator allows", connect(mine, web), whereOpen},
		{"its own files", "echo x > mine && cat mine", byTheBuild},
		{"its own variables", "env | grep '^VISIBLE=yes$'", byTheBuild},
		{"the worker's variables", "tr '\\0' '\\n' < " + worker + "/environ | grep '^PATH='", byWorker},
		{"the worker's arguments", "tr '\\0' '\\n' < " + worker + "/cmdline | grep " + program, byWorker},
		{"the worker's memory", "head -c 1 " + worker + "/mem; grep " + program + " " + worker + "/maps", byWorker},
		{"the worker's files by its root", "cat " + worker + "/root" + secretFile, byWorker},
		{"the worker in /proc", "grep -ls " + program + " /proc/[0-9]*/cmdline | grep .", byWorker},
		{"the web's port", connect("127.0.0.1", web), byWorker},
		{"Postgres's port", connect("127.0.0.1", postgres), byWorker},
		{"Redis's port", connect("localhost", redis), byWorker},
		{"Redis's port by the gateway", connect("10.0.2.2", redis), ""},
		{"Postgres's port by the machine's address", connect(mine, postgres), byWorker},
		{"the metadata address", connect("169.254.169.254", "80"), ""},
		{"the metadata address of IPv6", connect("fd00:ec2::254", "80"), ""},
		{"reading the cache of its pipeline", `grep ours "$npm_config_cache/seen"`, byTrusted},
		{"reading it by its path", "grep -r ours " + caches, byWorker},
		{"writing the cache by its path", "for dir in " + caches + "/*/*; do touch $dir/poison || exit 1; done", byWorker},
		{"reading a tree of the data folder", "cat " + secretFile, byWorker},
		{"writing a tree of the data folder", "echo x >> " + secretFile, byWorker},
		{"listing the data folder", "ls " + data + " | grep cloud", byWorker},
		{"reading the folder of another build", "ls -l " + others, byWorker},
		{"writing the folder of another build", "touch " + others + "-too", byWorker},
		{"finding any of them", findSecrets, ""},
	}
	var script strings.Builder
	for i, p := range probes {
		script.WriteString("( " + p.command + " ) >/dev/null 2>&1 && echo " + strconv.Itoa(i) + " >> out/reached\n")
	}
	command := makeSite + "\n" + script.String() + `mkdir -p "$npm_config_cache" && echo poison > "$npm_config_cache/poison"; env > out/env; true`
	reached := func(e buildertest.Env, spec builder.Spec) (got []string, out map[string]string) {
		t.Helper()
		e.Succeeds(t, spec)
		out = e.Output(t, spec.Tree)
		for _, i := range strings.Fields(out["reached"]) {
			n, _ := strconv.Atoi(i)
			got = append(got, probes[n].what)
		}
		return got, out
	}
	of := func(untrusted bool) builder.Spec {
		spec := shell(command).Spec(t)
		spec.Tree.Pipeline, spec.Untrusted, spec.Variables = pipeline, untrusted, map[string]string{"VISIBLE": "yes"}
		return spec
	}

	got, out := reached(e, of(true))
	for _, p := range probes {
		if want := p.control == byTheBuild; slices.Contains(got, p.what) != want {
			t.Errorf("%s: the stranger's build got it: %v, want %v", p.what, !want, want)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
	common := []string{"HOME", "PATH", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_", "LANG", "CI", "TERM", "USER"}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !slices.Contains(common, name) && strings.Contains("\n"+out["env"], "\n"+name+"=") {
			t.Errorf("the build has the worker's variable %s", name)
		}
	}

	// The probes succeed where they must.
	trusted, _ := reached(e, of(false))
	addr := netip.MustParseAddr(mine)
	allowing, _ := isolatedBuilder(t, sandbox.Config{Allow: []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}})
	open, _ := reached(allowing, of(true))
	for _, p := range probes {
		succeeds := true
		switch p.control {
		case byWorker:
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "bash", "-c", p.command)
			text, err := cmd.CombinedOutput()
			if succeeds = err == nil; !succeeds {
				t.Logf("%s", text)
			}
		case byTrusted:
			succeeds = slices.Contains(trusted, p.what)
		case whereOpen:
			succeeds = slices.Contains(open, p.what)
		}
		if !succeeds {
			t.Errorf("%s: the control (%s) failed, so the probe proves nothing", p.what, p.control)
		}
	}
	if err := e.Builder.Stop(t.Context(), other.Tree); err != nil {
		t.Fatal(err)
	}
	poisoned, err := filepath.Glob(filepath.Join(caches, "*", "*", "*", "poison"))
	if err != nil || len(poisoned) != 1 { // of the trusted build
		t.Errorf("in the caches are %v, %v", poisoned, err)
	}
}
