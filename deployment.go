package troy

import "strings"

// DeploymentState is the state of one deployment.
type DeploymentState string

// The states of a deployment. The first three are in progress; the others are
// final.
const (
	// Waiting: accepted, not started. It waits for provisioning, for the
	// deployment that runs, or for a worker.
	Waiting DeploymentState = "waiting"
	// Building: a build of its source is running.
	Building DeploymentState = "building"
	// Publishing: the store is receiving its files, after which the pointer
	// moves to them.
	Publishing DeploymentState = "publishing"
	// Succeeded: it went live, or its preview showed it (another may be live by
	// now), or it was uploaded without being published.
	Succeeded DeploymentState = "succeeded"
	// Failed: it ended with an error. The previous deployment stayed live.
	Failed DeploymentState = "failed"
	// Cancelled: a user stopped it, or its pipeline is being deleted.
	Cancelled DeploymentState = "cancelled"
	// Superseded: a newer commit replaced it before it went live.
	Superseded DeploymentState = "superseded"
)

// DeploymentStates returns all states.
func DeploymentStates() []DeploymentState {
	return []DeploymentState{Waiting, Building, Publishing, Succeeded, Failed, Cancelled, Superseded}
}

// Ended reports whether s is a final state.
func (s DeploymentState) Ended() bool {
	switch s {
	case Waiting, Building, Publishing:
		return false
	}
	return true
}

// String returns the name shown to people, such as "Publishing".
func (s DeploymentState) String() string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(string(s[:1])) + string(s[1:])
}

// DeploymentKind says where a deployment's files come from.
type DeploymentKind string

const (
	// Automated deployments are built from a commit.
	Automated DeploymentKind = "automated"
	// Release deployments are uploaded as finished files.
	Release DeploymentKind = "release"
	// Rollback deployments publish again the tree of a deployment that was live
	// before. Only the pointer moves.
	Rollback DeploymentKind = "rollback"
	// Promotion deployments publish the tree of any deployment that succeeded.
	Promotion DeploymentKind = "promotion"
	// Preview deployments are built or uploaded for a preview. They never
	// change what the site shows.
	Preview DeploymentKind = "preview"
)

// DeploymentKinds returns all kinds.
func DeploymentKinds() []DeploymentKind {
	return []DeploymentKind{Automated, Release, Rollback, Promotion, Preview}
}
