package troy

import "slices"

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
	// PullRequests says which pull requests have previews: AllPullRequests, the
	// default, ReadyPullRequests or NoPullRequests.
	PullRequests string `json:"pull_requests,omitempty" flag:"pull-requests" help:"pull requests with previews: all, ready or none" arg:"all" label:"Pull requests"`
	// SkipBots gives pull requests of bots no previews.
	SkipBots bool `json:"skip_bots,omitempty" flag:"skip-bots" help:"no previews of pull requests by bots" label:"Skip bots"`
	// CommentPreviews keeps a comment with the previews on each pull request.
	CommentPreviews bool `json:"comment_previews,omitempty" flag:"comment-previews" help:"comment on pull requests with their previews" label:"Comment"`
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
