package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDocumentsRun runs the shell blocks of README.md and docs/*.md in the
// order written, each document in its own shell, against one fresh troyd
// dev in a folder like the repository's after make run. It compares exit
// statuses and output with the documents:
//
//   - In a block sh, each command has to end with exit status 0.
//   - In a block console, the lines after "$ " are commands, and the lines
//     below are their whole output; "…" stands for anything in a line, and
//     alone on a line for any lines. The output of a command without such
//     lines is not checked. A comment "# exit status 5" after a command gives
//     its exit status.
//   - <!-- not run: reason --> above a block skips it, and
//     <!-- printed by make run --> above one compares it with troyd dev's
//     output.
//
// The documents' addresses 127.0.0.1:8080 and :8081 stand for the test's.
func TestDocumentsRun(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	d := newDocs(t)
	ran, skipped, failed := 0, 0, 0
	for _, file := range append([]string{"../README.md"}, files...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := blocksOf(strings.TrimPrefix(file, "../"), string(text))
		if err != nil {
			t.Error(err)
			failed++
		}
		for _, b := range blocks {
			switch {
			case b.skip != "":
				skipped++
				t.Logf("not run: %s:%d: %s", b.file, b.line, b.skip)
			case !b.printed:
				ran++
			}
		}
		for _, f := range d.run(blocks) {
			failed++
			t.Error(f)
		}
	}
	t.Logf("%d blocks run, %d not run, %d failed", ran, skipped, failed)
	if ran == 0 {
		t.Error("no block was run")
	}

	// A wrong document is noticed, with the line.
	for text, want := range map[string]string{
		"# x\n\n```sh\ntrue\nbin/troy rolback blog\n```\n":                                "wrong.md:5: `bin/troy rolback blog`: exit status 2, the document promises 0",
		"```console\n$ echo one; echo two\none\nthree\n```\n":                             "wrong.md:2: `echo one; echo two`: it printed",
		"```console\n$ echo one\n$ echo two\none\n```\n":                                  "wrong.md:3: `echo two`: it printed",
		"```console\n$ true # exit status 3\n```\n":                                       "wrong.md:2: `true # exit status 3`: exit status 0, the document promises 3",
		"```sh\nif true\n```\n":                                                           "wrong.md:2: `if true`: exit status",
		"```sh\nexit\necho after\n```\n":                                                  "wrong.md:3: `echo after`: it was not reached",
		"```\nAPI:         http://127.0.0.1:8080\n```\n\n```sh\nbin/troy nonsense\n```\n": "wrong.md:6: `bin/troy nonsense`: exit status 2",
		"<!-- printed by make run -->\n```\nAPI:         ftp://127.0.0.1:8080\n```\n":     "wrong.md:2: troyd dev printed",
	} {
		blocks, err := blocksOf("wrong.md", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.run(blocks); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("of\n%s\nthe test says %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"<!-- not run: -->\n```sh\ntrue\n```\n", "```sh\ntrue\n", "<!-- not run: nothing follows here -->\ntext\n"} {
		if _, err := blocksOf("wrong.md", text); err == nil {
			t.Errorf("not refused:\n%s", text)
		}
	}
}

// block is a fenced block of a document.
type block struct {
	file    string
	line    int // of the fence
	console bool
	lines   []string
	skip    string // why it is skipped
	printed bool   // it is troyd dev's output
}

var (
	fence     = regexp.MustCompile("^\\s*```\\s*(\\S*)\\s*$")
	notRun    = regexp.MustCompile(`^\s*<!-- not run: (.{10,}) -->\s*$`)
	printedBy = regexp.MustCompile(`^\s*<!-- printed by make run -->\s*$`)
)

// blocksOf returns a document's shell blocks and marked blocks.
func blocksOf(file, text string) ([]block, error) {
	var out []block
	var open *block
	shell := false
	above := block{} // the comment above the next block
	for i, line := range strings.Split(text, "\n") {
		f := fence.FindStringSubmatch(line)
		switch {
		case open != nil && f != nil && f[1] == "":
			if shell || open.printed {
				out = append(out, *open)
			}
			open, above = nil, block{}
		case open != nil:
			open.lines = append(open.lines, line)
		case f != nil:
			shell = slices.Contains([]string{"sh", "shell", "bash", "console"}, f[1])
			if above.skip != "" && !shell {
				return out, fmt.Errorf("%s:%d: a block that is not shell is never run", file, i+1)
			}
			open = &block{file: file, line: i + 1, console: f[1] == "console", skip: above.skip, printed: above.printed}
		case notRun.MatchString(line):
			above.skip = notRun.FindStringSubmatch(line)[1]
		case printedBy.MatchString(line):
			above.printed = true
		case strings.Contains(line, "<!-- not run") || strings.TrimSpace(line) != "" && (above.skip != "" || above.printed):
			return out, fmt.Errorf("%s:%d: <!-- not run: reason --> must be right above a block and give a reason", file, i+1)
		}
	}
	if open != nil {
		return out, fmt.Errorf("%s:%d: the block has no end", file, open.line)
	}
	return out, nil
}

// command is one command of a block.
type command struct {
	file   string
	line   int
	text   string
	status int
	prints []string // nil: anything
}

var promised = regexp.MustCompile(`# exit status (\d+)\s*$`)

// commands splits a block.
func (b block) commands() []command {
	var out []command
	for i, line := range b.lines {
		n := b.line + 1 + i
		text, isCommand := strings.CutPrefix(strings.TrimLeft(line, " "), "$ ")
		last := len(out) - 1
		switch {
		case b.console && isCommand:
			out = append(out, command{file: b.file, line: n, text: text})
		case b.console && last >= 0 && (strings.HasSuffix(out[last].text, "\\") && out[last].prints == nil):
			out[last].text += "\n" + strings.TrimPrefix(line, "> ")
		case b.console && last >= 0:
			out[last].prints = append(out[last].prints, line)
		case b.console:
		case last >= 0 && !complete(out[last].text):
			out[last].text += "\n" + line
		case strings.TrimSpace(line) != "" && !strings.HasPrefix(strings.TrimSpace(line), "#"):
			out = append(out, command{file: b.file, line: n, text: line})
		}
	}
	for i := range out {
		if m := promised.FindStringSubmatch(out[i].text); m != nil {
			out[i].status, _ = strconv.Atoi(m[1]) // digits
		}
	}
	return out
}

// complete reports whether a text is a complete command for bash.
func complete(text string) bool {
	if strings.HasSuffix(text, "\\") {
		return false
	}
	said, err := exec.Command("bash", "-n", "-c", text).CombinedOutput()
	return err == nil && len(said) == 0 || !bytes.Contains(said, []byte("unexpected end of file")) && !bytes.Contains(said, []byte("here-document")) &&
		!bytes.Contains(said, []byte("looking for matching"))
}

// docs is a repository after make run, as its documents see it.
type docs struct {
	t         *testing.T
	dir       string
	web, edge string
	said      string // troyd dev's output
}

func newDocs(t *testing.T) *docs {
	t.Helper()
	dir, err := os.MkdirTemp("", "troy-docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// Postgres, which does not run as root, must pass through.
	if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(filepath.Join(dir, "bin"), 0o755), os.Mkdir(filepath.Join(dir, "home"), 0o755),
		os.CopyFS(filepath.Join(dir, "examples"), os.DirFS("../examples"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"troy", "troyd"} {
		if err := os.Symlink(filepath.Join(binaries, name), filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	d := &docs{t: t, dir: dir, web: freeAddress(t), edge: freeAddress(t)}
	cmd := exec.Command(filepath.Join(dir, "bin", "troyd"), "dev", "--sample", "examples/site")
	cmd.Dir, cmd.Env = dir, append(d.env(), "TROY_ADDR="+d.web, "TROY_EDGE_ADDR="+d.edge, "TROY_PROPAGATION_DELAY=100ms")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	live := make(chan string, 1)
	go func() {
		defer close(ended)
		said := ""
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			said += scanner.Text() + "\n"
			if strings.HasPrefix(scanner.Text(), "Site live:") {
				live <- said
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("troyd dev did not stop")
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("troyd dev:\n%s", log.tail(40))
		}
	})
	select {
	case d.said = <-live:
	case <-ended:
		t.Fatalf("troyd dev ended: %s", log.tail(40))
	case <-time.After(2 * time.Minute):
		t.Fatalf("no sample site in time: %s", log.tail(40))
	}
	return d
}

// env is the environment of a user who has just cloned the repository.
func (d *docs) env() []string {
	return []string{
		"PATH=" + filepath.Join(d.dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + filepath.Join(d.dir, "home"), "LANG=C.UTF-8", "TERM=dumb",
		"TROY_URL=http://" + d.web, // the test replaces the documents' addresses
	}
}

// here replaces a document's addresses by the test's, and back.
func (d *docs) here(text string) string {
	text = strings.NewReplacer("127.0.0.1:8080", d.web, "127.0.0.1:8081", d.edge).Replace(text)
	return strings.ReplaceAll(text, ":8081", portOf(d.edge))
}

func (d *docs) there(text string) string {
	text = strings.NewReplacer(d.web, "127.0.0.1:8080", d.edge, "127.0.0.1:8081").Replace(text)
	return strings.ReplaceAll(text, portOf(d.edge), ":8081")
}

func portOf(address string) string { return address[strings.LastIndex(address, ":"):] }

// run runs the blocks of one document in one shell and returns the differences.
func (d *docs) run(blocks []block) []string {
	d.t.Helper()
	var all []command
	var failures []string
	for _, b := range blocks {
		switch {
		case b.skip != "":
		case b.printed:
			if !matches(b.lines, d.there(d.said)) {
				failures = append(failures, fmt.Sprintf("%s:%d: troyd dev printed\n%s\nthe document promises\n%s", b.file, b.line, d.there(d.said), strings.Join(b.lines, "\n")))
			}
		default:
			all = append(all, b.commands()...)
		}
	}
	if len(all) == 0 {
		return failures
	}
	work, err := os.MkdirTemp(d.dir, "run-")
	if err != nil {
		d.t.Fatal(err)
	}
	at := func(i int, what string) string { return filepath.Join(work, fmt.Sprintf("%03d.%s", i, what)) }
	var script strings.Builder
	for i, c := range all {
		if err := os.WriteFile(at(i, "sh"), []byte(d.here(c.text)), 0o600); err != nil {
			d.t.Fatal(err)
		}
		// In this shell, so that variables stay set.
		fmt.Fprintf(&script, "eval \"$(cat %s)\" >%s 2>&1 </dev/null; echo $? >%s\n", at(i, "sh"), at(i, "out"), at(i, "status"))
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script.String())
	shell.Dir, shell.Env = d.dir, d.env()
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	shell.WaitDelay = 5 * time.Second
	ended := shell.Run() // the statuses of its commands count
	for i, c := range all {
		if f := d.look(c, at(i, "out"), at(i, "status")); f != "" {
			failures = append(failures, f)
		}
	}
	if ctx.Err() != nil {
		failures = append(failures, fmt.Sprintf("%s did not end in time: %v", all[0].file, ended))
	}
	return failures
}

// look compares a command's result with its document.
func (d *docs) look(c command, outFile, statusFile string) string {
	where := fmt.Sprintf("%s:%d: `%s`: ", c.file, c.line, c.text)
	out, outErr := os.ReadFile(outFile)
	text, statusErr := os.ReadFile(statusFile)
	switch {
	case errors.Is(outErr, os.ErrNotExist):
		return where + "it was not reached"
	case statusErr != nil:
		if c.text == "exit" { // the shell's last action
			return ""
		}
		return where + "it did not end; it printed\n" + string(out)
	}
	said := strings.TrimRight(d.there(string(out)), "\n")
	if status := strings.TrimSpace(string(text)); status != strconv.Itoa(c.status) {
		return where + fmt.Sprintf("exit status %s, the document promises %d; it printed\n%s", status, c.status, said)
	}
	if c.prints != nil && !matches(c.prints, said) {
		return where + fmt.Sprintf("it printed\n%s\nthe document promises\n%s", said, strings.Join(c.prints, "\n"))
	}
	return ""
}

// matches compares an output with lines in which "…" is anything.
func matches(want []string, text string) bool {
	var form strings.Builder
	form.WriteString(`\A`)
	for _, line := range want {
		line = strings.TrimSpace(line)
		if line == "…" {
			form.WriteString(`(?:.*\n)*`)
			continue
		}
		form.WriteString(`\s*` + strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `[ \t]*\n`)
	}
	form.WriteString(`\z`)
	return regexp.MustCompile(form.String()).MatchString(strings.TrimRight(text, "\n") + "\n")
}
