// Package builder holds the port to what builds sites from repositories. Workers
// act through it. The adapters are sandbox and codebuild; both pass
// buildertest. Which of them builds is chosen apart from the cloud that serves
// the sites.
//
// Every call may fail before or after its effect, so every call may be
// repeated: doing again what is done already is not an error, unless the call
// says so. Calls honour their context. An error that repeating will not mend
// is a *troy.Error of kind Invalid, Conflict or NotFound; any other error may
// pass by itself.
package builder

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site"
)

// ErrNotFound is returned, wrapped or not, when a build was never started or
// has been removed.
var ErrNotFound = errors.New("not found")

// Builder runs builds: other people's code, each apart from all others and
// from the machine. A build is named by the tree that it makes.
//
// sandbox runs it as a group of processes of the worker that called Start; it
// dies with that worker and is then found Lost. codebuild runs it on CodeBuild,
// where it continues without the worker and is lost when CodeBuild breaks it
// off. Nobody is called back, so a build is polled.
type Builder interface {
	// Start begins a build and returns; the context bounds the beginning
	// alone. Starting one that runs or has ended does nothing. One that is
	// Lost is started again, once: the second time it is a *troy.Error
	// of kind Conflict. So is a machine that can't isolate builds, with what
	// to install. A spec that can't be built is of kind Invalid.
	Start(ctx context.Context, spec Spec) error

	// Get tells how a build stands, ErrNotFound if it was never started.
	Get(ctx context.Context, t site.Tree) (Build, error)

	// Log returns what of a build's log comes after the cursor, about a
	// mebibyte of it at most; "" is the beginning. A page may be empty while the build is
	// at work. Pages put together are the log, also across a start after
	// Lost. A cursor that Log did not return is Invalid.
	Log(ctx context.Context, t site.Tree, cursor string) (LogPage, error)

	// Stop ends a build for real: its processes and their children are
	// killed. With sandbox that is done when it returns, elsewhere Get tells.
	// One that has ended is not an error, one that was never started ErrNotFound.
	Stop(ctx context.Context, t site.Tree) error

	// Artifact opens what a build that succeeded leaves to be published: the
	// files of its output folder. Any other build is a Conflict. The caller
	// closes it.
	Artifact(ctx context.Context, t site.Tree) (*site.Source, error)

	// Remove deletes everything kept of a build, after stopping it. A tree
	// without a deployment stands for all of the pipeline, its dependency
	// cache included. What is not there is no error.
	Remove(ctx context.Context, t site.Tree) error
}

// Spec is what is to be built, and how.
type Spec struct {
	Tree site.Tree
	// Source opens the commit as a tar, plain or gzipped, with the one top
	// folder that forges put around it. It is called during Start or after it
	// has returned, and closed. It keeps its temporary files in dir, which the
	// builder removes. A *troy.Error of it is shown to people as the
	// cause, any other error in general words.
	Source func(ctx context.Context, dir string) (io.ReadCloser, error)
	// Commit and URL, the site's, are told to the build. Either may be empty.
	Commit build.Commit
	URL    string
	// Settings are the pipeline's; what the repository says goes before them.
	Settings build.Settings
	// Variables are the pipeline's own, secrets included. They go before what
	// the repository sets.
	Variables map[string]string
	// Redact, if not nil, wraps what the log is written to, so that no secret
	// reaches it. Close flushes what it holds back, and does not close w. A
	// builder that runs elsewhere does not call it: who reads its log redacts.
	Redact func(w io.Writer) io.WriteCloser
	Limits Limits
}

// Origin is what the build is told of itself.
func (s Spec) Origin() build.Origin {
	return build.Origin{Deployment: s.Tree.Deployment.String(), URL: s.URL, Commit: s.Commit}
}

// Sourced says for the log which commit was fetched and, if its source knows,
// by which way.
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

// Limits bounds a build. A field that is zero takes its default.
type Limits struct {
	Time        time.Duration // of all phases together
	MemoryBytes int64         // of all processes together
	Processes   int           // at once, threads counted
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

// OrDefault fills in what l leaves open.
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

// State is where a build stands.
type State string

// The builds' states. All but the first are ends.
const (
	// Running: its phases are run, or about to.
	Running State = "running"
	// Succeeded: every phase went well; Artifact has the site.
	Succeeded State = "succeeded"
	// Failed: it ended with a cause.
	Failed State = "failed"
	// Stopped: Stop ended it.
	Stopped State = "stopped"
	// Lost: its worker died or was stopped, and it died with it. Start
	// begins it again.
	Lost State = "lost"
)

// Phase is a part of a build. Phases run one after another; the first
// that fails ends the build.
type Phase string

// The phases, in their order.
const (
	PhaseSource  Phase = "download_source"
	PhaseInstall Phase = "install"
	PhaseBuild   Phase = "build"
	PhaseTest    Phase = "test"
	PhaseArchive Phase = "archive"
)

// String is the name that people see: "Download Source".
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

// Build is how a build stands.
type Build struct {
	State State `json:"state"`
	// Cause says in one sentence why it failed.
	Cause string `json:"cause,omitempty"`
	// Rule says in a sentence what is run and what decided it, once known.
	Rule string `json:"rule,omitempty"`
	// Workspace is the folder above the root folder whose workspace the root
	// folder is a member of, or empty (build.Plan.Workspace).
	Workspace string `json:"workspace,omitempty"`
	// Warnings are sentences about what was published and will not work.
	Warnings []string `json:"warnings,omitempty"`
	// Phases are those that were begun. What the plan leaves out is not
	// among them.
	Phases  []PhaseRun `json:"phases"`
	Started time.Time  `json:"started"`
	// Ended is zero while it runs.
	Ended time.Time `json:"ended,omitzero"`
}

// PhaseRun is one phase of a build.
type PhaseRun struct {
	Phase   Phase     `json:"phase"`
	Command string    `json:"command,omitempty"` // empty where Troy itself is at work
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero while it runs
	// ExitCode is the command's, -1 if it was killed; 0 or 1 where Troy itself
	// was at work. It is nil while the phase runs.
	ExitCode *int `json:"exit_code,omitempty"`
}

// LogPage is a part of a build's log.
type LogPage struct {
	Data []byte
	// Next is the cursor after Data.
	Next string
	// End tells that nothing comes after Data any more. After Lost that
	// holds until the build is started again.
	End bool
}
