//go:build !linux

package edge

// lowerPriority does nothing: threads have no priority of their own here.
func lowerPriority() {}
