package sandbox_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// TestWorkerProcess is a worker in its own process, for tests that kill one.
func TestWorkerProcess(t *testing.T) {
	root, tree := os.Getenv("TROY_TEST_WORKER_ROOT"), os.Getenv("TROY_TEST_WORKER_TREE")
	if root == "" {
		t.Skip("other tests run it as a program")
	}
	b, err := sandbox.New(sandbox.Config{Root: root, Isolation: sandbox.Isolation(os.Getenv("TROY_TEST_WORKER_ISOLATION"))})
	if err != nil {
		t.Fatal(err)
	}
	if arch := os.Getenv("TROY_TEST_WORKER_ARCH"); arch != "" {
		sandbox.SetArchitecture(b, arch)
	}
	spec := buildertest.Shell(os.Getenv("TROY_TEST_WORKER_COMMAND")).Spec(t)
	pipeline, deployment, _ := strings.Cut(tree, "/")
	spec.Tree = site.Tree{Pipeline: uuid.MustParse(pipeline), Deployment: uuid.MustParse(deployment)}
	if err := b.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	fmt.Println("started")
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
}

type worker struct {
	*exec.Cmd
	stdin io.WriteCloser
}

func startWorker(t *testing.T, root string, isolation sandbox.Isolation, tree site.Tree, command string) worker {
	t.Helper()
	return startPrepared(t, prepareWorker(root, isolation, tree, command))
}

func prepareWorker(root string, isolation sandbox.Isolation, tree site.Tree, command string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$")
	cmd.Env = append(os.Environ(), "TROY_TEST_WORKER_ROOT="+root, "TROY_TEST_WORKER_TREE="+tree.Pipeline.String()+"/"+tree.Deployment.String(),
		"TROY_TEST_WORKER_COMMAND="+command, "TROY_TEST_WORKER_ISOLATION="+string(isolation))
	return cmd
}

func startPrepared(t *testing.T, cmd *exec.Cmd) worker {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := worker{cmd, stdin}
	t.Cleanup(w.kill)
	return w
}

func (w worker) kill() {
	_ = w.Process.Kill()
	_ = w.Wait()
}

// TestWorkerDies kills a worker with a build: the build dies with it, is found
// lost, and is built again, once.
func TestWorkerDies(t *testing.T) {
	t.Parallel()
	for _, isolation := range []sandbox.Isolation{sandbox.Bubblewrap, sandbox.NoIsolation} {
		t.Run(string(isolation), func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			var e buildertest.Env
			if isolation == sandbox.NoIsolation {
				e, _ = newBuilder(t, sandbox.Config{Root: root, Isolation: isolation})
			} else {
				e, _ = isolatedBuilder(t, sandbox.Config{Root: root})
			}
			w := word()
			tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
			running := func() bool { return len(alive(t, "sleep\x00"+w)) > 0 }
			lost := func() {
				t.Helper()
				first := startWorker(t, root, isolation, tree, "sleep "+w)
				waitFor(t, "the build", running)
				if b, err := e.Builder.Get(t.Context(), tree); err != nil || b.State != builder.Running {
					t.Fatalf("from another process the build is %s, %v", b.State, err)
				}
				first.kill()
				if b, err := e.Builder.Get(t.Context(), tree); err != nil || b.State != builder.Lost {
					t.Fatalf("after the worker's death the build is %s, %v", b.State, err)
				}
				waitFor(t, "the build's end", func() bool { return !running() })
			}
			lost()
			spec := buildertest.Shell(makeSite).Spec(t)
			spec.Tree = tree
			e.Succeeds(t, spec)
			if log := e.LogOf(t, tree); !strings.Contains(log, "the build starts again") || !strings.Contains(log, "==> Build: sleep "+w) {
				t.Fatalf("the log is:\n%s", log)
			}

			tree.Deployment = uuid.New()
			lost()
			lost()
			spec.Tree = tree
			if err := e.Builder.Start(t.Context(), spec); troy.KindOf(err) != troy.Conflict {
				t.Fatalf("the third Start: %v, want Conflict", err)
			}
			// Stop makes the end final.
			if err := e.Builder.Stop(t.Context(), tree); err != nil {
				t.Fatal(err)
			}
			if b := e.Wait(t, tree); b.State != builder.Stopped {
				t.Fatalf("the build is %s", b.State)
			}
		})
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !poll.Until(t.Context(), time.Minute, 10*time.Millisecond, done) {
		t.Fatalf("%s: not within a minute", what)
	}
}

// TestStopFromAnotherProcess stops a build of another process's worker.
func TestStopFromAnotherProcess(t *testing.T) {
	t.Parallel()
	root, w := t.TempDir(), word()
	e, _ := isolatedBuilder(t, sandbox.Config{Root: root})
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	startWorker(t, root, sandbox.Bubblewrap, tree, "sleep "+w)
	waitFor(t, "the build", func() bool { return len(alive(t, "sleep\x00"+w)) > 0 })
	begun := time.Now()
	if err := e.Builder.Stop(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopping took %s", time.Since(begun))
	if b, err := e.Builder.Get(t.Context(), tree); err != nil || b.State != builder.Stopped {
		t.Fatalf("the build is %s, %v", b.State, err)
	}
	if left := alive(t, "sleep\x00"+w); len(left) > 0 {
		t.Fatalf("these live on: %q", left)
	}
}

// TestClose closes a builder: its builds are lost without an attempt counted.
func TestClose(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	spec := buildertest.Shell("[ -e /build/home/never ] || sleep 600").Spec(t)
	for range 4 {
		e, b := isolatedBuilder(t, sandbox.Config{Root: root})
		if err := b.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		e.Until(t, spec.Tree, func(b builder.Build) bool { return len(b.Phases) == 2 })
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(t.Context(), spec.Tree); err != nil || got.State != builder.Lost {
			t.Fatalf("after Close the build is %s, %v", got.State, err)
		}
		if err := b.Start(t.Context(), spec); troy.KindOf(err) != troy.Unavailable {
			t.Fatalf("Start after Close: %v, want Unavailable", err)
		}
	}
}
