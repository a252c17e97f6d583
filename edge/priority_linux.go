package edge

import "golang.org/x/sys/unix"

// lowerPriority gives the calling thread the lowest priority.
func lowerPriority() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19) }
