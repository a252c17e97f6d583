package main

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/troy-iaas/troy/internal/devstack/gittest"
)

// devSettings returns settings for a troyd dev in a folder, on free ports.
func devSettings(dir string) []string {
	return []string{"TROY_DATA_DIR=" + dir, "TROY_ADDR=127.0.0.1:0", "TROY_EDGE_ADDR=127.0.0.1:0", "TROY_PROPAGATION_DELAY=100ms"}
}

// api sends a request with the token.
func api(t *testing.T, method, address, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, readAll(t, resp.Body)
}

func wantStatus(t *testing.T, method, address, token, body string, want int) string {
	t.Helper()
	status, answer := api(t, method, address, token, body)
	if status != want {
		t.Errorf("%s %s: %d, want %d: %s", method, address, status, want, answer)
	}
	return answer
}

// pids reads which processes hold the private servers' locks.
func pids(t *testing.T, dir string) []int {
	t.Helper()
	var out []int
	for _, name := range []string{"postgres.lock", "redis/redis.lock"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pid)
	}
	return out
}

func TestDevStartsStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := serving(t, devSettings(dir), "dev")
	dashboard, address, monitor, token := first.answer("Dashboard:"), first.answer("API:"), first.answer("Monitor:"), first.answer("Admin token:")
	// The link signs in once.
	if !strings.HasPrefix(dashboard, address+"/login?once=") {
		t.Errorf("the dashboard is at %s", dashboard)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, dashboard, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = readAll(t, resp.Body)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" || resp.Header.Get("Set-Cookie") == "" {
		t.Errorf("the link answers %s, %v", resp.Status, resp.Header)
	}
	wantStatus(t, http.MethodGet, dashboard, "", "", http.StatusUnauthorized)
	wantStatus(t, http.MethodGet, address+"/readyz", "", "", http.StatusOK)
	wantStatus(t, http.MethodGet, address+"/v1/pipelines", "", "", http.StatusUnauthorized)
	wantStatus(t, http.MethodGet, address+"/v1/pipelines", token, "", http.StatusOK)
	wantStatus(t, http.MethodPost, address+"/v1/pipelines", token, `{"name":"Kept"}`, http.StatusCreated)
	wantStatus(t, http.MethodGet, monitor, "", "", http.StatusUnauthorized)
	if strings.Contains(first.said(), token) {
		t.Error("the token is in the log")
	}

	// Commands find it by its data folder. The doctor does not need the npm
	// registry if builds have the machine's tools.
	beside := []string{"TROY_DATA_DIR=" + dir, "TROY_BUILD_TOOLS=machine"}
	for _, args := range []string{
		"token create --role viewer", "enqueue sweep", "doctor", "github status", "bitbucket status", "secrets reseal", "migrate status",
	} {
		if status, stdout, stderr := finish(t, troyd(t, beside, strings.Fields(args)...)); status != 0 || stdout == "" {
			t.Errorf("%s beside troyd dev: exit status %d, %q, %q", args, status, stdout, stderr)
		}
	}
	// Not when the environment names another database.
	other := append(beside, "TROY_DATABASE_URL=postgres://troy@127.0.0.1:1/troy")
	if status, _, stderr := finish(t, troyd(t, other, "enqueue", "sweep")); status != 2 || !strings.Contains(stderr, "TROY_REDIS_URL: not set") {
		t.Errorf("another database beside troyd dev: exit status %d, %q", status, stderr)
	}

	// A second one in the same folder is refused.
	status, stdout, stderr := finish(t, troyd(t, devSettings(dir), "dev"))
	if pid := strconv.Itoa(first.cmd.Process.Pid); status != 1 || stdout != "" || !strings.Contains(stderr, "pid "+pid) || !strings.Contains(stderr, "TROY_DATA_DIR") {
		t.Errorf("a second start: exit status %d, %q; want 1 and the pid %s", status, stderr, pid)
	}

	// Others on its ports, with other folders, start nothing.
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"TROY_ADDR", "TROY_EDGE_ADDR"} {
		elsewhere := filepath.Join(folder(t), "data")
		status, _, stderr := finish(t, troyd(t, append(devSettings(elsewhere), setting+"="+u.Host), "dev"))
		if status != 1 || !strings.Contains(stderr, setting+": ") || !strings.Contains(stderr, u.Host) {
			t.Errorf("%s in use: exit status %d, %q; want 1 and the setting", setting, status, stderr)
		}
		if _, err := os.Stat(elsewhere); err == nil {
			t.Errorf("%s in use: a data folder was made", setting)
		}
	}

	servers := pids(t, dir)
	t.Logf("Ctrl-C took %s", first.stop(syscall.SIGINT))
	for _, pid := range servers {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("the server with pid %d is left", pid)
		}
	}

	for _, args := range []string{"token create --role viewer", "enqueue sweep", "migrate up"} {
		status, _, stderr := finish(t, troyd(t, beside, strings.Fields(args)...))
		if status != 2 || !strings.Contains(stderr, "no troyd dev runs on the data folder "+dir) {
			t.Errorf("%s after the end of troyd dev: exit status %d, %q", args, status, stderr)
		}
	}

	third := serving(t, devSettings(dir), "dev")
	address = third.answer("API:")
	if again := third.answer("Admin token:"); again != token {
		t.Errorf("the admin token changed over a restart")
	}
	if list := wantStatus(t, http.MethodGet, address+"/v1/pipelines", token, "", http.StatusOK); !strings.Contains(list, `"Kept"`) {
		t.Errorf("the pipeline of the first run does not exist: %s", list)
	}
	third.stop(syscall.SIGTERM)
}

func TestDevWithoutRedisBringsTheSampleLive(t *testing.T) {
	t.Parallel()
	sample, err := filepath.Abs("../../examples/site")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(sample, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	settings := append(devSettings(folder(t)), "PATH="+hideRedis(t))
	for run := range 2 {
		s := serving(t, settings, "dev", "--sample", sample)
		address, token := s.answer("API:"), s.answer("Admin token:")
		live, err := url.Parse(s.answer("Site live:"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(s.said(), "using a Redis inside this process") {
			t.Errorf("no line mentions the Redis in the process: %s", s.said())
		}
		// Go's resolver does not know *.localhost.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+live.Port()+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = live.Host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, resp.Body); resp.StatusCode != http.StatusOK || body != string(page) {
			t.Errorf("%s answers %s with %d bytes, want the sample's page", live, resp.Status, len(body))
		}
		// A restart leaves the pipeline unchanged: the sample is released once,
		// and not again after its deletion.
		if list := wantStatus(t, http.MethodGet, address+"/v1/pipelines/sample/deployments", token, "", http.StatusOK); strings.Count(list, `"number":`) != 1 {
			t.Errorf("run %d: the sample was released again: %s", run, list)
		}
		if run == 1 {
			wantStatus(t, http.MethodDelete, address+"/v1/pipelines/sample?now=true", token, "", http.StatusAccepted)
			for status := 0; status != http.StatusNotFound; { // bounded by the test's deadline
				status, _ = api(t, http.MethodGet, address+"/v1/pipelines/sample", token, "")
			}
		}
		s.stop(syscall.SIGINT)
	}
	s := serving(t, settings, "dev", "--sample", sample)
	address, token := s.answer("API:"), s.answer("Admin token:")
	wantStatus(t, http.MethodGet, address+"/v1/pipelines/sample", token, "", http.StatusNotFound)
	s.stop(syscall.SIGINT)
}

// TestTheDataFolderIsNotCommitted checks that a project that Troy runs in keeps
// the secrets in its data folder out of git.
func TestTheDataFolderIsNotCommitted(t *testing.T) {
	t.Parallel()
	repository := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		out, err := gittest.Command(t.Context(), repository, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	if _, err := keptSecret(filepath.Join(repository, ".troy"), "admin-token", func() (string, error) { return "secret", nil }); err != nil {
		t.Fatal(err)
	}
	if left := git("status", "--porcelain", "--untracked-files=all"); left != "" {
		t.Errorf("git would commit %s", left)
	}
}
