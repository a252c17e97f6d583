package tasks

// The kinds of work. Each is the type of its tasks, has a policy (policies) and
// a file of its own in workers. The subject is a pipeline, a
// deployment or a skipped commit.
const (
	// TypeProvision creates a pipeline's distribution and DNS record.
	TypeProvision = "pipeline:provision"
	// TypeDeploy publishes the deployment that a pipeline is Queued or
	// Deploying for, or starts its build.
	TypeDeploy = "pipeline:deploy"
	// TypeTeardownStart disables the distribution of a pipeline that is to be
	// deleted.
	TypeTeardownStart = "pipeline:teardown-start"
	// TypePollDistroDisabled looks whether a distribution is disabled
	// everywhere, and comes back later if it is not.
	TypePollDistroDisabled = "pipeline:poll-distro-disabled"
	// TypeTeardown removes a pipeline's distribution, DNS record, objects and
	// row.
	TypeTeardown = "pipeline:teardown"
	// TypeBuild builds the commit of an automated deployment.
	TypeBuild = "deployment:build"
	// TypePollBuild looks at a build that runs without its worker, and comes
	// back until it has ended. It stops an unwanted build, and removes what an
	// ended one used.
	TypePollBuild = "deployment:poll-build"
	// TypeReport tells the forge the state of an automated deployment, or that
	// a commit was skipped.
	TypeReport = "forge:report"
	// TypeCatchUp compares the head of a pipeline's branch with the newest
	// commit that Troy has heard of.
	TypeCatchUp = "forge:catch-up"
	// TypePurge removes assets that a pipeline's site carries from earlier
	// deployments.
	TypePurge = "purge"
	// TypeRetention removes the trees and uploads that a pipeline no longer
	// needs, and what is left of a deleted pipeline.
	TypeRetention = "retention"
)
