package troy

import (
	"slices"
	"strings"
)

// The contexts of variables, besides the previews of one branch
// (BranchContext).
const (
	// AllContexts: all builds.
	AllContexts = "all"
	// ProductionContext: builds of the site.
	ProductionContext = "production"
	// PreviewContext: builds of previews.
	PreviewContext = "preview"
)

// BranchContext returns the context of the previews of a branch.
func BranchContext(branch string) string { return PreviewContext + ":" + branch }

// DefaultContext returns the context of a variable that is set without one.
func DefaultContext(secret bool) string {
	if secret {
		return ProductionContext
	}
	return AllContexts
}

// CheckContext returns an Invalid error at "context" if a variable can't have a
// value for this context.
func CheckContext(context string) error {
	branch, one := strings.CutPrefix(context, BranchContext(""))
	switch {
	case !one && context != AllContexts && context != ProductionContext && context != PreviewContext:
		return Errorf(Invalid, "%q is not a context of variables; expected all, production, preview or preview:BRANCH", Clip(context)).At("context")
	case one && CheckBranch(branch) != nil:
		return Errorf(Invalid, "%q is not a context of variables: expected a valid branch name of at most %d bytes after %q", Clip(context), maxBranch, BranchContext("")).At("context")
	}
	return nil
}

// ContextsOfBuild returns the contexts whose variables a build gets, the most
// specific first. The branch is that of a preview, and may be empty.
func ContextsOfBuild(preview bool, branch string) []string {
	switch {
	case !preview:
		return []string{ProductionContext, AllContexts}
	case branch == "":
		return []string{PreviewContext, AllContexts}
	}
	return []string{BranchContext(branch), PreviewContext, AllContexts}
}

// BuildVariables returns the names of the environment variables that describe a
// build to itself. A pipeline's own variables can't use these names.
func BuildVariables() []string {
	return []string{"TROY_BUILD", "TROY_DEPLOYMENT", "TROY_COMMIT", "TROY_BRANCH", "TROY_URL"}
}

// ReservedVariable reports whether name is one of BuildVariables, or says what
// a build is for.
func ReservedVariable(name string) bool {
	return slices.Contains(BuildVariables(), name) || name == "TROY_CONTEXT" || name == "TROY_PULL_REQUEST"
}
