// Package builder defines the port to the services that build sites from
// repositories. Workers use it. The adapters are sandbox and codebuild; both
// pass buildertest. The choice of the builder is independent of the cloud that
// serves the sites.
//
// Every call may fail before or after its effect, so every call may be
// repeated: repeating a completed call is not an error, unless the call's
// comment says so. Calls honour their context. An error that retries can't fix
// is a *troy.Error of kind Invalid, Conflict or NotFound; any other error may
// be temporary.
package builder

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// ErrNotFound means that a build was never started or has been removed. It may
// be wrapped.
var ErrNotFound = errors.New("not found")

// Builder runs builds: untrusted code, each isolated from all others and from
// the machine. The tree that a build makes is its id.
//
// sandbox runs a build as a group of processes of the worker that called Start;
// the build dies with that worker and is then Lost. codebuild runs it on
// CodeBuild, where it continues without the worker and is Lost when CodeBuild
// aborts it. There are no callbacks, so callers poll.
type Builder interface {
	// Start begins a build and returns; the context bounds only the start. It
	// does nothing if the build is running or has ended. It restarts a Lost
	// build once; the second time it returns a *troy.Error of kind Conflict. It
	// also returns Conflict if the machine can't isolate builds, with the
	// packages to install, and Invalid for a spec that can't be built.
	Start(ctx context.Context, spec Spec) error

	// Get returns a build's state, or ErrNotFound if it was never started.
	Get(ctx context.Context, t site.Tree) (Build, error)

	// Log returns the part of a build's log after the cursor, at most about a
	// mebibyte; "" is the beginning. A page may be empty while the build runs.
	// The concatenated pages are the log, also across a restart after Lost. Log
	// returns Invalid for a cursor that it did not return before.
	Log(ctx context.Context, t site.Tree, cursor string) (LogPage, error)

	// Stop ends a build and kills its processes and their children. With
	// sandbox they are dead when it returns, with other builders Get shows it.
	// Stop returns nil if the build has ended, and ErrNotFound if it was never
	// started.
	Stop(ctx context.Context, t site.Tree) error

	// Artifact opens the files that a successful build publishes: the content
	// of its output folder. It returns Conflict for any other build. The caller
	// closes it.
	Artifact(ctx context.Context, t site.Tree) (*site.Source, error)

	// Remove stops a build and deletes all its data. A tree without a
	// deployment stands for all builds of the pipeline, including its
	// caches. Remove ignores builds that do not exist.
	Remove(ctx context.Context, t site.Tree) error

	// Caches lists the dependency caches that this builder keeps, of all
	// pipelines.
	Caches(ctx context.Context) (Caches, error)

	// RemoveCaches removes the caches of one scope of a pipeline that no build
	// has used since a time, or all of them if the time is zero. A cache that a
	// build uses stays.
	RemoveCaches(ctx context.Context, pipeline uuid.UUID, scope string, unusedSince time.Time) error
}

// CacheUnused is how long a cache of a preview is kept after its last build.
const CacheUnused = 30 * 24 * time.Hour

// Spec describes a build.
type Spec struct {
	Tree site.Tree
	// Source opens the commit as a tar, plain or gzipped, with the single top
	// folder that forges add. It is called during Start or later, and closed.
	// It keeps its temporary files in dir, which the builder removes. A
	// *troy.Error from it is shown to users as the cause, any other error as a
	// general message.
	Source func(ctx context.Context, dir string) (io.ReadCloser, error)
	// Commit and URL, the site's address, are passed to the build. Either may
	// be empty.
	Commit build.Commit
	URL    string
	// Settings are the pipeline's; the repository's take precedence.
	Settings build.Settings
	// Variables are the pipeline's own, including secrets. They override the
	// repository's.
	Variables map[string]string
	// Untrusted: the commit is a stranger's, so the build neither reads nor
	// writes what other builds of the pipeline keep.
	Untrusted bool
	// CacheScope names the cache that the build uses. "" is the site's; a
	// preview's scope begins with a copy of it and never changes it.
	CacheScope string
	// CacheEpoch is how often the pipeline's caches were cleared. A cache of
	// another epoch is not used.
	CacheEpoch int64
	// Redact, if not nil, wraps the log's writer, so that no secret reaches it.
	// Close flushes buffered text and does not close w. A builder that runs
	// elsewhere does not call it; the reader of its log redacts.
	Redact func(w io.Writer) io.WriteCloser
	Limits Limits
}

// Caches are the dependency caches that a builder keeps in one place.
type Caches struct {
	// Keeper is the id of the place. It is empty for a builder without caches.
	Keeper string
	All    []Cache
}

// Cache is a dependency cache.
type Cache struct {
	Pipeline       uuid.UUID
	Scope, Manager string
	Epoch, Bytes   int64
	Used           time.Time
}

// Origin describes the build's commit to the build.
func (s Spec) Origin() build.Origin {
	return build.Origin{Deployment: s.Tree.Deployment.String(), URL: s.URL, Commit: s.Commit}
}

// Sourced returns the log line that names the fetched commit and, if known, how
// it was fetched.
func (s Spec) Sourced(source io.Reader) string {
	if s.Commit.ID == "" {
		return ""
	}
	text := "Commit " + s.Commit.ID
	if s.Commit.Branch != "" {
		text += " of the branch " + s.Commit.Branch
	}
	if way, ok := source.(interface{ Way() string }); ok {
		text += ", " + way.Way()
	}
	return text + "."
}

// Limits bounds a build. A zero field means its default.
type Limits struct {
	Time        time.Duration // of all phases together
	MemoryBytes int64         // of all processes together
	Processes   int           // at once, including threads
	CPUs        int           // of all processes together; 0 means no limit
	LogBytes    int64
	OutputBytes int64 // of all files that are published
	Source      build.SourceLimits
}

// DefaultLimits is 30 minutes, 4 GiB of memory, 2,048 processes and
// threads, a log of 64 MiB and 10 GiB of output.
func DefaultLimits() Limits {
	return Limits{
		Time: 30 * time.Minute, MemoryBytes: 4 << 30, Processes: 2048, LogBytes: 64 << 20, OutputBytes: 10 << 30,
		Source: build.DefaultSourceLimits(),
	}
}

// OrDefault replaces zero fields by their defaults.
func (l Limits) OrDefault() Limits {
	d := DefaultLimits()
	if l.Time <= 0 {
		l.Time = d.Time
	}
	if l.MemoryBytes <= 0 {
		l.MemoryBytes = d.MemoryBytes
	}
	if l.Processes <= 0 {
		l.Processes = d.Processes
	}
	if l.LogBytes <= 0 {
		l.LogBytes = d.LogBytes
	}
	if l.OutputBytes <= 0 {
		l.OutputBytes = d.OutputBytes
	}
	return l
}

// State is the state of a build.
type State string

// The states of builds. All but the first are final.
const (
	// Running: its phases are running or about to.
	Running State = "running"
	// Succeeded: every phase succeeded; Artifact has the site.
	Succeeded State = "succeeded"
	// Failed: it ended with a cause.
	Failed State = "failed"
	// Stopped: Stop ended it.
	Stopped State = "stopped"
	// Lost: its worker died or was stopped, and the build with it. Start
	// restarts it.
	Lost State = "lost"
)

// Phase is a part of a build. Phases run one after another; the first failure
// ends the build.
type Phase string

// The phases, in their order.
const (
	PhaseSource  Phase = "download_source"
	PhaseInstall Phase = "install"
	PhaseBuild   Phase = "build"
	PhaseTest    Phase = "test"
	PhaseArchive Phase = "archive"
)

// String returns the name for users: "Download Source".
func (p Phase) String() string {
	switch p {
	case PhaseSource:
		return "Download Source"
	case PhaseInstall:
		return "Install"
	case PhaseBuild:
		return "Build"
	case PhaseTest:
		return "Test"
	case PhaseArchive:
		return "Archive"
	}
	return string(p)
}

// Build is a build's state and progress.
type Build struct {
	State State `json:"state"`
	// Cause says in one sentence why it failed.
	Cause string `json:"cause,omitempty"`
	// Rule is a sentence that says what runs and which rule decided it, once
	// known.
	Rule string `json:"rule,omitempty"`
	// Workspace is the folder above the root folder whose workspace the root
	// folder is a member of, or empty (build.Plan.Workspace).
	Workspace string `json:"workspace,omitempty"`
	// Unwatched is what of the workspace does not concern the site
	// (build.Plan.Unwatched), if the root folder of the settings is Root.
	Unwatched []string `json:"unwatched,omitempty"`
	Root      string   `json:"root,omitempty"`
	// Warnings are sentences about published files that will not work.
	Warnings []string `json:"warnings,omitempty"`
	// Config are the parts of the repository's configuration files that contain
	// rules of the site (build.Plan.Config).
	Config []rules.ConfigFile `json:"config,omitempty"`
	// Phases are the started phases. Phases that the plan skips are not among
	// them.
	Phases  []PhaseRun `json:"phases"`
	Started time.Time  `json:"started"`
	// Ended is zero while it runs.
	Ended time.Time `json:"ended,omitzero"`
}

// PhaseRun is one phase of a build.
type PhaseRun struct {
	Phase   Phase     `json:"phase"`
	Command string    `json:"command,omitempty"` // empty for Troy's own phases
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero while it runs
	// ExitCode is the command's, -1 if it was killed; 0 or 1 for Troy's own
	// phases. It is nil while the phase runs.
	ExitCode *int `json:"exit_code,omitempty"`
}

// LogPage is a part of a build's log.
type LogPage struct {
	Data []byte
	// Next is the cursor after Data.
	Next string
	// End reports that nothing follows Data. After Lost that holds until the
	// build is restarted.
	End bool
}
