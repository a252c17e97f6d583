package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/troy-iaas/troy"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"troy": main})
}

// TestScripts runs the commands as users do. Each script has its own double,
// which starts with the pipelines "blog" (Ready for Deployment) and "old"
// (Failed to Delete).
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			d := newDouble()
			old := d.add("Old", "old", "", troy.FailedToDelete)
			old.Cause = "the distribution could not be disabled: \x1b]0;evil\x07Rate exceeded"
			d.add("Blog", "blog", "app-1", troy.ReadyForDeployment)
			server := httptest.NewServer(d)
			env.Defer(server.Close)
			env.Values["double"] = d
			env.Setenv("TROY_URL", server.URL)
			env.Setenv("SAME_SERVER", strings.Replace(server.URL, "127.0.0.1", "localhost", 1)) // by another address
			env.Setenv("SERVER_HOST", strings.TrimPrefix(server.URL, "http://"))
			env.Setenv("TROY_TOKEN", "admin")
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			example, err := filepath.Abs(filepath.Join("..", "..", "examples", "site"))
			if err != nil {
				return err
			}
			env.Setenv("EXAMPLE", example)
			env.Setenv("XDG_CACHE_HOME", filepath.Join(env.WorkDir, "cache"))
			// Under the race detector every command would sleep for a second at
			// its end (https://go.dev/doc/articles/race_detector#Options).
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": wantStatus,
			"keep": func(ts *testscript.TestScript, _ bool, args []string) { // the output, in a variable
				ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
			},
			"busy":      busy,
			"breaks":    breaks,
			"puts":      wantPuts,
			"begins":    wantBegins,
			"outage":    outage,
			"queue":     queue,
			"silent":    silent,
			"zip":       makeZip,
			"tar":       makeTar,
			"token":     writeToken,
			"columns":   wantColumns,
			"stuck":     waitForPublishing,
			"pipeline":  addPipelines,
			"dev":       makeDev,
			"mode":      wantMode,
			"typed":     wantTyped,
			"generated": wantGenerated,
		},
	})
}

// wantStatus runs troy and checks its exit code: status 4 troy status nope.
func wantStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var code int
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &code); scanErr != nil {
			ts.Fatalf("%v", err)
		}
		got = code
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// busy makes the next requests fail: busy 2.
func busy(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = n
}

// queue makes the next deployment wait for a number of reads: queue 3.
func queue(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queued = n
}

// silent makes builds print nothing from now on.
func silent(ts *testscript.TestScript, _ bool, _ []string) {
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent = true
}

// outage makes uploads fail for a time: outage 3s.
func outage(ts *testscript.TestScript, _ bool, args []string) {
	length, err := time.ParseDuration(args[0])
	ts.Check(err)
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outage = length
}

// breaks makes the next logs break off in the middle: breaks 1.
func breaks(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.breaks = n
}

// wantGenerated checks that the last password was said to be generated.
func wantGenerated(ts *testscript.TestScript, _ bool, _ []string) {
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.generated {
		ts.Fatalf("the password is not said to be generated")
	}
}

// wantTyped checks the last password that was set for a site: typed 'correct horse'.
func wantTyped(ts *testscript.TestScript, _ bool, args []string) {
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.typed != args[0] {
		ts.Fatalf("the password is %q, want %q", d.typed, args[0])
	}
}

// wantPuts checks the number of files uploaded since the last call.
func wantPuts(ts *testscript.TestScript, _ bool, args []string) {
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := strconv.Itoa(d.puts); got != args[0] {
		ts.Fatalf("%s files were uploaded, want %s", got, args[0])
	}
	d.puts = 0
}

// wantBegins checks how many requests began a release since the last time:
// begins 1.
func wantBegins(ts *testscript.TestScript, _ bool, args []string) {
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := strconv.Itoa(d.begins); got != args[0] {
		ts.Fatalf("%s requests began a release, want %s", got, args[0])
	}
	d.begins = 0
}

// addPipelines adds pipelines by slug.
func addPipelines(ts *testscript.TestScript, _ bool, args []string) {
	d := ts.Value("double").(*double)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, slug := range args {
		d.add(slug, slug, "", troy.Queued)
	}
}

// makeZip packs a folder: zip site.zip site.
func makeZip(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	z := zip.NewWriter(f)
	ts.Check(z.AddFS(os.DirFS(ts.MkAbs(args[1]))))
	ts.Check(z.Close())
	ts.Check(f.Close())
}

// makeTar packs a folder: tar site.tar.gz site.
func makeTar(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	ts.Check(w.AddFS(os.DirFS(ts.MkAbs(args[1]))))
	ts.Check(w.Close())
	ts.Check(z.Close())
	ts.Check(f.Close())
}

// writeToken writes a file with a text that looks like a GitHub token, so that
// this repository does not contain it: token app.js.
func writeToken(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(name), 0o755))
	token := "ghp_" + "w1x2Y3z4A5b6C7d8E9f0" + "G1h2I3j4K5l6M7n8"
	ts.Check(os.WriteFile(name, []byte("t='"+token+"'"), 0o644))
}

// wantColumns checks the maximum line length of stdout or stderr: columns 80.
func wantColumns(ts *testscript.TestScript, _ bool, args []string) {
	most, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, stream := range []string{"stdout", "stderr"} {
		for line := range strings.Lines(ts.ReadFile(stream)) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > most {
				ts.Fatalf("a line of %s has %d columns: %s", stream, n, line)
			}
		}
	}
}

// waitForPublishing waits until a deployment is being waited for.
func waitForPublishing(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-ts.Value("double").(*double).stuck:
	case <-time.After(20 * time.Second):
		ts.Fatalf("no client waited for a deployment that is stuck")
	}
}

func TestHelpAndDocsListTheExitCodes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	help := newRoot(&app{}).Long
	for code, want := range map[int]string{
		exitOK: "done", exitInternal: "unexpected", exitInvalid: "usage", exitForbidden: "token", exitNotFound: "no such",
		exitConflict: "status", exitFailed: "deployment failed", exitUnavailable: "away", exitInterrupted: "interrupted",
	} {
		for name, text := range map[string]string{"help": help, "docs/cli.md": string(page)} {
			found := false
			for line := range strings.Lines(text) {
				fields := strings.Fields(strings.Trim(line, "| \n"))
				found = found || len(fields) > 1 && fields[0] == strconv.Itoa(code) && strings.Contains(line, want)
			}
			if !found {
				t.Errorf("%s does not say %d: %s", name, code, want)
			}
		}
	}
}
