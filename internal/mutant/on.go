//go:build faults

package mutant

import (
	"os"
	"slices"
	"strings"
)

// On reports whether a mistake is to be made.
func On(name string) bool { return slices.Contains(strings.Split(os.Getenv("TROY_MUTANT"), ","), name) }
