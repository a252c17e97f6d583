// Package codebuild builds on AWS CodeBuild. cmd/troyd makes it for
// TROY_AWS_PROJECT. The state of a build is in the work bucket, so any process
// can poll it, whichever started it.
package codebuild

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/codebuild/updates"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// Config sets where builds run and what they get.
type Config struct {
	awsapi.Config
	// Project is the name of the CodeBuild project.
	Project string
	// WorkBucket holds sources and outputs, which only Troy and its builds
	// read.
	WorkBucket string
	// Temp is the folder for sources and outputs that are being examined. It is
	// created when needed; empty means the system's temporary folder.
	Temp string
	// Environment is set in every build, and Path lists additional folders with
	// programs, before those of the build's image.
	Environment map[string]string
	Path        []string
	// CacheBytes bounds one dependency cache, AllCachesBytes all together. Zero
	// means 2 and 20 GiB.
	CacheBytes, AllCachesBytes int64
}

// Builder runs builds on CodeBuild: it passes the source in the work bucket and
// gets the output there. A build continues without the worker that started it;
// its record is in the bucket too, so any worker can poll it.
type Builder struct {
	project string
	client  *codebuild.Client
	logs    *cloudwatchlogs.Client
	work    awsapi.Bucket
	scratch scratch
	every   settings
	last    opened

	cacheBytes, allCachesBytes int64
}

var _ builder.Builder = (*Builder)(nil)

// New returns the builder of a project.
func New(loaded aws.Config, cfg Config) *Builder {
	return &Builder{
		project: cfg.Project, client: codebuild.NewFromConfig(loaded), logs: cloudwatchlogs.NewFromConfig(loaded),
		work: awsapi.Bucket{Client: awsapi.NewS3(loaded, cfg.Config), Name: cfg.WorkBucket}, scratch: newScratch(cfg), every: settings{cfg.Environment, cfg.Path},
		cacheBytes: cmp.Or(cfg.CacheBytes, defaultCacheBytes), allCachesBytes: cmp.Or(cfg.AllCachesBytes, 10*defaultCacheBytes),
	}
}

const (
	// variableDeployment and variableAttempt are environment variables of a
	// build that identify it in CodeBuild's lists and events.
	variableDeployment, variableAttempt = updates.Variable, "TROY_ATTEMPT"
	// maxAttempts is how often a build is started that CodeBuild itself aborts.
	maxAttempts = 2
	// queuedMinutes is how long a build may wait for a machine.
	queuedMinutes = 120
	// maxRecord bounds the size of a record.
	maxRecord = 4 << 20
)

// record is the state of a build in the work bucket.
type record struct {
	// Folder is a part of the keys that CodeBuild reads and writes. All builds
	// have one role, which may list nothing, so no build finds another's
	// objects.
	Folder string         `json:"folder"`
	Plan   build.Plan     `json:"plan"`
	Node   string         `json:"node,omitempty"` // the image's major version
	Limits builder.Limits `json:"limits"`
	// Cache is the key of the build's dependency cache, or empty.
	Cache    string    `json:"cache,omitempty"`
	Started  time.Time `json:"started"`
	Attempts int       `json:"attempts"`
	// ID is CodeBuild's id, once known.
	ID        string `json:"id,omitempty"`
	LogGroup  string `json:"log_group,omitempty"`
	LogStream string `json:"log_stream,omitempty"`
	// Cause is why the build is being stopped, unless a user asked for it.
	Cause string `json:"cause,omitempty"`
	// Head and Tail are Troy's own lines around CodeBuild's log.
	Head string `json:"head,omitempty"`
	Tail string `json:"tail,omitempty"`
	// Output is the repository folder that holds the site, once known. listKey
	// lists its files.
	Output string `json:"output,omitempty"`
	// End is the build's final state.
	End *builder.Build `json:"end,omitempty"`
}

func (r record) nothingToRun() bool { return r.Plan.Install+r.Plan.Build+r.Plan.Test == "" }

func (r record) folder(t site.Tree) string    { return buildPrefix(t) + r.Folder }
func (r record) sourceKey(t site.Tree) string { return r.folder(t) + "/source.zip" }
func (r record) outputKey(t site.Tree) string { return r.folder(t) + "/" + outputName }
func (r record) cacheKey(t site.Tree) string  { return r.folder(t) + "/" + cacheName }

func (b *Builder) read(ctx context.Context, t site.Tree) (r record, err error) {
	data, err := b.work.Get(ctx, recordKey(t), maxRecord)
	if errors.Is(err, awsapi.ErrNotFound) {
		return r, fmt.Errorf("read %s: %w", recordKey(t), builder.ErrNotFound)
	}
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("read %s: %w", recordKey(t), err)
	}
	return r, nil
}

func (b *Builder) write(ctx context.Context, t site.Tree, r record) error {
	return b.put(ctx, t, r, false)
}

// put writes the record; if it must not replace one, it writes once.
func (b *Builder) put(ctx context.Context, t site.Tree, r record, once bool) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.work.Put(ctx, recordKey(t), data, "application/json", once)
}

// Start implements builder.Builder. It fetches and examines the source on this
// machine.
func (b *Builder) Start(ctx context.Context, spec builder.Spec) error {
	if err := b.start(ctx, spec); err != nil {
		return fmt.Errorf("start build %s: %w", spec.Tree.Deployment, err)
	}
	return nil
}

func (b *Builder) start(ctx context.Context, spec builder.Spec) error {
	if spec.Tree.Pipeline == uuid.Nil || spec.Tree.Deployment == uuid.Nil || spec.Source == nil {
		return troy.Errorf(troy.Invalid, "a build needs a pipeline, a deployment and a source")
	}
	if err := build.CheckVariables(spec.Variables); err != nil {
		return err
	}
	if spec.Untrusted {
		// Its processes can take the credentials of the role that all builds
		// share.
		return troy.Errorf(troy.Conflict, "the author of the commit may not push to the repository, and builds on CodeBuild are not isolated from each other; push the commit to a branch of the repository to build it")
	}
	spec.Limits = spec.Limits.OrDefault()
	r, err := b.read(ctx, spec.Tree)
	switch {
	case errors.Is(err, builder.ErrNotFound):
		if r, err = b.begin(ctx, spec); err != nil || r.End != nil {
			return err
		}
	case err != nil:
		return err
	case r.End != nil:
		return nil
	case r.ID != "":
		// A build that CodeBuild aborted is started again.
		now, err := b.Get(ctx, spec.Tree)
		if err != nil || now.State != builder.Lost {
			return err
		}
		r.Attempts, r.ID, r.LogGroup, r.LogStream = r.Attempts+1, "", "", ""
		r.Head += "CodeBuild aborted the build; it starts again.\n"
		if err := b.write(ctx, spec.Tree, r); err != nil {
			return err
		}
	default:
		// The start was imminent, or its answer was lost.
		if r.ID, err = b.find(ctx, spec.Tree, r.Attempts); err != nil {
			return err
		}
	}
	if r.ID == "" {
		if r.ID, err = b.startBuild(ctx, spec.Tree, r); err != nil {
			return err
		}
	}
	return b.write(ctx, spec.Tree, r)
}

// begin uploads the source and records the build, so that a lost answer to the
// next call can be recovered. It ends the build at once if the source can't be
// built or no command has to run.
func (b *Builder) begin(ctx context.Context, spec builder.Spec) (r record, err error) {
	dir, err := b.scratch.folder(ctx, "source")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	r = record{Folder: rand.Text(), Limits: spec.Limits, Started: time.Now().UTC(), Attempts: 1}
	var p prepared
	err = b.scratch.keeping(ctx, dir, func(ctx context.Context) error {
		p, err = b.prepare(ctx, dir, spec)
		return err
	})
	r.Plan, r.Node, r.Cache = p.plan, p.node, p.cache.key
	r.Head = fmt.Sprintf("==> %s\n%s%s%s%s%s", builder.PhaseSource, line(p.sourced), line(strings.Join(append([]string{p.plan.Why}, p.plan.Notes...), "\n")), line(p.plan.Ignored(spec.Variables)), line(p.nodeSaid), line(p.cache.note))
	switch failed := (*sourceFailed)(nil); {
	case err != nil && ctx.Err() != nil:
		return r, err
	case errors.As(err, &failed):
		r.end(builder.Failed, builder.SourceFailed, source(r.Started, time.Now().UTC(), 1))
	case err != nil && troy.KindOf(err) != troy.Internal:
		r.end(builder.Failed, err.Error(), source(r.Started, time.Now().UTC(), 1))
	case err != nil:
		return r, err
	default:
		if err := b.work.Send(ctx, r.sourceKey(spec.Tree), p.archive()); err != nil {
			return r, err
		}
		if r.nothingToRun() {
			if err := b.archivePlain(ctx, spec.Tree, &r, p); err != nil {
				return r, err
			}
		}
	}
	err = b.put(ctx, spec.Tree, r, true)
	if errors.Is(err, awsapi.ErrPrecondition) {
		// Another worker started it meanwhile, or the answer was lost.
		return b.read(ctx, spec.Tree)
	}
	return r, err
}

// archivePlain ends a build without commands: the source is the site.
func (b *Builder) archivePlain(ctx context.Context, t site.Tree, r *record, p prepared) error {
	fetched := source(r.Started, time.Now().UTC(), 0)
	archive := builder.PhaseRun{Phase: builder.PhaseArchive, Started: fetched.Ended}
	s, out, err := openOutput(ctx, p.repo(), p.plan, build.Written{}, r.Limits.OutputBytes)
	state, cause, code := builder.Succeeded, "", 0
	if err == nil {
		r.Tail = summary(s, out)
		if err := errors.Join(b.writeList(ctx, t, r, out, s), s.Close()); err != nil {
			return err
		}
	} else {
		state, cause, code = builder.Failed, err.Error(), 1
	}
	archive.Ended, archive.ExitCode = time.Now().UTC(), &code
	r.end(state, cause, fetched, archive)
	r.End.Warnings = out.Warnings
	return nil
}

func summary(s *site.Source, out build.Output) string {
	return fmt.Sprintf("==> %s\n", builder.PhaseArchive) + builder.OutputInWords(s, out)
}

// source runs the phase Download Source.
func source(from, to time.Time, code int) builder.PhaseRun {
	return builder.PhaseRun{Phase: builder.PhaseSource, Started: from, Ended: to, ExitCode: &code}
}

// line ends a text with a newline unless it is empty.
func line(s string) string {
	if s == "" {
		return ""
	}
	return s + "\n"
}

// end records the build's final state.
func (r *record) end(state builder.State, cause string, phases ...builder.PhaseRun) {
	r.End = &builder.Build{State: state, Cause: cause, Rule: r.Plan.Why, Workspace: r.Plan.Workspace, Unwatched: r.Plan.Unwatched, Root: r.Plan.SettingsRoot, Config: r.Plan.Config, Phases: phases, Started: r.Started, Ended: time.Now().UTC()}
	if cause != "" {
		r.Tail += "Failed: " + cause + ".\n"
	}
}

// startBuild starts the build with the same parameters each time: CodeBuild
// recognizes a repeated call by its token for five minutes.
func (b *Builder) startBuild(ctx context.Context, t site.Tree, r record) (string, error) {
	spec, err := buildspec(r.Node)
	if err != nil {
		return "", err
	}
	// CodeBuild's own limit backs up Get's; it accepts 5 to 2,160 minutes.
	minutes := min(max(int32(r.Limits.Time/time.Minute)+5, 5), 2160)
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*codebuild.StartBuildOutput, error) {
		return b.client.StartBuild(ctx, &codebuild.StartBuildInput{
			ProjectName: &b.project, IdempotencyToken: aws.String(r.Folder + "-" + strconv.Itoa(r.Attempts)),
			SourceTypeOverride: types.SourceTypeS3, SourceLocationOverride: aws.String(b.work.Name + "/" + r.sourceKey(t)),
			BuildspecOverride: &spec, TimeoutInMinutesOverride: &minutes, QueuedTimeoutInMinutesOverride: aws.Int32(queuedMinutes),
			CacheOverride: &types.ProjectCache{Type: types.CacheTypeNoCache},
			ArtifactsOverride: &types.ProjectArtifacts{
				Type: types.ArtifactsTypeS3, Location: &b.work.Name, Path: aws.String(strings.TrimSuffix(buildPrefix(t), "/")), Name: &r.Folder,
				NamespaceType: types.ArtifactNamespaceNone, Packaging: types.ArtifactPackagingNone, EncryptionDisabled: aws.Bool(true),
			},
			EnvironmentVariablesOverride: []types.EnvironmentVariable{
				{Name: aws.String(variableDeployment), Value: aws.String(t.Deployment.String()), Type: types.EnvironmentVariableTypePlaintext},
				{Name: aws.String(variableAttempt), Value: aws.String(strconv.Itoa(r.Attempts)), Type: types.EnvironmentVariableTypePlaintext},
			},
		})
	})
	if err = awsapi.Failed("start the build on CodeBuild", err); errors.Is(err, awsapi.ErrNotFound) {
		return "", troy.Errorf(troy.Conflict, "CodeBuild project not found in this account and region: %q; see TROY_AWS_PROJECT", b.project)
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Build.Id), nil
}

// newest returns the project's newest builds, up to a hundred.
func (b *Builder) newest(ctx context.Context) ([]types.Build, error) {
	list, err := awsapi.Call(ctx, func(ctx context.Context) (*codebuild.ListBuildsForProjectOutput, error) {
		return b.client.ListBuildsForProject(ctx, &codebuild.ListBuildsForProjectInput{ProjectName: &b.project, SortOrder: types.SortOrderTypeDescending})
	})
	if err != nil {
		return nil, awsapi.Failed("list the builds of "+b.project, err)
	}
	if len(list.Ids) == 0 {
		return nil, nil
	}
	return b.look(ctx, list.Ids...)
}

// find searches the newest builds for one whose start was not answered.
func (b *Builder) find(ctx context.Context, t site.Tree, attempt int) (string, error) {
	out, err := b.newest(ctx)
	if err != nil {
		return "", err
	}
	for _, found := range out {
		variables := map[string]string{}
		if found.Environment != nil {
			for _, v := range found.Environment.EnvironmentVariables {
				variables[aws.ToString(v.Name)] = aws.ToString(v.Value)
			}
		}
		if variables[variableDeployment] == t.Deployment.String() && variables[variableAttempt] == strconv.Itoa(attempt) {
			return aws.ToString(found.Id), nil
		}
	}
	return "", nil
}

func (b *Builder) look(ctx context.Context, ids ...string) ([]types.Build, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*codebuild.BatchGetBuildsOutput, error) {
		return b.client.BatchGetBuilds(ctx, &codebuild.BatchGetBuildsInput{Ids: ids})
	})
	if err != nil {
		return nil, awsapi.Failed("read builds", err)
	}
	return out.Builds, nil
}

// Stop implements builder.Builder. CodeBuild takes a while; Get shows the end.
func (b *Builder) Stop(ctx context.Context, t site.Tree) error {
	if err := b.stop(ctx, t); err != nil {
		return fmt.Errorf("stop build %s: %w", t.Deployment, err)
	}
	return nil
}

func (b *Builder) stop(ctx context.Context, t site.Tree) error {
	r, err := b.read(ctx, t)
	if err != nil || r.End != nil {
		return err
	}
	if r.ID == "" {
		if r.ID, err = b.find(ctx, t, r.Attempts); err != nil || r.ID == "" {
			return err // Get shows that it is not running
		}
		if err := b.write(ctx, t, r); err != nil {
			return err
		}
	}
	return b.halt(ctx, r.ID)
}

func (b *Builder) halt(ctx context.Context, id string) error {
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*codebuild.StopBuildOutput, error) {
		return b.client.StopBuild(ctx, &codebuild.StopBuildInput{Id: &id})
	})
	if err = awsapi.Failed("stop the build on CodeBuild", err); errors.Is(err, awsapi.ErrNotFound) {
		return fmt.Errorf("stop the build on CodeBuild: %w", builder.ErrNotFound)
	}
	return err
}

// Artifact implements builder.Builder.
func (b *Builder) Artifact(ctx context.Context, t site.Tree) (*site.Source, error) {
	r, err := b.read(ctx, t)
	if err == nil && (r.End == nil || r.End.State != builder.Succeeded) {
		err = troy.Errorf(troy.Conflict, "the build has not succeeded")
	}
	s := b.last.take(t)
	if err == nil && s == nil {
		s, err = b.outputAgain(ctx, t, r)
	}
	if err != nil {
		return nil, fmt.Errorf("open the artifact of build %s: %w", t.Deployment, err)
	}
	return s, nil
}

// Remove implements builder.Builder.
func (b *Builder) Remove(ctx context.Context, t site.Tree) error {
	if err := b.remove(ctx, t); err != nil {
		return fmt.Errorf("remove build %s of %s: %w", t.Deployment, t.Pipeline, err)
	}
	return nil
}

func (b *Builder) remove(ctx context.Context, t site.Tree) error {
	if s := b.last.take(t); s != nil {
		if err := s.Close(); err != nil {
			return err
		}
	}
	if t.Deployment != uuid.Nil {
		if err := b.stop(ctx, t); err != nil && !errors.Is(err, builder.ErrNotFound) {
			return err
		}
		if _, err := b.work.RemoveAll(ctx, buildPrefix(t)); err != nil {
			return err
		}
		if err := b.work.Remove(ctx, listKey(t)); err != nil {
			return err
		}
		// The record goes last: it leads to the rest.
		return b.work.Remove(ctx, recordKey(t))
	}
	var trees []site.Tree
	prefix := recordPrefix(t.Pipeline)
	err := b.work.List(ctx, prefix, func(o awsapi.Object) error {
		deployment, err := uuid.Parse(strings.TrimSuffix(o.Key[len(prefix):], listName))
		if tree := (site.Tree{Pipeline: t.Pipeline, Deployment: deployment}); err == nil && !slices.Contains(trees, tree) {
			trees = append(trees, tree)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, tree := range trees {
		if err := b.remove(ctx, tree); err != nil {
			return err
		}
	}
	for _, prefix := range []string{buildsPrefix(t.Pipeline), cachesPrefix(t.Pipeline)} {
		if _, err := b.work.RemoveAll(ctx, prefix); err != nil {
			return err
		}
	}
	return nil
}
