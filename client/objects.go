package client

import (
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// Pipeline is a site and its settings.
type Pipeline struct {
	ID    uuid.UUID `json:"id"`
	AppID string    `json:"app_id"`
	Name  string    `json:"name"`
	Slug  string    `json:"slug"`
	// Status is the value, StatusName the name that people see.
	Status     troy.Status `json:"status"`
	StatusName string      `json:"status_name"`
	// Cause is the reason for a Failed status.
	Cause string `json:"cause,omitempty"`
	URL   string `json:"url"`
	Host  string `json:"host"`
	// LiveDeploymentID is nil while nothing is live.
	LiveDeploymentID *uuid.UUID `json:"live_deployment_id,omitempty"`
	// Live is the deployment that is live, and Next the one that is running or
	// waits the longest.
	Live          *Brief `json:"live,omitempty"`
	Next          *Brief `json:"next,omitempty"`
	QueuePosition *int64 `json:"queue_position,omitempty"`
	// Lock is nil while the pipeline is not locked.
	Lock *Lock `json:"lock,omitempty"`
	// Schedule is nil if the pipeline does not deploy by itself.
	Schedule *Schedule `json:"schedule,omitempty"`
	// Deletion is nil unless it was requested.
	Deletion *Deletion `json:"deletion,omitempty"`
	// Repository is nil while the pipeline has none.
	Repository *Repository `json:"repository,omitempty"`
	// WatchPaths select the files whose changes are built (watch.Concerns).
	WatchPaths []string `json:"watch_paths"`
	// CancelRunning reports whether a newer commit stops the running build.
	CancelRunning bool               `json:"cancel_running"`
	Build         troy.BuildSettings `json:"build"`
	// SourceProblem is the reason why pushes are not built, or empty.
	SourceProblem string    `json:"source_problem,omitempty"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	// ETag stands for the settings (PipelineChange.IfMatch). Pipeline and
	// ConfigurePipeline set it.
	ETag string `json:"-"`
}

// Brief is what a pipeline says about one of its deployments.
type Brief struct {
	ID      uuid.UUID            `json:"id"`
	Number  int64                `json:"number"`
	Kind    troy.DeploymentKind  `json:"kind"`
	State   troy.DeploymentState `json:"state"`
	Commit  string               `json:"commit,omitempty"`
	Branch  string               `json:"branch,omitempty"`
	Message string               `json:"message,omitempty"`
	By      string               `json:"by"` // the commit's author, or the actor
	// Since is when it went live or, before that, when it was started or created.
	Since time.Time `json:"since"`
}

// Lock keeps a pipeline from deploying anything but rollbacks and promotions.
type Lock struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Deletion is the request to delete a pipeline.
type Deletion struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
	// DueAt is when it begins. Until then it can be undone; nil means that it
	// has begun.
	DueAt *time.Time `json:"due_at,omitempty"`
}

// Repository is the location of a pipeline's source.
type Repository struct {
	Provider troy.Provider `json:"provider"`
	FullName string        `json:"full_name"`        // "team/blog"
	Branch   string        `json:"branch,omitempty"` // empty means the repository's default
	Root     string        `json:"root,omitempty"`   // folder of the site's source; empty means the whole repository
}

// Deployment is one attempt to publish a version of a pipeline's site.
type Deployment struct {
	ID         uuid.UUID `json:"id"`
	PipelineID uuid.UUID `json:"pipeline_id"`
	// Number counts the pipeline's deployments from 1.
	Number int64                `json:"number"`
	Kind   troy.DeploymentKind  `json:"kind"`
	State  troy.DeploymentState `json:"state"`
	// Cause is the reason why the deployment failed.
	Cause string `json:"cause,omitempty"`
	// Hint says what a waiting deployment needs, if it does not resume by
	// itself.
	Hint string `json:"hint,omitempty"`
	// SourceDeploymentID is the deployment whose files a rollback publishes.
	SourceDeploymentID *uuid.UUID `json:"source_deployment_id,omitempty"`
	Message            string     `json:"message,omitempty"`
	Actor              string     `json:"actor"`
	Commit             string     `json:"commit,omitempty"`
	Branch             string     `json:"branch,omitempty"`
	Files              int64      `json:"files"`
	Bytes              int64      `json:"bytes"`
	// Live reports whether the site is served from this deployment now. URL is
	// set to the site's URL if so.
	Live       bool       `json:"live"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	URL        string     `json:"url,omitempty"`
	// Address is where its own files stay as long as they are kept.
	Address string `json:"address,omitempty"`
	// Build is nil for a deployment without a build, or before the build
	// begins.
	Build *Build `json:"build,omitempty"`
}

// Build is the build of an automated deployment.
type Build struct {
	Attempt int `json:"attempt"` // number of times it was started
	// Rule is a sentence that lists the commands and the rule that chose each,
	// if known.
	Rule     string  `json:"rule,omitempty"`
	Phases   []Phase `json:"phases"` // the phases that began
	LogBytes int64   `json:"log_bytes"`
	// Warnings are sentences about published parts that will not work.
	Warnings []string `json:"warnings,omitempty"`
}

// Phase is one phase of a build.
type Phase struct {
	Phase   string    `json:"phase"`             // "install"
	Command string    `json:"command,omitempty"` // empty for a phase of Troy itself
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero while it runs
	// ExitCode is nil while the phase runs, and -1 if it was killed.
	ExitCode *int `json:"exit_code,omitempty"`
}

// Variable is an environment variable of a pipeline's builds.
type Variable struct {
	Name string `json:"name"`
	// Context has the builds that get it, as in VariableValue.
	Context string `json:"context"`
	Secret  bool   `json:"secret"`
	// Value is nil for a secret: the server does not show it.
	Value     *string   `json:"value,omitempty"`
	ChangedAt time.Time `json:"changed_at"`
	// Problem is the reason, in a list, why a value can't be shown.
	Problem string `json:"problem,omitempty"`
}

// Release is an upload that becomes the deployment with its id.
type Release struct {
	ID         uuid.UUID `json:"id"`
	PipelineID uuid.UUID `json:"pipeline_id"`
	// Missing has one file for each digest to send.
	Missing []site.File `json:"missing"`
	// AllMissing reports that the server answered BeginRelease with this in place of
	// a list.
	AllMissing bool      `json:"all_missing,omitempty"`
	Limits     Limits    `json:"limits"`
	ExpiresAt  time.Time `json:"expires_at"`
	Finalized  bool      `json:"finalized"`
	// Direct reports that files can be sent directly to the store.
	Direct bool `json:"direct"`
	// Batch bounds requests with many files. It is nil if the server accepts
	// none.
	Batch *site.BatchLimits `json:"batch,omitempty"`
}

// Limits are the limits of a release.
type Limits struct {
	Files      int64 `json:"files"`
	FileBytes  int64 `json:"file_bytes"`  // bytes of one file
	TotalBytes int64 `json:"total_bytes"` // bytes of all files
}

// Event is one change of a pipeline's status.
type Event struct {
	PipelineID uuid.UUID `json:"pipeline_id"`
	// Version counts the pipeline's events from 1 without gaps.
	Version int64 `json:"version"`
	// From is empty in a pipeline's first event.
	From         troy.Status `json:"from,omitempty"`
	To           troy.Status `json:"to"`
	ToName       string      `json:"to_name"`
	Cause        string      `json:"cause,omitempty"`
	Actor        string      `json:"actor"`
	DeploymentID *uuid.UUID  `json:"deployment_id,omitempty"`
	Time         time.Time   `json:"time"`
}

// Ring is the result of ringing a task by hand.
type Ring struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Result string `json:"result"`
}
