//go:build faults

package mutant

import "os"

// On reports whether a mistake is to be made.
func On(name string) bool { return os.Getenv("TROY_MUTANT") == name }
