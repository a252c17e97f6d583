package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// releaseOptions are the flags of release.
type releaseOptions struct {
	pipeline   required
	message    string
	noPublish  bool
	preview    string
	expectLive string
	parallel   number
	guard      guard
	waiting    waiting
	strict     bool
	dryRun     bool
	fromGit    bool
}

const (
	// draftLabel is the label of a preview whose label is not given.
	draftLabel = "draft"
	// withoutLabel is the value of --preview without one. The help of a flag
	// with this value and type does not show it.
	withoutLabel = "true"
)

// previewFlag is the label of a preview, as a flag whose value is optional.
type previewFlag string

func (f *previewFlag) String() string { return string(*f) }

func (f *previewFlag) Set(text string) error {
	if *f = previewFlag(text); text == withoutLabel {
		*f = draftLabel
	}
	return nil
}

// Type implements pflag.Value.
func (f *previewFlag) Type() string { return "bool" }

func newRelease(a *app) *cobra.Command {
	o := releaseOptions{
		pipeline: required{missing: "the pipeline is missing"},
		parallel: number{n: client.DefaultParallel, least: 1, most: 256},
	}
	cmd := &cobra.Command{
		Use:   "release PATH|- --pipeline P",
		Short: "Upload a folder or an archive and publish it",
		Long: `Upload a folder or an archive (zip, tar, tar.gz, tar.zst) and publish it. Only
files that the pipeline does not have yet are sent. The site changes all at
once; until then, and if anything fails, the previous deployment stays live.
Progress goes to stderr; the last line on stdout is the live site's address.

Files and folders whose names begin with a dot (except .well-known) and
node_modules are left out, and so are the paths in .troyignore, which has the
syntax of .gitignore; a line "!.name" includes a path again. If the name or the
content of a file shows that it contains a secret, nothing is sent.

Redirects, headers and settings come from _redirects and _headers in the folder
and from troy.toml, netlify.toml, vercel.json, firebase.json and wrangler.toml
in it, above it up to the current folder, or beside it. Their problems are
listed when the deployment has ended; with --strict, they keep it from going
live. See also troy check.

With --preview the site does not change: the files are shown at an address of
their own, which begins with the label; without a label it is draft.

With - in place of PATH the archive is read from stdin.

To continue an interrupted release, run the same command again. It skips the
files that were sent.

In GitHub Actions, GitLab CI and Bitbucket Pipelines no token is needed, if the
pipeline trusts the job (troy trust), and the message describes the commit.`,
		Example: `  troy release ./public --pipeline blog --message "New prices"
  troy release site.zip --pipeline blog --no-publish
  troy release ./public --pipeline blog --preview=spring
  troy release ./public --pipeline blog --expect-live 41
  troy release ./public --pipeline blog --dry-run
  tar -C public -c . | troy release - --pipeline blog`,
		Args: arguments(1, "a folder or an archive"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return release(cmd.Context(), a, args[0], o)
		},
	}
	cmd.Flags().VarP(&o.pipeline, "pipeline", "p", "the `pipeline`, by slug or id (required)")
	cmd.Flags().StringVarP(&o.message, "message", "m", "", "a `text` to show with the deployment")
	cmd.Flags().BoolVar(&o.fromGit, "from-git", false, "add the commit, branch and author to the message")
	cmd.Flags().BoolVar(&o.noPublish, "no-publish", false, "upload only; publish later with troy promote")
	cmd.Flags().Var((*previewFlag)(&o.preview), "preview", "show it as the preview `LABEL` (--preview=LABEL)")
	cmd.Flags().Lookup("preview").NoOptDefVal = withoutLabel
	cmd.Flags().StringVar(&o.expectLive, "expect-live", "", "publish only if `D` is live, or \"none\" if nothing is")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would change; send nothing")
	cmd.Flags().Var(&o.parallel, "parallel", "send at most `N` requests at a time")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "refuse a site whose rules have problems")
	o.guard.addFlags(cmd)
	o.waiting.addFlags(cmd)
	return cmd
}

func release(ctx context.Context, a *app, path string, o releaseOptions) error {
	if err := o.waiting.check(); err != nil {
		return err
	}
	if o.preview != "" && (o.noPublish || o.expectLive != "") {
		return troy.Errorf(troy.Invalid, "it can't be combined with --no-publish and --expect-live").At("--preview")
	}
	if path != standardInput {
		if err := notTooWide(path); err != nil {
			return err
		}
	}
	var err error
	if o.message, err = a.describe(ctx, path, o.message, o.fromGit); err != nil {
		return err
	}
	c, err := a.connectFor(ctx, o.pipeline.text)
	if err != nil {
		return err
	}
	// Fetch the pipeline first, so that a wrong name or token is reported
	// before a large folder is read.
	p, err := c.Pipeline(ctx, o.pipeline.text)
	if err != nil {
		return err
	}
	if err := refuseDeleting(p); err != nil {
		return err
	}
	if o.preview != "" {
		if err := troy.CheckPreviewLabel(o.preview, p.Slug); err != nil {
			return err
		}
	}
	if err := refuseLocked(p); err != nil && !o.noPublish && o.preview == "" {
		return err
	}
	if needs := needsProvisioning(p); needs != "" && !o.noPublish {
		_, _ = fmt.Fprintf(a.err, "Note: %s\n", clean(needs))
	}
	o.guard.unused = o.dryRun || o.noPublish || o.preview != ""
	if o.dryRun {
		return a.wouldChange(ctx, c, p, path, o)
	}
	expect, err := expectation(ctx, c, o.pipeline.text, o.expectLive)
	if err != nil {
		return err
	}
	d, err := a.send(ctx, c, path, o, expect)
	if troy.KindOf(err) == troy.Moved && expect != "" {
		return otherLive(ctx, c, o.pipeline.text, o.expectLive, err)
	}
	if err != nil {
		return &hintError{err, "nothing was published. Run the same command again to continue; it skips the files that were sent"}
	}
	o.waiting.unpublished, o.waiting.preview, o.waiting.rules = o.noPublish, o.preview, true
	return a.await(ctx, c, o.pipeline.text, d, o.waiting)
}

// otherLive returns an error with the numbers of the live and the expected
// deployment.
func otherLive(ctx context.Context, c *client.Client, pipeline, expected string, err error) error {
	p, lookErr := c.Pipeline(ctx, pipeline)
	if lookErr != nil {
		return err
	}
	live := "nothing"
	if p.LiveDeploymentID != nil {
		live = numberOf(ctx, c, pipeline, p.LiveDeploymentID)
	}
	return troy.Errorf(troy.Moved, "%s is live, expected %s; nothing was published", live, expected).At("--expect-live")
}

// send reads, declares, uploads and finalizes.
func (a *app) send(ctx context.Context, c *client.Client, path string, o releaseOptions, expectLive string) (client.Deployment, error) {
	p := a.newProgress()
	defer p.stop()
	c.Away = p.away
	source, err := a.read(ctx, p, path, o.guard)
	if err != nil {
		return client.Deployment{}, err
	}
	defer func() { _ = source.Close() }()
	p.stop()
	if err := a.inspect(ctx, path, source, o.guard); err != nil {
		return client.Deployment{}, err
	}

	config, err := a.checkRules(path, source, o.strict)
	if err != nil {
		return client.Deployment{}, err
	}
	// The key only makes this run's calls repeatable. Releasing the same files
	// again later, such as after a rollback, is a new deployment.
	key := uuid.NewString()
	n := client.NewRelease{Files: source.Files, Message: o.message, Config: config, Strict: o.strict}
	if before, known := source.Before(); known {
		n.Base = &before
	}
	r, err := c.BeginRelease(ctx, o.pipeline.text, key, n)
	if e, ok := errors.AsType[*troy.Error](err); ok {
		// People don't see the list that was sent, so its position is useless
		// to them; the message names the file.
		if strings.HasPrefix(e.Field, "files") {
			e.Field = ""
		}
		if e.Field == "message" {
			e.Field = "--message"
		}
	}
	if err != nil {
		return client.Deployment{}, err
	}
	// The server may request only declared files.
	if err := declared(source.Files, r.Missing); err != nil {
		return client.Deployment{}, err
	}
	var bytes int64
	for _, f := range r.Missing {
		bytes += f.Size
	}
	p.stop()
	if twins := site.CaseTwins(source.Files); len(twins) > 0 {
		_, _ = fmt.Fprintf(a.err, "Warning: %s and %s differ only in case%s.\n",
			clean(twins[0][0]), clean(twins[0][1]), andMore(len(twins)-1))
	}
	_, _ = fmt.Fprintf(a.err, "%s, %s; to upload: %s, %s\n",
		troy.Count(len(source.Files), "file", "files"), troy.Size(source.Bytes()), troy.Count(len(r.Missing), "file", "files"), troy.Size(bytes))
	if len(r.Missing) > 0 {
		err := c.Upload(ctx, o.pipeline.text, r, client.Upload{
			Open: source.Open, Parallel: o.parallel.n, Progress: p.upload(len(r.Missing), bytes),
		})
		if err != nil {
			return client.Deployment{}, err
		}
	}
	return c.FinalizeRelease(ctx, o.pipeline.text, r.ID, client.Finalize{NoPublish: o.noPublish, ExpectLive: expectLive, Preview: o.preview})
}

// checkRules returns the rules in the site's configuration files. If the rules
// are strict and have problems, it returns an error before anything is sent.
func (a *app) checkRules(path string, source *site.Source, strict bool) ([]rules.ConfigFile, error) {
	config, used, err := configFor(path)
	if err != nil {
		return nil, err
	}
	if len(used) > 0 {
		_, _ = fmt.Fprintf(a.err, "Read with the site: %s\n", clean(strings.Join(relativePaths(used), ", ")))
	}
	report, err := compileRules(source, config, strict)
	if err != nil {
		return nil, err
	}
	if report.Strict && !report.Clean() {
		e := troy.Errorf(troy.Invalid, "the site's rules have %s, and strict is set", troy.Count(report.Errors+report.Warnings, "problem", "problems"))
		for _, p := range report.Problems {
			if p.Severity != rules.Notice {
				e.Details = append(e.Details, p.String())
			}
		}
		return nil, e
	}
	return config, nil
}

// andMore returns the number of other pairs for a sentence, or "".
func andMore(n int) string {
	if n == 0 {
		return ""
	}
	return ", as do " + troy.Count(n, "other pair", "other pairs")
}

// declared returns an error if the server requests a file that was not
// declared. files are sorted by path.
func declared(files, missing []site.File) error {
	at := -1
	for i, f := range missing {
		// Mostly the next one is requested.
		if at++; at >= len(files) || files[at] != f {
			at, _ = slices.BinarySearchFunc(files, f.Path, func(f site.File, path string) int { return strings.Compare(f.Path, path) })
		}
		if at >= len(files) || files[at] != f {
			return troy.Errorf(troy.Internal, "the server requests %q, which is not part of this release; nothing was sent", f.Path)
		}
		missing[i] = files[at] // frees the memory of the path's copy
	}
	return nil
}
