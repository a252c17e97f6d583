package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// configFor returns the rules in the configuration files that belong to a
// folder or an archive, and the paths of those files. Of each name it takes the
// first one: in the folder itself, then in each folder above up to the current
// one, or else beside the folder.
func configFor(name string) (config []rules.ConfigFile, paths []string, err error) {
	for _, file := range rules.ConfigNames() {
		for _, dir := range configDirs(name) {
			path := filepath.Join(dir, file)
			data, err := readConfigFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			f, ok, err := rules.NewConfig(file, data)
			if err != nil {
				return nil, nil, troy.Errorf(troy.KindOf(err), "%s: %s", path, strings.TrimPrefix(err.Error(), file+": "))
			}
			if ok {
				config, paths = append(config, f), append(paths, path)
			}
			break
		}
	}
	return config, paths, nil
}

// configDirs returns the folders in which a site's configuration may be.
func configDirs(name string) []string {
	place, err := realPath(name)
	if err != nil {
		return nil
	}
	var dirs []string
	if info, err := os.Stat(place); err == nil && info.IsDir() {
		dirs = append(dirs, place)
	}
	here, err := realPath(".")
	if err != nil || place == here {
		return dirs
	}
	if !strings.HasPrefix(place, here+string(filepath.Separator)) {
		return append(dirs, filepath.Dir(place))
	}
	for dir := filepath.Dir(place); ; dir = filepath.Dir(dir) {
		if dirs = append(dirs, dir); dir == here {
			return dirs
		}
	}
}

// readConfigFile reads a file that is small enough for rules.NewConfig to say
// that it is too large.
func readConfigFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, 8*rules.MaxConfig))
}

// compileRules compiles the rules of a source.
func compileRules(source *site.Source, config []rules.ConfigFile, strict bool) (rules.Report, error) {
	out, err := rules.FromTree(site.Manifest{Files: source.Files}, func(f site.File) (data []byte, err error) {
		r, err := source.Open(f.Path)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		return io.ReadAll(io.LimitReader(r, f.Size))
	}, rules.Input{Config: config, Strict: strict})
	return out.Report, err
}

// describe says how many rules and problems a report has.
func describe(r rules.Report) string {
	text := fmt.Sprintf("%s, %s", troy.Count(r.Redirects, "redirect", "redirects"), troy.Count(r.Headers, "path with headers", "paths with headers"))
	if r.Clean() {
		return text + ", no problems"
	}
	return fmt.Sprintf("%s, %s, %s", text, troy.Count(r.Errors, "error", "errors"), troy.Count(r.Warnings, "warning", "warnings"))
}

// mostProblems is the maximum number of problems that a release prints.
const mostProblems = 20

// printProblems prints up to most problems of a report.
func printProblems(to io.Writer, r rules.Report, most int) {
	for i, p := range r.Problems {
		if i == most {
			break
		}
		where := "the site"
		if p.File != "" {
			where = p.File
		}
		if p.Line > 0 {
			where += fmt.Sprintf(":%d", p.Line)
		}
		_, _ = fmt.Fprintf(to, "%s: %s: %s (%s)\n", clean(where), p.Severity, clean(p.Message), p.Code)
	}
	if more := r.Errors + r.Warnings + r.Notices - min(most, len(r.Problems)); more > 0 {
		_, _ = fmt.Fprintf(to, "and %d more\n", more)
	}
}

// showRules prints the report on a deployment's rules on stderr, if there are
// rules or problems.
func (a *app) showRules(ctx context.Context, c *client.Client, pipeline string, d client.Deployment) {
	r, err := c.DeploymentRules(ctx, pipeline, d.ID)
	if err != nil || !r.Compiled || r.Empty() {
		return // the deployment itself matters more, and is reported
	}
	_, _ = fmt.Fprintf(a.err, "Rules: %s\n", describe(r.Report))
	printProblems(a.err, r.Report, mostProblems)
	if len(r.Problems) > mostProblems {
		_, _ = fmt.Fprintf(a.err, "To see the rest, run: troy deployment rules %s %d\n", clean(pipeline), d.Number)
	}
}

func newDeploymentRules(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rules P D",
		Short: "Show the problems of a deployment's redirects and headers",
		Args:  arguments(2, "a pipeline", "a deployment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.connect()
			if err != nil {
				return err
			}
			var id uuid.UUID
			if id, err = deploymentID(ctx, c, args[0], args[1]); err != nil {
				return err
			}
			r, err := c.DeploymentRules(ctx, args[0], id)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			printProblems(a.out, r.Report, len(r.Problems))
			_, _ = fmt.Fprintf(a.err, "Rules: %s\n", describe(r.Report))
			return nil
		},
	}
}

func newCheck(a *app) *cobra.Command {
	strict := false
	cmd := &cobra.Command{
		Use:   "check PATH",
		Short: "Check a site's redirects, headers and settings",
		Long: `Check the redirects, headers and settings of a folder or an archive, without a
server: _redirects and _headers in it, and the rules in troy.toml, netlify.toml,
vercel.json, firebase.json and wrangler.toml in it, above it up to the current
folder, or beside it. Each problem is a line on stdout:

  FILE:LINE: SEVERITY: MESSAGE (CODE)

An error is a line that is ignored or can't work. A warning is one that probably
does not do what was meant. A notice is worth knowing, such as a password in a
file. The exit code is 2 if there is an error or, with --strict, a warning.`,
		Example: `  troy check ./public
  troy check ./public --strict`,
		Args: arguments(1, "a folder or an archive"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return check(cmd.Context(), a, args[0], strict)
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings too")
	return cmd
}

func check(ctx context.Context, a *app, path string, strict bool) error {
	source, err := site.OpenSource(ctx, path, readLimits(), site.LeavingOut())
	if err != nil {
		return unreadable(path, err)
	}
	defer func() { _ = source.Close() }()
	config, used, err := configFor(path)
	if err != nil {
		return err
	}
	report, err := compileRules(source, config, strict)
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(report); err != nil {
			return err
		}
	} else {
		printProblems(a.out, report, len(report.Problems))
		if len(used) > 0 {
			_, _ = fmt.Fprintf(a.err, "Read with the site: %s\n", clean(strings.Join(relativePaths(used), ", ")))
		}
		_, _ = fmt.Fprintf(a.err, "Rules: %s\n", describe(report))
	}
	switch {
	case report.Errors > 0:
		return troy.Errorf(troy.Invalid, "the rules have %s", troy.Count(report.Errors, "error", "errors"))
	case report.Strict && report.Warnings > 0:
		return troy.Errorf(troy.Invalid, "the rules have %s, and strict is set", troy.Count(report.Warnings, "warning", "warnings"))
	}
	return nil
}

// relativePaths returns paths relative to the current folder if that is
// shorter.
func relativePaths(paths []string) []string {
	here, err := realPath(".")
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = p
		if err != nil {
			continue
		}
		if short, err := filepath.Rel(here, p); err == nil && len(short) < len(p) {
			out[i] = short
		}
	}
	return out
}
