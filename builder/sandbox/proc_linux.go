package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// process is the used part of /proc/PID/stat (proc_pid_stat(5)).
type process struct {
	pid, parent, threads int
	dead                 bool // but not reaped yet
}

// processes lists the machine's visible processes.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var all []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		if err != nil {
			continue // gone meanwhile
		}
		// The name is in parentheses and may contain any.
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
		if len(fields) < 18 {
			continue
		}
		parent, _ := strconv.Atoi(string(fields[1]))
		threads, _ := strconv.Atoi(string(fields[17]))
		state := fields[0][0]
		all = append(all, process{pid: pid, parent: parent, threads: threads, dead: state == 'Z' || state == 'X'})
	}
	return all, nil
}

// memoryOf returns a process's own memory: shared memory is not counted for
// each process (proc_pid_statm(5)).
func memoryOf(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(data), &size, &resident, &shared); err != nil {
		return 0
	}
	return (resident - shared) * int64(os.Getpagesize())
}

// sharedMemory adds up memory that belongs to no single process: mapped files,
// and open files without a name (memfd_create(2)).
type sharedMemory struct {
	mapped int64
	files  map[[2]uint64]int64 // bytes by device and inode
}

// bytes is the larger of the two, since most files are also mapped. So the real
// figure may be up to twice as high.
func (s *sharedMemory) bytes() int64 {
	var open int64
	for _, n := range s.files {
		open += n
	}
	return max(s.mapped, open)
}

func (s *sharedMemory) add(pid int) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return // gone meanwhile
	}
	if _, after, ok := bytes.Cut(status, []byte("\nRssShmem:")); ok {
		var kib int64
		if _, err := fmt.Sscan(string(after[:min(len(after), 40)]), &kib); err == nil {
			s.mapped += kib << 10
		}
	}
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		return
	}
	for _, fd := range fds {
		name, err := os.Readlink(dir + "fd/" + fd.Name())
		if err != nil || !strings.HasPrefix(name, "/memfd:") {
			continue
		}
		var stat syscall.Stat_t
		if err := syscall.Stat(dir+"fd/"+fd.Name(), &stat); err == nil {
			s.files[[2]uint64{stat.Dev, stat.Ino}] = stat.Blocks * 512
		}
	}
}

// usageOfTree adds up a process and its descendants. In a sandbox that is every
// process: bubblewrap's init adopts orphans.
func usageOfTree(root int) (usage, error) {
	all, err := processes()
	if err != nil {
		return usage{}, err
	}
	children := map[int][]process{}
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
	}
	var u usage
	shared := sharedMemory{files: map[[2]uint64]int64{}}
	for wave := []int{root}; len(wave) > 0; {
		var next []int
		for _, parent := range wave {
			for _, p := range children[parent] {
				u.processes += p.threads
				u.memory += memoryOf(p.pid)
				shared.add(p.pid)
				next = append(next, p.pid)
			}
		}
		wave = next
	}
	u.memory += shared.bytes()
	return u, nil
}

// inNamespaceOf lists the processes in the process namespace of first and in
// namespaces below it. A process that entered from outside and lost its parent
// is not first's child.
func inNamespaceOf(first int) ([]int, error) {
	link := func(pid int) string {
		name, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)) // none for a process that has just died
		return name
	}
	namespace := link(first)
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var found []int
	for _, p := range all {
		if p.pid != first && !p.dead && (p.parent == first || namespace != "" && link(p.pid) == namespace) {
			found = append(found, p.pid)
		}
	}
	return found, nil
}

// marked lists the processes whose environment begins with the mark. It finds
// those that left their group and session, and lost their parents.
func marked(mark string) ([]process, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	var found []process
	for _, p := range all {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if err == nil && bytes.Contains(append([]byte{0}, data...), []byte("\x00"+mark+"\x00")) {
			found = append(found, p)
		}
	}
	return found, nil
}

func usageOfMarked(mark string) (usage, error) {
	found, err := marked(mark)
	var u usage
	for _, p := range found {
		u.processes += p.threads
		u.memory += memoryOf(p.pid)
	}
	return u, err
}

// killRounds bounds the searches for more processes to kill: a process may fork
// between being seen and being killed.
const killRounds = 100

// killMarked kills a command's group and every other process with the mark.
func killMarked(cmd *exec.Cmd, mark string) {
	// An error means that it has already ended.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	for range killRounds {
		found, err := marked(mark)
		if err != nil || len(found) == 0 {
			return
		}
		for _, p := range found {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
}

// ownGroup makes a command the leader of its own group that dies with the
// thread that starts it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
