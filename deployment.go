package troy

import "strings"

// DeploymentState is where one deployment stands.
type DeploymentState string

// The deployments' states. The first three are on their way; the others are
// ends.
const (
	// Waiting: accepted, not started. It waits for provisioning, for the
	// deployment that runs, or for a worker.
	Waiting DeploymentState = "waiting"
	// Building: its source is being built.
	Building DeploymentState = "building"
	// Publishing: its files are being completed in the store, and then the
	// pointer flips to them.
	Publishing DeploymentState = "publishing"
	// Succeeded: it went live (another may be live by now), or was uploaded
	// without being published.
	Succeeded DeploymentState = "succeeded"
	// Failed: it ended with a cause; what was live before it stayed live.
	Failed DeploymentState = "failed"
	// Cancelled: a user stopped it, or its pipeline is being deleted.
	Cancelled DeploymentState = "cancelled"
	// Superseded: a newer commit took its place before it went live.
	Superseded DeploymentState = "superseded"
)

// DeploymentStates lists all of them.
func DeploymentStates() []DeploymentState {
	return []DeploymentState{Waiting, Building, Publishing, Succeeded, Failed, Cancelled, Superseded}
}

// Ended reports whether nothing more happens to a deployment in s.
func (s DeploymentState) Ended() bool {
	switch s {
	case Waiting, Building, Publishing:
		return false
	}
	return true
}

// String is the name that people see: "Publishing".
func (s DeploymentState) String() string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(string(s[:1])) + string(s[1:])
}

// DeploymentKind is where a deployment's files come from.
type DeploymentKind string

const (
	// Automated deployments are built from a commit.
	Automated DeploymentKind = "automated"
	// Release deployments are uploaded as they are.
	Release DeploymentKind = "release"
	// Rollback deployments publish the tree of a deployment that was live
	// before again, by its pointer alone.
	Rollback DeploymentKind = "rollback"
	// Promotion deployments do the same with any deployment that succeeded.
	Promotion DeploymentKind = "promotion"
)

// DeploymentKinds lists all of them.
func DeploymentKinds() []DeploymentKind {
	return []DeploymentKind{Automated, Release, Rollback, Promotion}
}
