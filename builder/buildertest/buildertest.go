// Package buildertest is the conformance suite of the builders' port: each
// sentence of its contract is a subtest. Every adapter's tests call Run.
package buildertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// Env is one builder under test.
type Env struct {
	Builder builder.Builder
	// Deadline is the maximum duration of a small build.
	Deadline time.Duration
	// Poll is the interval between polls of a build.
	Poll time.Duration
	// Redacts reports whether the builder calls Spec.Redact.
	Redacts bool
}

// Run runs the builder's suite, each subtest on its own Env.
func Run(t *testing.T, open func(t *testing.T) Env) {
	for _, suite := range []map[string]func(*testing.T, Env){buildTests(), buildEndTests(), buildLogTests(), buildOutputTests()} {
		for name, test := range suite {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, open(t))
			})
		}
	}
}

// Repository maps names to files; files that begin with "#!" are executable.
type Repository map[string]string

// Archive returns the repository as forges pack it.
func (r Repository) Archive(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(r)) {
		h := tar.Header{Typeflag: tar.TypeReg, Name: "octo-site-0123/" + name, Mode: 0o644, Size: int64(len(r[name])), Format: tar.FormatGNU}
		if strings.HasPrefix(r[name], "#!") {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, r[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Spec returns a build of the repository for a new pipeline.
func (r Repository) Spec(t testing.TB) builder.Spec {
	t.Helper()
	data := r.Archive(t)
	return builder.Spec{
		Tree:   newTree(),
		Source: func(context.Context, string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
	}
}

// Shell returns a repository whose build is a shell command, and whose site is
// the folder out.
func Shell(command string) Repository {
	return Repository{"troy.toml": fmt.Sprintf("[build]\ncommand = '''%s'''\noutput = \"out\"\n", command)}
}

// newTree names a tree of a new pipeline.
func newTree() site.Tree {
	return site.Tree{Pipeline: uuid.Must(uuid.NewV7()), Deployment: uuid.Must(uuid.NewV7())}
}

// makeSite is a command that makes a site.
const makeSite = "mkdir -p out && echo '<h1>' > out/index.html"

// Build starts a build and waits for its end.
func (e Env) Build(t testing.TB, spec builder.Spec) builder.Build {
	t.Helper()
	if err := e.Builder.Start(t.Context(), spec); err != nil {
		t.Fatalf("Start: %v", err)
	}
	return e.Wait(t, spec.Tree)
}

// Wait polls until the build has ended.
func (e Env) Wait(t testing.TB, tree site.Tree) builder.Build {
	t.Helper()
	return e.Until(t, tree, func(b builder.Build) bool { return b.State != builder.Running })
}

// Until polls until the build is in the wanted state.
func (e Env) Until(t testing.TB, tree site.Tree, wanted func(builder.Build) bool) builder.Build {
	t.Helper()
	var b builder.Build
	e.poll(t, "the build", func() bool {
		var err error
		if b, err = e.Builder.Get(t.Context(), tree); err != nil {
			t.Fatalf("Get: %v", err)
		}
		return wanted(b)
	})
	return b
}

func (e Env) poll(t testing.TB, what string, done func() bool) {
	t.Helper()
	if !poll.Until(t.Context(), e.Deadline, e.Poll, done) {
		t.Fatalf("%s: not within %s", what, e.Deadline)
	}
}

// LogOf reads a build's log from the beginning, page by page.
func (e Env) LogOf(t testing.TB, tree site.Tree) string {
	t.Helper()
	var all strings.Builder
	for cursor := ""; ; {
		page, err := e.Builder.Log(t.Context(), tree, cursor)
		if err != nil {
			t.Fatalf("Log: %v", err)
		}
		all.Write(page.Data)
		if page.End || len(page.Data) == 0 {
			return all.String()
		}
		cursor = page.Next
	}
}

// Fails runs a build that has to fail, and compares its cause.
func (e Env) Fails(t testing.TB, spec builder.Spec, words string) builder.Build {
	t.Helper()
	b := e.Build(t, spec)
	if b.State != builder.Failed || !strings.Contains(b.Cause, words) || strings.Contains(b.Cause, "\n") {
		t.Fatalf("the build is %s with the cause %q, want %q; its log:\n%s", b.State, b.Cause, words, e.LogOf(t, spec.Tree))
	}
	if s, err := e.Builder.Artifact(t.Context(), spec.Tree); troy.KindOf(err) != troy.Conflict {
		t.Fatalf("Artifact of a failed build: %v, %v, want Conflict", s, err)
	}
	return b
}

// Succeeds runs a build that has to succeed.
func (e Env) Succeeds(t testing.TB, spec builder.Spec) builder.Build {
	t.Helper()
	b := e.Build(t, spec)
	if b.State != builder.Succeeded {
		t.Fatalf("the build is %s with the cause %q; its log:\n%s", b.State, b.Cause, e.LogOf(t, spec.Tree))
	}
	return b
}

// Output returns the published files of a build by path.
func (e Env) Output(t testing.TB, tree site.Tree) map[string]string {
	t.Helper()
	s, err := e.Builder.Artifact(t.Context(), tree)
	if err != nil {
		t.Fatalf("Artifact: %v", err)
	}
	defer s.Close()
	files := map[string]string{}
	for _, f := range s.Files {
		r, err := s.Open(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		files[f.Path] = string(data)
	}
	return files
}

func phases(b builder.Build) []string {
	names := []string{}
	for _, p := range b.Phases {
		code := "running"
		if p.ExitCode != nil {
			code = fmt.Sprint(*p.ExitCode)
		}
		names = append(names, fmt.Sprintf("%s %s", p.Phase, code))
	}
	return names
}

func inOrder(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("the phases are %q, want %q", got, want)
	}
}

func buildTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"a build has phases, times, a rule and an artifact": func(t *testing.T, e Env) {
			spec := Repository{
				"troy.toml": "[build]\ninstall = \"echo installed > got\"\ncommand = \"mkdir out && cp got out/index.html\"\ntest = \"grep installed out/index.html\"\noutput = \"out\"\n",
			}.Spec(t)
			b := e.Succeeds(t, spec)
			inOrder(t, phases(b), []string{"Download Source 0", "Install 0", "Build 0", "Test 0", "Archive 0"})
			last := b.Started
			for _, p := range b.Phases {
				if p.Started.Before(last) || p.Ended.Before(p.Started) || b.Ended.Before(p.Ended) {
					t.Fatalf("the times are out of order: %+v", b)
				}
				last = p.Ended
			}
			if b.Phases[1].Command != "echo installed > got" || !strings.Contains(b.Rule, "(troy.toml)") {
				t.Fatalf("the build is %+v", b)
			}
			if got := e.Output(t, spec.Tree); len(got) != 1 || got["index.html"] != "installed\n" {
				t.Fatalf("the output is %q", got)
			}
			if log := e.LogOf(t, spec.Tree); !strings.Contains(log, b.Rule) {
				t.Fatalf("the log does not say which rule decided:\n%s", log)
			} else if !strings.Contains(log, "\nThe phase Install took ") || !strings.Contains(log, "\nThe phase Build took ") {
				t.Fatalf("the log does not say how long the phases took:\n%s", log)
			}
		},
		"plain HTML needs no command": func(t *testing.T, e Env) {
			spec := Repository{"index.html": "<h1>", "a/b.css": "x"}.Spec(t)
			inOrder(t, phases(e.Succeeds(t, spec)), []string{"Download Source 0", "Archive 0"})
			if got := e.Output(t, spec.Tree); got["index.html"] != "<h1>" || got["a/b.css"] != "x" {
				t.Fatalf("the output is %q", got)
			}
		},
		"starting again changes nothing": func(t *testing.T, e Env) {
			spec := Shell(makeSite + "; date +%N > out/when").Spec(t)
			if err := e.Builder.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			first := e.Build(t, spec)
			when := e.Output(t, spec.Tree)["when"]
			if second := e.Build(t, spec); !second.Ended.Equal(first.Ended) || e.Output(t, spec.Tree)["when"] != when {
				t.Fatal("it was built again")
			}
		},
		"the end of the start's context does not end it": func(t *testing.T, e Env) {
			spec := Shell(makeSite).Spec(t)
			ctx, cancel := context.WithCancel(t.Context())
			if err := e.Builder.Start(ctx, spec); err != nil {
				t.Fatal(err)
			}
			cancel()
			if b := e.Wait(t, spec.Tree); b.State != builder.Succeeded {
				t.Fatalf("the build is %s: %s", b.State, b.Cause)
			}
		},
		"the environment is the pipeline's alone": func(t *testing.T, e Env) {
			repo := Shell(makeSite + "; env > out/env; printf %s \"$QUOTED\" > out/quoted")
			repo["troy.toml"] += "[build.environment]\nBOTH = \"repository\"\nMINE = \"yes\"\n"
			spec := repo.Spec(t)
			quoted := "a'b\"c $HOME `id`\nline \\ two"
			spec.Variables = map[string]string{"BOTH": "pipeline", "QUOTED": quoted, "shell": "x"}
			e.Succeeds(t, spec)
			out := e.Output(t, spec.Tree)
			if out["quoted"] != quoted {
				t.Fatalf("the value came as %q", out["quoted"])
			}
			for _, want := range []string{"\nCI=true\n", "\nBOTH=pipeline\n", "\nMINE=yes\n", "\nHOME=/", "\nPATH=/", "\nshell=x\n"} {
				if !strings.Contains("\n"+out["env"], want) {
					t.Errorf("%q is missing in:\n%s", want, out["env"])
				}
			}
			for _, secret := range []string{"GOFLAGS=", "LS_COLORS=", "TROY_TEST_HOST="} {
				if strings.Contains(out["env"], secret) {
					t.Errorf("%q has come in from outside", secret)
				}
			}
		},
		"a build knows its commit": func(t *testing.T, e Env) {
			const id = "89abcdef0123456789abcdef0123456789abcdef"
			repo := Shell(makeSite + "; { git rev-parse HEAD; git rev-parse --short HEAD; git rev-parse --abbrev-ref HEAD; git log -1 --format=%s; git config core.hooksPath .husky; } >out/git; " +
				"echo $TROY_COMMIT $TROY_BRANCH $TROY_URL $TROY_DEPLOYMENT $CF_PAGES_COMMIT_SHA >out/env")
			repo["troy.toml"] += "[build.environment]\nTROY_BRANCH = \"mine\"\n"
			spec := repo.Spec(t)
			spec.Variables = map[string]string{"TROY_URL": "mine"} // from before the name was reserved
			spec.Commit = build.Commit{ID: id, Branch: "main", Message: "Say it\n\nmore", Author: "Ada"}
			spec.URL = "https://blog.example"
			e.Succeeds(t, spec)
			out := e.Output(t, spec.Tree)
			if want := id + "\n" + id[:7] + "\nmain\nSay it\n"; out["git"] != want {
				t.Errorf("git answers %q, want %q", out["git"], want)
			}
			if want := fmt.Sprintln(id, "main", "https://blog.example", spec.Tree.Deployment, id); out["env"] != want {
				t.Errorf("the variables are %q, want %q", out["env"], want)
			}
			if log := e.LogOf(t, spec.Tree); !strings.Contains(log, "Commit "+id+" of the branch main.") {
				t.Errorf("the log does not name the commit:\n%s", log)
			} else if !strings.Contains(log, "Troy sets TROY_BRANCH, TROY_URL;") {
				t.Errorf("the log does not name the variables that are ignored:\n%s", log)
			}
		},
		"NODE_ENV is for the build": func(t *testing.T, e Env) {
			repo := Shell(makeSite + "; echo $(cat got) build=$NODE_ENV >out/env")
			repo["troy.toml"] += "install = \"echo install=$NODE_ENV >got\"\n"
			spec := repo.Spec(t)
			spec.Variables = map[string]string{"NODE_ENV": "production"}
			e.Succeeds(t, spec)
			if got := e.Output(t, spec.Tree)["env"]; got != "install= build=production\n" {
				t.Fatalf("the phases saw %q", got)
			}
		},
		"removal forgets it": func(t *testing.T, e Env) {
			spec := Shell(makeSite).Spec(t)
			e.Succeeds(t, spec)
			for range 2 {
				if err := e.Builder.Remove(t.Context(), spec.Tree); err != nil {
					t.Fatalf("Remove: %v", err)
				}
			}
			if _, err := e.Builder.Get(t.Context(), spec.Tree); !errors.Is(err, builder.ErrNotFound) {
				t.Fatalf("Get after Remove: %v, want ErrNotFound", err)
			}
			running := Shell("exec sleep 600").Spec(t)
			running.Tree.Pipeline = spec.Tree.Pipeline
			if err := e.Builder.Start(t.Context(), running); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := e.Builder.Remove(t.Context(), site.Tree{Pipeline: spec.Tree.Pipeline}); err != nil {
					t.Fatalf("Remove of the pipeline: %v", err)
				}
			}
			if _, err := e.Builder.Get(t.Context(), running.Tree); !errors.Is(err, builder.ErrNotFound) {
				t.Fatalf("Get after Remove: %v, want ErrNotFound", err)
			}
		},
		"a build that was never started is not found": func(t *testing.T, e Env) {
			tree := newTree()
			_, getErr := e.Builder.Get(t.Context(), tree)
			_, logErr := e.Builder.Log(t.Context(), tree, "")
			_, artifactErr := e.Builder.Artifact(t.Context(), tree)
			for name, err := range map[string]error{"Get": getErr, "Log": logErr, "Artifact": artifactErr, "Stop": e.Builder.Stop(t.Context(), tree)} {
				if !errors.Is(err, builder.ErrNotFound) {
					t.Errorf("%s: %v, want ErrNotFound", name, err)
				}
			}
		},
		"a spec that can't be built is refused": func(t *testing.T, e Env) {
			bad, nameless := Shell("true").Spec(t), Shell("true").Spec(t)
			bad.Variables = map[string]string{"A B": "secret value"}
			nameless.Tree.Deployment = uuid.Nil
			for _, spec := range []builder.Spec{bad, nameless} {
				err := e.Builder.Start(t.Context(), spec)
				if troy.KindOf(err) != troy.Invalid || strings.Contains(err.Error(), "secret value") {
					t.Fatalf("Start: %v, want Invalid", err)
				}
			}
		},
	}
}
