package buildertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
)

func buildEndTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"a command that fails ends it": func(t *testing.T, e Env) {
			b := e.Fails(t, Shell("echo no >&2; exit 3").Spec(t), "the command of the phase Build ended with exit code 3")
			inOrder(t, phases(b), []string{"Download Source 0", "Build 3"})
		},
		"an earlier line that fails ends it": func(t *testing.T, e Env) {
			e.Fails(t, Shell("\nfalse\n"+makeSite).Spec(t), "exit code 1")
		},
		"a missing command": func(t *testing.T, e Env) {
			e.Fails(t, Shell("no-such-program").Spec(t), "was not found (exit code 127)")
		},
		"a failing test prevents the publication": func(t *testing.T, e Env) {
			repo := Shell(makeSite)
			repo["troy.toml"] += "test = \"exit 4\"\n"
			b := e.Fails(t, repo.Spec(t), "the command of the phase Test ended with exit code 4")
			if len(b.Phases) != 3 {
				t.Fatalf("the phases are %q", phases(b))
			}
		},
		"a missing output": func(t *testing.T, e Env) {
			e.Fails(t, Shell("true").Spec(t), `the output folder "out" is missing`)
		},
		"an empty output": func(t *testing.T, e Env) {
			e.Fails(t, Shell("mkdir out").Spec(t), `the output folder "out" can't be published: it is empty`)
		},
		"too large an output": func(t *testing.T, e Env) {
			spec := Shell(makeSite + "; head -c 3000000 /dev/zero > out/big").Spec(t)
			spec.Limits.OutputBytes = 1 << 20
			e.Fails(t, spec, `the output folder "out" can't be published: `)
		},
		"an output that leads outside": func(t *testing.T, e Env) {
			e.Fails(t, Shell(makeSite+"; ln -s /etc/passwd out/p").Spec(t), `"p" is an absolute link, to "/etc/passwd"`)
			e.Fails(t, Shell("ln -s /etc out").Spec(t), `the output folder "out" is`)
			e.Fails(t, Shell(makeSite+"; mkfifo out/pipe").Spec(t), `pipe" is`)
		},
		"settings that contradict": func(t *testing.T, e Env) {
			e.Fails(t, Repository{"troy.toml": "[build]\ncomand = \"x\"\n"}.Spec(t), "build.comand: ")
		},
		"nothing to build": func(t *testing.T, e Env) {
			e.Fails(t, Repository{"README.md": "hello"}.Spec(t), "found nothing to build")
		},
		"a missing source": func(t *testing.T, e Env) {
			gone, broken := Shell("true").Spec(t), Shell("true").Spec(t)
			gone.Source = func(context.Context, string) (io.ReadCloser, error) {
				return nil, fmt.Errorf("fetch: %w", troy.Errorf(troy.NotFound, "the commit 0123 is gone"))
			}
			broken.Source = func(context.Context, string) (io.ReadCloser, error) { return nil, errors.New("dial 10.1.2.3") }
			e.Fails(t, gone, "the commit 0123 is gone")
			if b := e.Fails(t, broken, "the source could not be fetched"); strings.Contains(b.Cause, "10.1.2.3") {
				t.Fatalf("the cause reveals too much: %q", b.Cause)
			}
		},
		"a source that is not an archive": func(t *testing.T, e Env) {
			spec := Shell("true").Spec(t)
			spec.Source = func(context.Context, string) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(strings.Repeat("no tar", 1000))), nil
			}
			e.Fails(t, spec, "damaged")
		},
		"too long a time": func(t *testing.T, e Env) {
			spec := Shell("trap '' TERM; sleep 600").Spec(t)
			spec.Limits.Time = 2 * time.Second
			b := e.Fails(t, spec, "the build took longer than 2s")
			inOrder(t, phases(b), []string{"Download Source 0", "Build -1"})
		},
		"stopping": func(t *testing.T, e Env) {
			spec := Shell("echo begun; trap '' TERM INT; sleep 600").Spec(t)
			if err := e.Builder.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			e.poll(t, "its output", func() bool { return strings.Contains(e.LogOf(t, spec.Tree), "\nbegun\n") })
			for range 2 {
				if err := e.Builder.Stop(t.Context(), spec.Tree); err != nil {
					t.Fatalf("Stop: %v", err)
				}
			}
			b := e.Wait(t, spec.Tree)
			if b.State != builder.Stopped || b.Ended.IsZero() {
				t.Fatalf("the build is %+v", b)
			}
			if again := e.Build(t, spec); again.State != builder.Stopped {
				t.Fatalf("after another Start it is %s", again.State)
			}
		},
	}
}

func buildLogTests() map[string]func(*testing.T, Env) {
	return map[string]func(*testing.T, Env){
		"the log can be read while it is written": func(t *testing.T, e Env) {
			spec := Shell("echo first; echo second >&2; while [ ! -e out ]; do sleep 0.1; [ -e /tmp/never ] && break; done").Spec(t)
			if err := e.Builder.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			e.poll(t, "its output", func() bool { return strings.Contains(e.LogOf(t, spec.Tree), "\nfirst\nsecond\n") })
			page, err := e.Builder.Log(t.Context(), spec.Tree, "")
			if err != nil || page.End {
				t.Fatalf("the page is %+v, %v", page, err)
			}
			if err := e.Builder.Stop(t.Context(), spec.Tree); err != nil {
				t.Fatal(err)
			}
		},
		"pages put together are the log": func(t *testing.T, e Env) {
			spec := Shell("seq 1 200000; " + makeSite).Spec(t)
			e.Succeeds(t, spec)
			log := e.LogOf(t, spec.Tree)
			var numbers strings.Builder
			for i := range 200000 {
				fmt.Fprintln(&numbers, i+1)
			}
			if !strings.Contains(log, numbers.String()) {
				t.Fatalf("a part of the output is missing in a log of %d bytes", len(log))
			}
			for _, cursor := range []string{"x", "-1", "9999999999999999999999"} {
				if _, err := e.Builder.Log(t.Context(), spec.Tree, cursor); troy.KindOf(err) != troy.Invalid {
					t.Errorf("Log from %q: %v, want Invalid", cursor, err)
				}
			}
		},
		"a log that is too long ends it": func(t *testing.T, e Env) {
			spec := Shell("yes 'line after line'").Spec(t)
			spec.Limits.LogBytes = 1 << 20
			e.Fails(t, spec, "the log passed 1 MiB")
			if n := len(e.LogOf(t, spec.Tree)); n < 1<<20 || n > 1<<20+64<<10 {
				t.Fatalf("the log has %d bytes", n)
			}
		},
		"secrets are redacted": func(t *testing.T, e Env) {
			if !e.Redacts {
				t.Skip("the reader of this builder's log redacts it")
			}
			spec := Shell("echo before $TOKEN after; " + makeSite).Spec(t)
			spec.Variables = map[string]string{"TOKEN": "s3cret-value"}
			spec.Redact = func(w io.Writer) io.WriteCloser {
				return &redactor{w: w, secret: "s3cret-value"}
			}
			e.Succeeds(t, spec)
			if log := e.LogOf(t, spec.Tree); strings.Contains(log, "s3cret") || !strings.Contains(log, "before [***] after") {
				t.Fatalf("the log is:\n%s", log)
			}
		},
		"the settings' commands are not run twice for a phase": func(t *testing.T, e Env) {
			spec := Repository{"a.txt": "x"}.Spec(t)
			spec.Settings = build.Settings{Build: makeSite + "; echo run", Output: "out"}
			e.Succeeds(t, spec)
			if n := strings.Count(e.LogOf(t, spec.Tree), "\nrun\n"); n != 1 {
				t.Fatalf("it ran %d times", n)
			}
		},
	}
}

// redactor buffers everything until it is closed, the extreme case.
type redactor struct {
	w      io.Writer
	secret string
	held   bytes.Buffer
}

func (r *redactor) Write(p []byte) (int, error) { return r.held.Write(p) }

func (r *redactor) Close() error {
	_, err := r.w.Write(bytes.ReplaceAll(r.held.Bytes(), []byte(r.secret), []byte("[***]")))
	return err
}
