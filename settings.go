package troy

import (
	"cmp"
	"slices"
)

// BuildSettings are a pipeline's settings for its builds and its site. They
// have this form in rows and JSON; the CLI has a flag for each field. An empty
// text leaves the decision to the repository.
//
// A new setting is a field here, its check in Clean, and its rows in
// docs/api.md and docs/cli.md. The tags name the field in JSON, its flag, the
// flag's help (with the name of its argument), and its label in `troy pipeline
// show`.
type BuildSettings struct {
	// Install, Build and Test are shell commands of one line. Test has no
	// default.
	Install string `json:"install,omitempty" flag:"install-command" help:"the command that installs dependencies" arg:"command" label:"Install"`
	Build   string `json:"build,omitempty" flag:"build-command" help:"the command that builds" arg:"command" label:"Build"`
	Test    string `json:"test,omitempty" flag:"test-command" help:"the command that runs the tests" arg:"command" label:"Test"`
	// Output is the folder to publish, relative to the pipeline's root folder.
	Output string `json:"output,omitempty" flag:"output" help:"the folder to publish, within the root" arg:"folder" label:"Output"`
	// TrailingSlash decides the form of page addresses: auto, always or never
	// (site.TrailingSlash). Empty means auto.
	TrailingSlash string `json:"trailing_slash,omitempty" flag:"trailing-slash" help:"page addresses: auto, always or never" arg:"auto" label:"Trailing slash"`
	// DropAssets removes hashed assets as soon as a deployment leaves them out.
	DropAssets bool `json:"drop_assets,omitempty" flag:"drop-assets" help:"remove hashed assets of old deployments" label:"Drop assets"`
	// Badge lets everyone see the site's state, as a picture.
	Badge bool `json:"badge,omitempty" flag:"badge" help:"let everyone see the badge with the site's state" label:"Badge"`
	// PullRequests says which pull requests have previews: AllPullRequests, the
	// default, ReadyPullRequests or NoPullRequests.
	PullRequests string `json:"pull_requests,omitempty" flag:"pull-requests" help:"pull requests with previews: all, ready or none" arg:"all" label:"Pull requests"`
	// SkipBots gives pull requests of bots no previews.
	SkipBots bool `json:"skip_bots,omitempty" flag:"skip-bots" help:"no previews of pull requests by bots" label:"Skip bots"`
	// CommentPreviews keeps a comment with the previews on each pull request.
	CommentPreviews bool `json:"comment_previews,omitempty" flag:"comment-previews" help:"comment on pull requests with their previews" label:"Comment"`
	// Minutes, MemoryMiB, CPUs and Processes limit each build. Zero means the
	// installation's limit, which none may exceed.
	Minutes   int `json:"minutes,omitempty" flag:"build-minutes" help:"how many minutes a build may take" arg:"minutes" label:"Minutes"`
	MemoryMiB int `json:"memory_mib,omitempty" flag:"build-memory" help:"how much memory a build may use, in MiB" arg:"MiB" label:"Memory (MiB)"`
	CPUs      int `json:"cpus,omitempty" flag:"build-cpus" help:"how many CPUs a build may use" arg:"CPUs" label:"CPUs"`
	Processes int `json:"processes,omitempty" flag:"build-processes" help:"how many processes and threads a build may run" arg:"processes" label:"Processes"`
}

// BuildLimits are the limits of an installation's builds. Zero means what
// settings can say at most.
type BuildLimits struct {
	Minutes, MemoryMiB, CPUs, Processes int
	// Elsewhere says what decides about all but Minutes, if builds do not run on
	// the workers' machines.
	Elsewhere string
}

// The least that a build can do with, and the most that a setting can say.
const (
	MinBuildMemoryMiB = 256
	MaxBuildMemoryMiB = 1 << 20
	MinBuildProcesses = 64
	MaxBuildProcesses = 1 << 20
	MaxBuildCPUs      = 1024
	MaxBuildMinutes   = 24 * 60
)

// CheckLimits returns an Invalid error with the field's name if a limit of the
// builds is not one that the installation permits.
func (s BuildSettings) CheckLimits(most BuildLimits) error {
	for _, l := range []struct {
		field              string
		value, least, most int
	}{
		{"minutes", s.Minutes, 1, cmp.Or(most.Minutes, MaxBuildMinutes)},
		{"memory_mib", s.MemoryMiB, MinBuildMemoryMiB, cmp.Or(most.MemoryMiB, MaxBuildMemoryMiB)},
		{"cpus", s.CPUs, 1, cmp.Or(most.CPUs, MaxBuildCPUs)},
		{"processes", s.Processes, MinBuildProcesses, cmp.Or(most.Processes, MaxBuildProcesses)},
	} {
		switch {
		case l.value == 0:
		case most.Elsewhere != "" && l.field != "minutes":
			return Errorf(Invalid, "it can't be set: %s", most.Elsewhere).At(l.field)
		case l.value < l.least || l.value > l.most:
			return Errorf(Invalid, "it is %d; expected %d to %d, or 0 for the installation's limit", l.value, l.least, l.most).At(l.field)
		}
	}
	return nil
}

// The values of BuildSettings.PullRequests. ReadyPullRequests leaves out drafts.
const (
	AllPullRequests   = "all"
	ReadyPullRequests = "ready"
	NoPullRequests    = "none"
)

// maxCommand is the maximum length of a build command, in characters.
const maxCommand = 4096

// Clean returns the settings in normal form. It returns an Invalid error with
// the field's name if a field breaks a rule.
func (s BuildSettings) Clean() (BuildSettings, error) {
	for _, command := range []struct{ field, text string }{{"install", s.Install}, {"build", s.Build}, {"test", s.Test}} {
		if command.text == "" {
			continue
		}
		if err := CheckText(command.field, command.text, maxCommand); err != nil {
			return s, err
		}
	}
	output, err := CleanFolder("output", s.Output)
	if err != nil {
		return s, err
	}
	s.Output = output
	if !slices.Contains([]string{"", "auto", "always", "never"}, s.TrailingSlash) {
		return s, Errorf(Invalid, "it is %q; expected auto, always or never", Clip(s.TrailingSlash)).At("trailing_slash")
	}
	if !slices.Contains([]string{"", AllPullRequests, ReadyPullRequests, NoPullRequests}, s.PullRequests) {
		return s, Errorf(Invalid, "it is %q; expected all, ready or none", Clip(s.PullRequests)).At("pull_requests")
	}
	return s, nil
}
