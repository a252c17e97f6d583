//go:build !windows

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	detect "github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/sandbox"
	"github.com/troy-iaas/troy/builder/toolchain"
	"github.com/troy-iaas/troy/site"
)

// buildOptions are the flags of build.
type buildOptions struct {
	out       string
	replace   bool
	pipeline  string
	root      string
	variables []string
	bare      bool
}

func newBuild(a *app) *cobra.Command {
	var o buildOptions
	cmd := &cobra.Command{
		Use:   "build [PATH]",
		Short: "Build a folder on this machine, as the server would",
		Long: `Build a folder on this machine, as the server would: with the same detection of
what to run, the same versions of tools, the same isolation and the same checks
of the output. PATH is by default the current folder. The log goes to stderr, and
the last line on stdout is the folder with the output. Nothing is published.

The build gets what git does not ignore, without .git, node_modules and .env
files; the paths in .troyignore, which has the syntax of .gitignore, are left out
too, and a line "!.env" includes a path again.

With --pipeline, the root folder, the commands and the output folder are those of
the pipeline's settings. Its variables are not read; set them with --variable.

Isolation needs Linux with bubblewrap, slirp4netns and nftables. With
--no-isolation the build has your rights on this machine.

Exit status 6 means that the build failed.`,
		Example: `  troy build
  troy build web --out /tmp/site --variable API_URL=https://api.example.com
  troy build --pipeline blog --replace`,
		Args: arguments(0, "a folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := first(args)
			if dir == "" {
				dir = "."
			}
			return buildFolder(cmd.Context(), a, dir, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.out, "out", "o", "troy-out", "write the output into this `folder`")
	f.BoolVar(&o.replace, "replace", false, "replace that folder if it exists")
	f.StringVarP(&o.pipeline, "pipeline", "p", "", "use the settings of this `pipeline`")
	f.StringVar(&o.root, "root", "", "the `folder` of the site's source, below PATH")
	f.StringArrayVar(&o.variables, "variable", nil, "set a variable, as `NAME=VALUE`; repeatable")
	f.BoolVar(&o.bare, "no-isolation", false, "run the build with your rights")
	return cmd
}

// builtJSON is what build prints with --json.
type builtJSON struct {
	Output   string             `json:"output"`
	Files    int                `json:"files"`
	Bytes    int64              `json:"bytes"`
	Rule     string             `json:"rule"`
	Phases   []builder.PhaseRun `json:"phases"`
	Warnings []string           `json:"warnings"`
}

func buildFolder(ctx context.Context, a *app, dir string, o buildOptions) error {
	name := dir
	dir, err := realPath(name)
	if err != nil {
		return troy.Errorf(troy.NotFound, "folder not found: %s", name)
	}
	out, err := o.freeOutput()
	if err != nil {
		return err
	}
	if out == dir || strings.HasPrefix(dir, out+string(filepath.Separator)) {
		return troy.Errorf(troy.Invalid, "%s contains what is to be built; expected another folder", o.out).At("--out")
	}
	spec, err := o.spec(ctx, a, dir)
	if err != nil {
		return err
	}
	source, err := readSource(ctx, dir, out)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // it was only read
	a.describeSource(source)
	spec.Source = source.stream
	b, err := o.open()
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }() // ends a build that runs
	if err := clearBuild(ctx, b, spec.Tree); err != nil {
		return err
	}
	done, helps, err := a.runBuild(ctx, b, spec)
	// Also after an interrupt, so that nothing is left of the build.
	defer func() { _ = b.Remove(context.WithoutCancel(ctx), spec.Tree) }()
	if err != nil {
		return err
	}
	if done.State != builder.Succeeded {
		if helps != "" {
			_, _ = fmt.Fprintf(a.err, "Advice: %s.\n", clean(helps))
		}
		return &failedError{"the build failed: " + done.Cause}
	}
	made, err := b.Artifact(ctx, spec.Tree)
	if err != nil {
		return err
	}
	defer func() { _ = made.Close() }() // it was only read
	if err := writeOutput(ctx, made, out, o.replace); err != nil {
		return err
	}
	for _, warning := range done.Warnings {
		_, _ = fmt.Fprintf(a.err, "Warning: %s\n", clean(warning))
	}
	if a.json {
		return a.printJSON(builtJSON{out, len(made.Files), made.Bytes(), done.Rule, done.Phases, append([]string{}, done.Warnings...)})
	}
	_, _ = fmt.Fprintf(a.err, "Built %s, %s. To publish it: troy release %s --pipeline P\n", troy.Count(len(made.Files), "file", "files"), troy.Size(made.Bytes()), clean(quoted(o.out)))
	_, err = fmt.Fprintln(a.out, clean(out))
	return err
}

// freeOutput returns the whole path of the folder for the output. It must be
// free, unless it is to be replaced.
func (o buildOptions) freeOutput() (string, error) {
	out, err := filepath.Abs(o.out)
	if err != nil || o.out == "" {
		return "", troy.Errorf(troy.Invalid, "it is %q; expected a folder", o.out).At("--out")
	}
	// Its parent may be reached by links.
	parent, err := filepath.EvalSymlinks(filepath.Dir(out))
	if err != nil {
		return "", troy.Errorf(troy.NotFound, "folder not found: %s", filepath.Dir(out)).At("--out")
	}
	out = filepath.Join(parent, filepath.Base(out))
	if err := notTooWide(out); err != nil {
		return "", err
	}
	if _, err := os.Lstat(out); err == nil && !o.replace {
		return "", troy.Errorf(troy.Conflict, "%s exists; remove it, or give --replace", o.out).At("--out")
	}
	return out, nil
}

// spec describes the build, without its source. A folder has one build at a time,
// and its builds share a dependency cache.
func (o buildOptions) spec(ctx context.Context, a *app, dir string) (builder.Spec, error) {
	spec := builder.Spec{
		Tree:      site.Tree{Pipeline: uuid.NewSHA1(uuid.NameSpaceURL, []byte("file://"+dir)), Deployment: uuid.NewSHA1(uuid.NameSpaceURL, []byte("build of file://"+dir))},
		Settings:  detect.Settings{Root: o.root, Contexts: []string{"production"}},
		Variables: map[string]string{"TROY_CONTEXT": troy.ProductionContext},
	}
	for _, text := range o.variables {
		name, value, found := strings.Cut(text, "=")
		if !found || troy.ReservedVariable(name) {
			return spec, troy.Errorf(troy.Invalid, "it is %q; expected NAME=VALUE, with a name that Troy does not set itself", troy.Clip(name)).At("--variable")
		}
		spec.Variables[name] = value
	}
	if err := detect.CheckVariables(spec.Variables); err != nil {
		return spec, err
	}
	if o.pipeline == "" {
		return spec, nil
	}
	c, err := a.connect()
	if err != nil {
		return spec, err
	}
	p, err := c.Pipeline(ctx, o.pipeline)
	if err != nil {
		return spec, err
	}
	if p.Repository != nil && o.root == "" {
		spec.Settings.Root = p.Repository.Root
	}
	spec.URL = p.URL
	spec.Settings.Output, spec.Settings.Install, spec.Settings.Build, spec.Settings.Test = p.Build.Output, p.Build.Install, p.Build.Build, p.Build.Test
	return spec, nil
}

// open opens the builder. Its files are in the user's cache.
func (o buildOptions) open() (*sandbox.Builder, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "there is no folder for caches: %w", err)
	}
	tools, err := toolchain.Open(toolchain.Config{Dir: filepath.Join(cache, "troy", "tools"), Install: true, Mise: toolchain.FindMise()})
	if err != nil {
		return nil, err
	}
	isolation := sandbox.Bubblewrap
	if o.bare {
		isolation = sandbox.NoIsolation
	}
	return sandbox.New(sandbox.Config{Root: filepath.Join(cache, "troy", "build"), Isolation: isolation, Tools: tools})
}

// stream packs the source while the build unpacks it.
func (s *localSource) stream(ctx context.Context, _ string) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(s.write(ctx, w, func(int64) {})) }() // never fails
	return r, nil
}

// clearBuild removes what a build of the same folder left that was killed. It
// returns Conflict if one runs.
func clearBuild(ctx context.Context, b *sandbox.Builder, t site.Tree) error {
	before, err := b.Get(ctx, t)
	if err == nil && before.State == builder.Running {
		return troy.Errorf(troy.Conflict, "another troy build of this folder runs; wait for its end")
	}
	if err != nil && !errors.Is(err, builder.ErrNotFound) {
		return err
	}
	return b.Remove(ctx, t)
}

// buildPoll is the interval between looks at a running build.
const buildPoll = 100 * time.Millisecond

// runBuild runs a build to its end and copies its log to stderr. helps is what
// helps against its failure, or "".
func (a *app) runBuild(ctx context.Context, b *sandbox.Builder, spec builder.Spec) (done builder.Build, helps string, err error) {
	if err := b.Start(ctx, spec); err != nil {
		return done, "", notIsolated(err)
	}
	var end builder.LogEnd
	tick := time.NewTicker(buildPoll)
	defer tick.Stop()
	var log io.Writer = a.err
	if a.err.terminal {
		tame := &tamer{w: a.err, colour: a.err.colour}
		defer tame.end()
		log = tame
	}
	cursor := ""
	for {
		page, err := b.Log(ctx, spec.Tree, cursor)
		if err != nil {
			return done, "", err
		}
		_, _ = log.Write(page.Data) // the build does not depend on it
		end.Add(page.Data)
		cursor = page.Next
		if page.End {
			done, err = b.Get(ctx, spec.Tree)
			return done, done.Advice(end.Phase()), err
		}
		if len(page.Data) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return done, "", context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// notIsolated replaces the advice for servers.
func notIsolated(err error) error {
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Kind == troy.Conflict {
		return &adviceError{err, "To run the build with your rights on this machine: troy build --no-isolation"}
	}
	return err
}

// writeOutput writes the files of a build as a folder, which appears complete.
func writeOutput(ctx context.Context, made *site.Source, out string, replace bool) (err error) {
	temp, err := os.MkdirTemp(filepath.Dir(out), ".troy-out-*")
	if err != nil {
		return troy.Errorf(troy.Invalid, "the output can't be written: %w", err).At("--out")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := os.Chmod(temp, 0o755); err != nil { //nolint:gosec // as a folder that mkdir makes
		return err
	}
	root, err := os.OpenRoot(temp)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // its files are closed
	for _, f := range made.Files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := writeFile(root, made, f.Path); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	if replace {
		if err := os.RemoveAll(out); err != nil {
			return err
		}
	}
	return os.Rename(temp, out)
}

func writeFile(root *os.Root, made *site.Source, name string) error {
	if err := root.MkdirAll(filepath.Dir(filepath.FromSlash(name)), 0o755); err != nil {
		return err
	}
	from, err := made.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // it was only read
	to, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
