package main

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/builder/buildertest"
)

// TestSettingsReachTheBuilds builds with each setting for builds: a registry at
// this machine's address, which builds reach only if it is allowed, a program,
// a visible certificate and an environment.
func TestSettingsReachTheBuilds(t *testing.T) {
	t.Parallel()
	registry, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("package for " + r.Header.Get("X-For")))
	})}
	go func() { _ = server.Serve(registry) }()
	t.Cleanup(func() { _ = server.Close() })
	mine := machineAddress(t)
	_, port, err := net.SplitHostPort(registry.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	// Not below /tmp, which is private to each build.
	dir, err := os.MkdirTemp("/var/tmp", "troyd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	program := write("tools/fetch-package", "#!/bin/bash\nexec 3<>/dev/tcp/$1/$2 || exit\nprintf 'GET / HTTP/1.0\\r\\nX-For: %s\\r\\n\\r\\n' \"$TEAM\" >&3\ncat <&3\n", 0o755)
	ca := write("ca/lan.pem", "a certificate", 0o644)
	write("ca-hidden/other.pem", "another", 0o644)
	variables := write("build.env", "# of all builds\n\nTEAM=web team\nNODE_EXTRA_CA_CERTS="+ca+"\nHTTPS_PROXY=http://"+mine+":3128\n", 0o600)

	command := `mkdir -p out && echo '<h1>' > out/index.html
		fetch-package ` + mine + " " + port + ` > out/package || true
		cat "$NODE_EXTRA_CA_CERTS" > out/ca || true
		cat ` + dir + `/ca-hidden/other.pem > out/hidden 2>/dev/null || true
		echo "$HTTPS_PROXY" > out/proxy`
	build := func(settings map[string]string) map[string]string {
		settings["TROY_DATA_DIR"] = t.TempDir()
		cfg, err := readConfig(settings)
		if err != nil {
			t.Fatal(err)
		}
		b, err := newBuilder(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		e := buildertest.Env{Builder: b, Deadline: time.Minute, Poll: 10 * time.Millisecond, Redacts: true}
		if err := b.Start(t.Context(), buildertest.Shell("true").Spec(t)); err != nil {
			t.Skipf("builds can't be isolated here: %v", err)
		}
		spec := buildertest.Shell(command).Spec(t)
		e.Succeeds(t, spec)
		return e.Output(t, spec.Tree)
	}

	got := build(map[string]string{
		"TROY_BUILD_ENV_FILE": variables, "TROY_BUILD_PATH": filepath.Dir(program), "TROY_BUILD_VISIBLE": ca, "TROY_BUILD_ALLOW": mine + ",192.0.2.0/24",
	})
	for name, want := range map[string]string{
		"package": "package for web team", "ca": "a certificate", "proxy": "http://" + mine + ":3128\n",
	} {
		if !strings.HasSuffix(got[name], want) {
			t.Errorf("%s: the build has %q, want %q", name, got[name], want)
		}
	}
	if got["hidden"] != "" {
		t.Errorf("a file beside the visible one can be seen: %q", got["hidden"])
	}
	got = build(map[string]string{"TROY_BUILD_PATH": filepath.Dir(program)})
	if got["package"] != "" || got["ca"] != "" || got["proxy"] != "\n" {
		t.Errorf("without the settings the build has %q", got)
	}
}

// machineAddress returns an address of this machine that is not loopback.
func machineAddress(t *testing.T) string {
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

func TestBuilderSettingsThatAreWrong(t *testing.T) {
	t.Parallel()
	dir, data := t.TempDir(), "/var/lib/troy-test/data"
	file := func(text string) string {
		f, err := os.CreateTemp(dir, "env")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	for _, c := range []struct{ setting, value, says string }{
		{"TROY_BUILD_ALLOW", "registry.lan", `"registry.lan" is neither an address like 10.1.2.3`},
		{"TROY_BUILD_ALLOW", "10.0.0.1:443", "neither an address"},
		{"TROY_BUILD_ALLOW", "fe80::1%eth0", "neither an address"},
		{"TROY_BUILD_ALLOW", "169.254.169.254", "where clouds give credentials of the machine"},
		{"TROY_BUILD_ALLOW", "10.0.0.0/8,169.254.0.0/16", `"169.254.0.0/16" contains 169.254.169.254`},
		{"TROY_BUILD_PATH", "tools", "is not an absolute path"},
		{"TROY_BUILD_PATH", "/nowhere/bin", `"/nowhere/bin" can't be found`},
		{"TROY_BUILD_VISIBLE", "/", "is not an absolute path below /"},
		{"TROY_BUILD_VISIBLE", "/tmp/lan.pem", "is in /tmp"},
		{"TROY_BUILD_VISIBLE", "/var", "would show builds the data folder"},
		{"TROY_BUILD_VISIBLE", filepath.Join(data, "cloud"), "would show builds the data folder"},
		{"TROY_BUILD_ENV_FILE", filepath.Join(dir, "none"), "no such file"},
		{"TROY_BUILD_ENV_FILE", file("A=1\nhunter2\n"), "line 2 of "},
		{"TROY_BUILD_ENV_FILE", file("A=1\nA=hunter2\n"), "sets A again"},
		{"TROY_BUILD_ENV_FILE", file("A B=hunter2\n"), "line 1 of "},
		{"TROY_BUILD_ENV_FILE", file("A=hunter2\x00\n"), "NUL"},
	} {
		cfg, err := readConfig(map[string]string{"TROY_DATA_DIR": data, c.setting: c.value})
		if err == nil {
			_, err = newBuilder(cfg, slog.New(slog.DiscardHandler))
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.setting+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s=%q: %v; want it named, and %q", c.setting, c.value, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error reveals a value: %v", c.setting, err)
		}
	}
}

// TestCPUsWithoutControlGroup checks that troyd says that nothing keeps the
// limit of CPUs.
func TestCPUsWithoutControlGroup(t *testing.T) {
	t.Parallel()
	for cpus, told := range map[string]bool{"0": false, "2": true} {
		// Builds without isolation have no control group on any machine.
		cfg, err := readConfig(map[string]string{"TROY_DATA_DIR": t.TempDir(), "TROY_BUILD_ISOLATION": "none", "TROY_BUILD_CPUS": cpus})
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		b, err := newBuilder(cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "TROY_BUILD_CPUS") != told {
			t.Errorf("with TROY_BUILD_CPUS=%s troyd logs %q", cpus, log.String())
		}
	}
}
