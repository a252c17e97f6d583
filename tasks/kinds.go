package tasks

// The kinds of work. Each is a task type, has a policy (see policies) and a
// file in package workers. The subject is a pipeline, a deployment, a skipped
// commit, a preview, a pull request or a notification.
const (
	// TypeProvision creates a pipeline's distribution and DNS record.
	TypeProvision = "pipeline:provision"
	// TypeDeploy publishes the deployment for which a pipeline is Queued or
	// Deploying, or starts its build.
	TypeDeploy = "pipeline:deploy"
	// TypeSchedule deploys a pipeline whose schedule is due, and repeats.
	TypeSchedule = "pipeline:schedule"
	// TypeTeardownStart disables the distribution of a pipeline that is being
	// deleted.
	TypeTeardownStart = "pipeline:teardown-start"
	// TypePollDistroDisabled checks whether a distribution is disabled
	// everywhere, and repeats until it is.
	TypePollDistroDisabled = "pipeline:poll-distro-disabled"
	// TypeTeardown removes a pipeline's distribution, DNS record, objects and
	// row.
	TypeTeardown = "pipeline:teardown"
	// TypeBuild builds the commit of an automated deployment.
	TypeBuild = "deployment:build"
	// TypePollBuild checks on a build that runs without its worker, and repeats
	// until the build has ended. It stops an unwanted build and removes the
	// resources of an ended one.
	TypePollBuild = "deployment:poll-build"
	// TypeReport reports the state of an automated deployment, or a skipped
	// commit, to the forge.
	TypeReport = "forge:report"
	// TypeCatchUp compares the head of a pipeline's branch with the newest
	// commit known to Troy.
	TypeCatchUp = "forge:catch-up"
	// TypePurge removes assets that a pipeline's site keeps from earlier
	// deployments.
	TypePurge = "purge"
	// TypeAccess applies who may see a pipeline's site.
	TypeAccess = "access"
	// TypeDomainCheck checks the custom domains of a pipeline's site that are
	// due: their DNS records and what the cloud knows of them.
	TypeDomainCheck = "domain:check"
	// TypeThumbnail takes a picture of a pipeline's site.
	TypeThumbnail = "pipeline:thumbnail"
	// TypeRetention removes trees and uploads that a pipeline no longer needs,
	// and the remains of a deleted pipeline.
	TypeRetention = "retention"
	// TypePreviewBuild builds the commit of a preview's deployment.
	TypePreviewBuild = "preview:build"
	// TypePreviewPublish makes a preview show a deployment.
	TypePreviewPublish = "preview:publish"
	// TypePullRequest decides about the preview of a pull request, and answers
	// commands in its comments.
	TypePullRequest = "forge:pull-request"
	// TypePreviewReport makes the forge show the state of a preview.
	TypePreviewReport = "preview:report"
	// TypePreviewRemove removes the addresses of a closed preview.
	TypePreviewRemove = "preview:remove"
	// TypeNotify sends a notification.
	TypeNotify = "notify"
)
