//go:build !linux

package localcloud

// bootID names the process: another one verifies what this one did not sync.
func bootID() string { return processID }
