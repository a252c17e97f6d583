//go:build !linux

package toolchain

import "syscall"

// syncTree makes written files durable.
func syncTree(string) error { return syscall.Sync() }
