package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// idleVariable is the duration of BenchmarkIdle.
	idleVariable = "TROY_BENCH_IDLE"
	// idleWarm is the pause after the start, in which what it started ends.
	idleWarm = 15 * time.Second
	// clockTicks is the number of ticks a second in /proc (sysconf(_SC_CLK_TCK),
	// which is 100 on every Linux that Go supports).
	clockTicks = 100
)

// BenchmarkIdle measures the CPU time of an idle `troyd dev` with its sample
// site, its Postgres and its Redis.
func BenchmarkIdle(b *testing.B) {
	length := time.Minute
	if text := os.Getenv(idleVariable); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			b.Fatalf("%s: %v; expected a duration like 10m", idleVariable, err)
		}
	}
	sample, err := filepath.Abs("../examples/site")
	if err != nil {
		b.Fatal(err)
	}
	in := install(b, nil, "--sample", sample)
	<-time.After(idleWarm)
	before := cpuTimes(b, in.process.Process.Pid)
	<-time.After(length)
	after := cpuTimes(b, in.process.Process.Pid)
	var parts []string
	total := 0.0
	for _, name := range []string{"troyd", "postgres", "redis-server"} {
		share := 100 * (after[name] - before[name]).Seconds() / length.Seconds()
		parts = append(parts, fmt.Sprintf("%s %.2f %%", name, share))
		total += share
	}
	result{"CPU of an idle `troyd dev`, of one core, over " + length.String(), fmt.Sprintf("%.2f %%", total), strings.Join(parts, ", "), "", "≤ 1 %"}.add(b)
	b.ReportMetric(0, "ns/op")
}

// cpuTimes returns the CPU time of a process and those that it started, by the
// names of their programs. Processes that ended count for their parent.
func cpuTimes(b *testing.B, root int) map[string]time.Duration {
	b.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	type process struct {
		name   string
		parent int
		used   time.Duration
	}
	all := map[int]process{}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		// The name is in parentheses and may contain some itself (proc(5)).
		open, shut := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
		fields := strings.Fields(string(text[shut+1:]))
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || len(fields) < 15 {
			b.Fatalf("%s: %q", file, text)
		}
		number := func(i int) int {
			n, err := strconv.Atoi(fields[i])
			if err != nil {
				b.Fatalf("%s: %v", file, err)
			}
			return n
		}
		ticks := number(11) + number(12) + number(13) + number(14) // utime, stime, cutime, cstime
		all[id] = process{string(text[open+1 : shut]), number(1), time.Duration(ticks) * time.Second / clockTicks}
	}
	times := map[string]time.Duration{}
	for id, p := range all {
		for at := id; at != 0; at = all[at].parent {
			if at == root {
				times[p.name] += p.used
				break
			}
		}
	}
	return times
}
