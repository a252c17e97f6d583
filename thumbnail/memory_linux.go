package thumbnail

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// maxMemory is the memory that Chromium and its processes may use, in bytes.
	maxMemory = 1 << 30
	// memoryPoll is the interval of the checks.
	memoryPoll = 200 * time.Millisecond
)

// watchMemory calls exceeded once the process and its descendants use more than
// maxMemory. It returns when it has called it, or when the context ends.
func watchMemory(ctx context.Context, pid int, exceeded func()) {
	ticker := time.NewTicker(memoryPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if memoryOf(pid) > maxMemory {
			exceeded()
			return
		}
	}
}

// memoryOf adds up the memory of a process and its descendants, without mapped
// files. Memory that several processes share counts for each of them.
func memoryOf(pid int) (total int64) {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if parent, ok := parentOf(child); ok {
			children[parent] = append(children[parent], child)
		}
	}
	for family := []int{pid}; len(family) > 0; {
		next := family[0]
		family = append(family[1:], children[next]...)
		total += resident(next)
	}
	return total
}

// parentOf returns a process's parent (proc_pid_stat(5)).
func parentOf(pid int) (parent int, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false // the process has ended
	}
	// The name is in parentheses and may contain any.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return parent, err == nil
}

// resident returns a process's anonymous and shared memory in RAM
// (proc_pid_status(5)).
func resident(pid int) (total int64) {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name != "RssAnon" && name != "RssShmem" {
			continue
		}
		var kib int64
		if _, err := fmt.Sscan(value, &kib); err == nil {
			total += kib << 10
		}
	}
	return total
}
