package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// tableVariable names the page that the results are written to.
	tableVariable = "TROY_BENCH_TABLE"
	tableBegin    = "<!-- make bench writes this table -->\n"
	tableEnd      = "<!-- end -->\n"
	tableHead     = "| what | Troy | beside it | ratio | goal | load | when |\n|---|---|---|---|---|---|---|\n"
)

// tableRows are the rows that this run's benchmarks have added.
var tableRows []string

func TestMain(m *testing.M) {
	code := m.Run()
	endBinaries()
	if page := os.Getenv(tableVariable); page != "" && len(tableRows) > 0 {
		if err := writeTable(page, tableRows); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// result is a row of the table: a measurement of Troy, what was measured beside
// it in the same run, their ratio, and the goal.
type result struct{ what, ours, theirs, ratio, goal string }

// add prints the result and adds it to the table.
func (r result) add(b *testing.B) {
	b.Helper()
	row := fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", r.what, r.ours, r.theirs, r.ratio, r.goal, loadAverage(), time.Now().Format(time.DateOnly))
	fmt.Print(row)
	tableRows = append(tableRows, row)
}

// pair is a result of two series of durations that took turns.
func pair(what string, ours []time.Duration, tool string, theirs []time.Duration, goal string) result {
	return result{what, spread(ours), tool + ": " + spread(theirs), ratioOf(ours, theirs), goal}
}

// spread is the median of a series, with its least and greatest value.
func spread(times []time.Duration) string {
	if len(times) == 1 {
		return seconds(times[0])
	}
	return fmt.Sprintf("%s (%s to %s)", seconds(medianOf(times)), seconds(slices.Min(times)), seconds(slices.Max(times)))
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func ratioOf(ours, theirs []time.Duration) string {
	return fmt.Sprintf("%.2f", medianOf(ours).Seconds()/medianOf(theirs).Seconds())
}

func medianOf(times []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(times))[len(times)/2]
}

// loadAverage is the machine's load average over the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "–"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// machine describes this machine in a sentence.
func machine() string {
	read := func(file, pattern string) string {
		text, _ := os.ReadFile(file)
		if m := regexp.MustCompile(pattern).FindSubmatch(text); m != nil {
			return string(m[1])
		}
		return "unknown"
	}
	kernel, _ := exec.Command("uname", "-sr").Output()
	return fmt.Sprintf("The last run had %d cores (%s), %s kB of memory, %s and %s.", runtime.NumCPU(),
		read("/proc/cpuinfo", `model name\s*: (.*)`), read("/proc/meminfo", `MemTotal:\s*(\d+)`), bytes.TrimSpace(kernel), runtime.Version())
}

// writeTable replaces the rows of the page's table that measure the same, and
// adds the others. A run of some benchmarks keeps the rows of the others.
func writeTable(page string, rows []string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	old, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		return fmt.Errorf("%s lacks %q or %q, between which the table belongs", page, strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	_, kept, _ := strings.Cut(old, tableHead)
	all := slices.Collect(strings.Lines(strings.TrimSpace(kept) + "\n"))
	all = slices.DeleteFunc(all, func(row string) bool { return !strings.HasPrefix(row, "|") })
	for _, row := range rows {
		same := func(other string) bool { return subject(other) == subject(row) }
		if i := slices.IndexFunc(all, same); i >= 0 {
			all[i] = row
		} else {
			all = append(all, row)
		}
	}
	written := before + tableBegin + machine() + "\n\n" + tableHead + strings.Join(all, "") + tableEnd + after
	f, err := os.CreateTemp(filepath.Dir(page), ".benchmarks-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(written)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), page)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// subject is what a row measures.
func subject(row string) string { return strings.SplitN(row, "|", 3)[1] }

// A run replaces its rows and keeps the others, and the rest of the page.
func TestWriteTable(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := os.WriteFile(page, []byte("before\n"+tableBegin+tableEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, rows := range [][]string{{"| one | 1 |\n", "| two | 1 |\n"}, {"| two | 2 |\n", "| three | 2 |\n"}} {
		if err := writeTable(page, rows); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if want := tableHead + "| one | 1 |\n| two | 2 |\n| three | 2 |\n" + tableEnd + "after\n"; !strings.HasPrefix(string(text), "before\n") || !strings.HasSuffix(string(text), want) {
		t.Errorf("the page is:\n%s\nexpected the end:\n%s", text, want)
	}
	if err := os.WriteFile(page, []byte("no markers"), 0o600); err != nil {
		t.Fatal(err)
	}
	if writeTable(page, []string{"| one |\n"}) == nil {
		t.Error("a page without markers was accepted")
	}
}
