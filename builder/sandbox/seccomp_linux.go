package sandbox

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// refusedCalls are system calls that a build does not need and that reach parts
// of the kernel with few or no namespaces: keyrings, which builds of one user
// id would share, tracing, and the administration of the machine. Calls that
// need a capability fail without it anyway.
func refusedCalls() []uint32 {
	return []uint32{
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE, unix.SYS_KCMP,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_SETNS, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_ACCT,
		unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_REBOOT,
		unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SYSLOG, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_VHANGUP,
	}
}

// families are the socket families that a build may use. Others bypass the
// network namespace, as AF_VSOCK does, or reach rarely used code.
func families() []uint32 {
	return []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
}

// architectures lists the filter's architectures (linux/audit.h).
var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// FiltersCalls reports whether isolated builds have their system calls filtered
// on this machine.
func FiltersCalls() bool {
	_, ok := architectures[runtime.GOARCH]
	return ok
}

// unfiltered explains that builds run without the filter; it is empty if they
// have it.
func (b *Builder) unfiltered() string {
	if _, ok := architectures[b.arch]; ok || b.cfg.Isolation == NoIsolation {
		return ""
	}
	return "System calls are not filtered, because there is no filter for " + b.arch + ": the build reaches more of the kernel than on amd64 and arm64."
}

// x32 is the bit that marks the calls of amd64's ABI with 32-bit pointers,
// which have other numbers.
const x32 = 0x40000000

// Offsets in the kernel's struct seccomp_data (seccomp(2)).
const (
	dataCall      = 0
	dataArch      = 4
	dataFirstArg  = 16
	refuse        = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown       = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	unknownFamily = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
)

// seccompFilter returns the program that checks a build's system calls
// (seccomp(2)), in the format of bwrap --seccomp. shared allows System V shared
// memory: only a control group counts it.
func seccompFilter(arch uint32, shared bool) ([]byte, error) {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		bpf.RetConstant{Val: unknown},
		bpf.LoadAbsolute{Off: dataCall, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1},
		bpf.RetConstant{Val: unknown},
	}
	// The C library falls back to clone, whose flags the filter can see.
	program = append(program, onCall(unix.SYS_CLONE3, bpf.RetConstant{Val: unknown})...)
	for _, call := range refusedCalls() {
		program = append(program, onCall(call, bpf.RetConstant{Val: refuse})...)
	}
	if !shared {
		program = append(program, onCall(unix.SYS_SHMGET, bpf.RetConstant{Val: unknown})...)
	}
	for _, call := range []uint32{unix.SYS_CLONE, unix.SYS_UNSHARE} {
		program = append(program, onCall(call,
			bpf.LoadAbsolute{Off: dataFirstArg, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_NEWUSER, SkipFalse: 1},
			bpf.RetConstant{Val: refuse},
			bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		)...)
	}
	look := []bpf.Instruction{bpf.LoadAbsolute{Off: dataFirstArg, Size: 4}}
	for _, family := range families() {
		look = append(look, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: family, SkipTrue: 1}, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW})
	}
	program = append(program, onCall(unix.SYS_SOCKET, append(look, bpf.RetConstant{Val: unknownFamily})...)...)
	return encode(append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
}

// onCall runs the instructions, which have to return, for this call.
func onCall(call uint32, then ...bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: call, SkipTrue: uint8(len(then))}}, then...)
}

// encode encodes a program as the kernel's struct sock_filter, in the machine's
// byte order.
func encode(program []bpf.Instruction) ([]byte, error) {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter of system calls: %w", err)
	}
	var out bytes.Buffer
	for _, i := range raw {
		if err := binary.Write(&out, binary.NativeEndian, struct {
			Code   uint16
			JT, JF uint8
			K      uint32
		}{i.Op, i.Jt, i.Jf, i.K}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// filterFile returns a descriptor from which the filter is read.
func filterFile(arch uint32, shared bool) (*os.File, error) {
	program, err := seccompFilter(arch, shared)
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// It is smaller than a pipe's buffer.
	_, err = write.Write(program)
	if closeErr := write.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = read.Close()
		return nil, err
	}
	return read, nil
}
