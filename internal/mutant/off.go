//go:build !faults

package mutant

// On reports whether a mistake is to be made: never.
func On(string) bool { return false }
