package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/watch"
)

// pipelineSettings are the flags of `pipeline set`.
type pipelineSettings struct {
	repository, branch, root string
	watch                    []string
	cancelRunning            bool
	ifMatch                  string
	// build returns the given settings of troy.BuildSettings.
	build func() map[string]any
}

func newPipelineSet(a *app) *cobra.Command {
	var s pipelineSettings
	cmd := &cobra.Command{
		Use:   "set P",
		Short: "Change a pipeline's repository and build settings",
		Long: `Change a pipeline's repository and build settings, from its next deployment on.
Settings that you don't give stay unchanged; an empty text ("") removes one.
With --if-match, nothing changes (exit status 5) if the settings are not those
that had the etag of troy pipeline show --json.`,
		Example: `  troy pipeline set blog --repository github:team/blog --branch main
  troy pipeline set blog --root web --watch 'web/**' --watch '!**/*.md'
  troy pipeline set blog --build-command 'npm run build' --output dist
  troy pipeline set blog --trailing-slash always
  tag=$(troy pipeline show blog --format '{{.etag}}')
  troy pipeline set blog --if-match "$tag" --output dist`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pipelineSet(cmd.Context(), a, args[0], s, cmd.Flags())
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.repository, "repository", "", "`FORGE:OWNER/NAME` to build, or none")
	f.StringVar(&s.branch, "branch", "", "the `branch` to build; empty means default")
	f.StringVar(&s.root, "root", "", "the `folder` of the site's source")
	f.StringArrayVar(&s.watch, "watch", nil, "build on changes to `pattern`; repeatable")
	f.BoolVar(&s.cancelRunning, "cancel-running", false, "stop the running build for a newer commit")
	f.StringVar(&s.ifMatch, "if-match", "", "change only the settings with this `ETAG`")
	s.build = addBuildSettings(f)
	return cmd
}

func pipelineSet(ctx context.Context, a *app, pipeline string, s pipelineSettings, flags *pflag.FlagSet) error {
	change, err := s.change(flags.Changed)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.ConfigurePipeline(ctx, pipeline, change)
	if err != nil {
		return err
	}
	return a.printPipeline(ctx, c, p)
}

// change returns the given settings, or an error about all that are not valid.
func (s *pipelineSettings) change(given func(flag string) bool) (client.PipelineChange, error) {
	var c client.PipelineChange
	var wrong []error
	if s.repository == "none" {
		if given("branch") || given("root") {
			wrong = append(wrong, troy.Errorf(troy.Invalid, "none can't be combined with --branch or --root").At("--repository"))
		}
		c.NoRepository = true
	} else if err := s.repositoryChange(&c, given); err != nil {
		wrong = append(wrong, err)
	}
	if given("watch") {
		patterns := s.watch
		if len(patterns) == 1 && patterns[0] == "" {
			patterns = []string{}
		}
		if err := watch.Check(patterns); err != nil {
			wrong = append(wrong, err)
		}
		c.WatchPaths = &patterns
	}
	if given("cancel-running") {
		c.CancelRunning = &s.cancelRunning
	}
	if s.ifMatch == "" && given("if-match") {
		wrong = append(wrong, troy.Errorf(troy.Invalid, "expected the etag of troy pipeline show --json").At("--if-match"))
	}
	c.IfMatch = s.ifMatch
	c.Build = s.build()
	if len(wrong) > 0 {
		return c, together(wrong)
	}
	if c.Repository == nil && c.WatchPaths == nil && c.CancelRunning == nil && c.Build == nil && !c.NoRepository {
		return c, troy.Errorf(troy.Invalid, "expected at least one flag (see troy pipeline set --help)")
	}
	return c, nil
}

// together returns one error about all that is wrong.
func together(wrong []error) error {
	if len(wrong) == 1 {
		return wrong[0]
	}
	e := troy.Errorf(troy.Invalid, "%s, so nothing was changed", troy.Count(len(wrong), "setting is not valid", "settings are not valid"))
	for _, err := range wrong {
		e.Details = append(e.Details, err.Error())
	}
	return e
}

func (s *pipelineSettings) repositoryChange(c *client.PipelineChange, given func(flag string) bool) error {
	var r client.RepositoryChange
	if given("repository") {
		forge, name, ok := strings.Cut(s.repository, ":")
		provider := troy.Provider(forge)
		if !ok || strings.Count(name, "/") != 1 || !slices.Contains(troy.Providers(), provider) {
			var forms []string
			for _, p := range troy.Providers() {
				forms = append(forms, string(p)+":OWNER/NAME")
			}
			return troy.Errorf(troy.Invalid, "it is %q; expected %s or none", s.repository, strings.Join(forms, ", ")).At("--repository")
		}
		r.Provider, r.FullName = &provider, &name
		c.Repository = &r
	}
	if given("branch") {
		r.Branch = &s.branch
		c.Repository = &r
	}
	if given("root") {
		r.Root = &s.root
		c.Repository = &r
	}
	return nil
}
