package troy

import "slices"

// BuildVariables returns the names of the environment variables that describe a
// build to itself. A pipeline's own variables can't use these names.
func BuildVariables() []string {
	return []string{"TROY_BUILD", "TROY_DEPLOYMENT", "TROY_COMMIT", "TROY_BRANCH", "TROY_URL"}
}

// ReservedVariable reports whether name is one of BuildVariables.
func ReservedVariable(name string) bool { return slices.Contains(BuildVariables(), name) }
