package troy

import "slices"

// BuildVariables are the environment variables by which a build learns of
// itself. A pipeline's own variables can't have these names.
func BuildVariables() []string {
	return []string{"TROY_BUILD", "TROY_DEPLOYMENT", "TROY_COMMIT", "TROY_BRANCH", "TROY_URL"}
}

// ReservedVariable reports whether a name is one of BuildVariables.
func ReservedVariable(name string) bool { return slices.Contains(BuildVariables(), name) }
