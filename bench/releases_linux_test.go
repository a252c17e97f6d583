package bench

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roundsVariable is how often each pair of measurements is made, 3 if not set;
// the median counts.
const roundsVariable = "TROY_BENCH_ROUNDS"

func rounds(b *testing.B) int {
	b.Helper()
	text := cmp.Or(os.Getenv(roundsVariable), "3")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s: %q is not a positive number", roundsVariable, text)
	}
	return n
}

// BenchmarkRelease releases trees with the CLI to a Troy on this machine, from
// the start of the command until the site is live: first, again without a
// change, and with one file in a hundred changed. Beside it cp copies the same
// folder and syncs its file system, and find prints what the inodes say. All
// take turns.
func BenchmarkRelease(b *testing.B) {
	trees := []tree{pagesTree, smallTree, hugeTree, tinyTree}
	if dir := os.Getenv(siteVariable); dir != "" {
		trees = []tree{{name: "the folder " + filepath.Base(dir), dir: dir}}
	}
	in := install(b, nil)
	for _, t := range trees {
		b.Run(strings.ReplaceAll(t.name, " ", "-"), func(b *testing.B) {
			dir, copies := t.write(b), b.TempDir()
			var first, again, changed, copied, found []time.Duration
			for round := range rounds(b) {
				syncFileSystem(b, dir)
				to := filepath.Join(copies, fmt.Sprint(round))
				begun := time.Now()
				timed(b, exec.CommandContext(b.Context(), "cp", "-r", dir, to))
				syncFileSystem(b, copies)
				copied = append(copied, time.Since(begun))

				slug, cache := in.pipeline(), b.TempDir()
				took, _ := in.release(dir, slug, cache)
				first = append(first, took)

				syncFileSystem(b, dir)
				found = append(found, timed(b, exec.CommandContext(b.Context(), "find", dir, "-printf", `%p %s %T@ %C@ %i\n`)))
				took, _ = in.release(dir, slug, cache)
				again = append(again, took)

				if t.dir == "" && t.files >= 100 {
					t.change(b, dir, uint64(round))
					took, _ = in.release(dir, slug, cache)
					changed = append(changed, took)
				}
			}
			pair("first release of "+t.name, first, "`cp -r` and `syncfs`", copied, firstGoals[t.name]).add(b)
			pair("again, nothing changed: "+t.name, again, "`find -printf`", found, againGoals[t.name]).add(b)
			if len(changed) > 0 {
				pair("again, 1 % changed: "+t.name, changed, "the first release", first, "≤ 0.05").add(b)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// The goals of some trees; others have none.
var (
	firstGoals = map[string]string{pagesTree.name: "≤ 1.0", smallTree.name: "≤ 0.35"}
	againGoals = map[string]string{smallTree.name: "≤ 3, and ≤ 1 s"}
)

// BenchmarkReleaseToS3 releases trees with the CLI to a Troy whose files are on
// an S3 server, beside rclone and s5cmd, which copy the same folder to the same
// server. All take turns.
func BenchmarkReleaseToS3(b *testing.B) {
	rclone, s5cmd := otherTools(b)
	o := newObject(b, 0)
	in := install(b, o.settings())
	for _, t := range []tree{pagesTree, smallTree} {
		b.Run(strings.ReplaceAll(t.name, " ", "-"), func(b *testing.B) {
			dir := t.write(b)
			var ours, theirs, fives []time.Duration
			for range rounds(b) {
				syncFileSystem(b, dir)
				theirs = append(theirs, timed(b, o.rclone(b, rclone, dir)))
				syncFileSystem(b, dir)
				took, _ := in.release(dir, in.pipeline(), b.TempDir())
				ours = append(ours, took)
				syncFileSystem(b, dir)
				fives = append(fives, timed(b, o.s5cmd(b, s5cmd, dir)))
			}
			pair("to S3 (versitygw), beside rclone: "+t.name, ours, "`rclone copy`, 64 at a time", theirs, "≤ 0.3").add(b)
			pair("to S3 (versitygw), beside s5cmd: "+t.name, ours, "`s5cmd cp`, 64 at a time", fives, "≤ 0.9").add(b)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkReleaseAtDistance releases 10,000 files through a proxy that delays
// what passes, with round trips of 0, 20 and 100 ms, beside rclone, which copies
// the same folder to an S3 server through such a proxy.
func BenchmarkReleaseAtDistance(b *testing.B) {
	rclone, _ := otherTools(b)
	in := install(b, nil)
	dir := manyTree.write(b)
	for _, roundTrip := range []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(roundTrip.String(), func(b *testing.B) {
			o := newObject(b, roundTrip)
			in.cliURL = "http://" + delayed(b, in.address, roundTrip)
			if roundTrip == 0 {
				in.cliURL = "http://" + in.address
			}
			var ours, theirs []time.Duration
			for range rounds(b) {
				syncFileSystem(b, dir)
				theirs = append(theirs, timed(b, o.rclone(b, rclone, dir)))
				syncFileSystem(b, dir)
				took, _ := in.release(dir, in.pipeline(), b.TempDir())
				ours = append(ours, took)
			}
			goal := ""
			if roundTrip == 100*time.Millisecond {
				goal = "≤ 0.2"
			}
			pair(fmt.Sprintf("%s, a round trip takes %d ms", manyTree.name, roundTrip.Milliseconds()), ours, "`rclone copy` to versitygw, 64 at a time", theirs, goal).add(b)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkReleaseMemory measures the peaks of the resident memory of the server
// and the CLI during the first release of 100,000 files.
func BenchmarkReleaseMemory(b *testing.B) {
	in := install(b, nil)
	dir := tinyTree.write(b)
	slug := in.pipeline()
	idle := in.memory(b, "VmRSS")
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", in.process.Process.Pid), []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
	_, cli := in.release(dir, slug, b.TempDir())
	peak := in.memory(b, "VmHWM")
	result{"peak of the server's resident memory over idle, " + tinyTree.name, fmt.Sprintf("%.0f MiB", peak-idle), fmt.Sprintf("idle: %.0f MiB", idle), "", "≤ 96 MiB"}.add(b)
	usage := cli.SysUsage().(*syscall.Rusage)
	result{"peak of the CLI's resident memory, " + tinyTree.name, fmt.Sprintf("%.0f MiB", float64(usage.Maxrss)/1024), "", "", "≤ 128 MiB"}.add(b)
	b.ReportMetric(0, "ns/op")
}

// memory returns a value of /proc/PID/status of troyd in MiB.
func (in *installation) memory(b *testing.B, name string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.process.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}

// otherTools returns the programs to compare with.
func otherTools(b *testing.B) (rclone, s5cmd string) {
	b.Helper()
	rclone, err := exec.LookPath("rclone")
	if err != nil {
		b.Skip("rclone is not installed; make deps-bench installs it")
	}
	out, err := exec.CommandContext(b.Context(), "go", "tool", "-modfile=../tools/bench/go.mod", "-n", "s5cmd").Output()
	if err != nil {
		b.Fatalf("build s5cmd: %v\n%s", err, out)
	}
	return rclone, strings.TrimSpace(string(out))
}
