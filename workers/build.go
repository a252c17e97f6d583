package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

const (
	// buildPoll is how often a build that runs is looked at.
	buildPoll = 200 * time.Millisecond
	// stopPoll is how long after a stop a build is looked at again.
	stopPoll = 2 * time.Second
	// stopBuildTimeout bounds the killing of a build whose claim has ended.
	stopBuildTimeout = 20 * time.Second
	// storeParallel is how many files of a built site are stored at a time.
	storeParallel = 64
)

// build builds the commit of an automated deployment: its source is fetched,
// its phases run, its log kept line by line, and the files it made are stored.
// Then the deployment is to be published. The slot is held while the build
// runs, so the number of slots is how many builds run at a time.
func (w *Workers) build(ctx context.Context, c *claim) error {
	if w.deps.Builder == nil {
		return troy.Errorf(troy.Conflict, "this installation builds nothing")
	}
	d, p, err := w.startBuild(ctx, c)
	if err != nil {
		return err
	}
	tree := site.Tree{Pipeline: p.ID, Deployment: d.ID}
	done, err := w.runBuild(ctx, c, &d, p, tree)
	if err != nil {
		return err
	}
	if done.State == builder.Stopped {
		// Not by a cancellation, which would have moved the deployment: a worker
		// that lost its claim stops what it runs.
		if err := w.q.BuildRestart(ctx, d.ID); err != nil {
			return fmt.Errorf("forget the build that was stopped: %w", err)
		}
		if err := w.deps.Builder.Remove(ctx, tree); err != nil {
			return fmt.Errorf("remove the build that was stopped: %w", err)
		}
		return errors.New("the build was stopped with its worker's claim")
	}
	var made *site.Source
	if done.State == builder.Succeeded {
		if made, err = w.deps.Builder.Artifact(ctx, tree); err != nil {
			return fmt.Errorf("open what the build made: %w", err)
		}
		defer func() { _ = made.Close() }()
		if err := w.refuseSecrets(ctx, d, made, &done); err != nil {
			return err
		}
	}
	if err := w.finishLog(ctx, d.ID, done); err != nil {
		return err
	}
	switch done.State {
	case builder.Succeeded:
	case builder.Failed:
		return troy.Errorf(troy.Invalid, "%s", done.Cause)
	default:
		return errors.New("the build was lost with its worker")
	}
	if err := w.headStands(ctx, c, d); err != nil {
		return err
	}
	return w.storeArtifact(ctx, c, d, tree, made)
}

// runBuild starts the build, or finds it started, and waits for its end; one
// that goes on without this worker is looked at by poll-build.
func (w *Workers) runBuild(ctx context.Context, c *claim, d *queries.Deployment, p queries.Pipeline, tree site.Tree) (builder.Build, error) {
	if w.cfg.BuildPoll > 0 {
		done, err := w.deps.Builder.Get(ctx, tree)
		if err != nil && !errors.Is(err, builder.ErrNotFound) {
			return done, fmt.Errorf("look at the build: %w", err)
		}
		if err == nil && done.State == builder.Running {
			return done, w.pollLater(ctx, c, d.ID)
		}
		if err == nil && done.State != builder.Lost {
			return done, nil
		}
	}
	spec, err := w.buildSpec(ctx, d, p, tree)
	if err != nil {
		return builder.Build{}, err
	}
	attempt, err := w.q.BuildBegin(ctx, d.ID)
	if err != nil {
		return builder.Build{}, fmt.Errorf("count the start of the build: %w", err)
	}
	c.log.Info("building", "pipeline", p.ID, "deployment", d.ID, "commit", deref(d.CommitSha), "start", attempt)
	if err := w.deps.Builder.Start(ctx, spec); err != nil {
		return builder.Build{}, fmt.Errorf("start the build: %w", err)
	}
	if w.cfg.BuildPoll > 0 {
		return builder.Build{}, w.pollLater(ctx, c, d.ID)
	}
	done, err := w.followBuild(ctx, tree)
	if err != nil && ctx.Err() != nil {
		w.stopBuild(c, tree)
	}
	return done, err
}

// startBuild moves the deployment on to building, or finds it there.
func (w *Workers) startBuild(ctx context.Context, c *claim) (d queries.Deployment, p queries.Pipeline, err error) {
	read := func() error {
		d, err = w.q.DeploymentGet(ctx, c.task.Subject)
		if errors.Is(err, pgx.ErrNoRows) {
			return errMoved
		}
		if err != nil {
			return fmt.Errorf("read the deployment: %w", err)
		}
		if p, err = w.q.PipelineGet(ctx, d.PipelineID); err != nil {
			return fmt.Errorf("read the pipeline: %w", err)
		}
		return nil
	}
	if err := read(); err != nil {
		return d, p, err
	}
	if d.State == troy.Waiting && p.Status == troy.Queued {
		if err := move(ctx, w, p.ID, (*queries.Queries).BuildStart, queries.BuildStartParams{PipelineID: p.ID, ID: d.ID, Epoch: c.epoch, Actor: actor}); err != nil {
			return d, p, err
		}
		if err := read(); err != nil {
			return d, p, err
		}
	}
	if d.State != troy.Building {
		return d, p, errMoved
	}
	return d, p, nil
}

// followBuild copies what a build prints and how its phases stand to their
// rows until it has ended.
func (w *Workers) followBuild(ctx context.Context, tree site.Tree) (builder.Build, error) {
	var told progress
	tick := time.NewTicker(buildPoll)
	defer tick.Stop()
	for {
		b, _, err := w.lookAtBuild(ctx, tree, &told, nil)
		if err != nil || b.State != builder.Running {
			return b, err
		}
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-tick.C:
		}
	}
}

// progress is what was told of a build so far.
type progress struct {
	read   bool
	cursor string
	phases string
}

// lookAtBuild copies what a build printed and how its phases stand since the
// look before. logged tells that its log is whole.
func (w *Workers) lookAtBuild(ctx context.Context, tree site.Tree, told *progress, redact redactor) (b builder.Build, logged bool, err error) {
	if !told.read {
		row, err := w.q.BuildGet(ctx, tree.Deployment)
		if err != nil {
			return b, false, fmt.Errorf("read the build: %w", err)
		}
		told.read, told.cursor = true, row.LogCursor
	}
	// The state first: what was printed before an end is then in the log.
	if b, err = w.deps.Builder.Get(ctx, tree); err != nil {
		return b, false, fmt.Errorf("look at the build: %w", err)
	}
	if told.cursor, logged, err = w.copyLog(ctx, tree, told.cursor, redact); err != nil {
		return b, logged, err
	}
	phases, err := json.Marshal(b.Phases)
	if err != nil {
		return b, logged, fmt.Errorf("encode the phases: %w", err)
	}
	if now := string(phases) + b.Rule; now != told.phases {
		if err := w.q.BuildProgress(ctx, queries.BuildProgressParams{Phases: phases, Rule: b.Rule, DeploymentID: tree.Deployment}); err != nil {
			return b, logged, fmt.Errorf("write down the phases: %w", err)
		}
		if b.Rule != "" {
			if err := w.q.PipelineSawWorkspace(ctx, b.Workspace, tree.Deployment); err != nil {
				return b, logged, fmt.Errorf("write down the workspace: %w", err)
			}
		}
		told.phases = now
	}
	return b, logged, nil
}

// redactor wraps a writer so that no secret reaches it.
type redactor func(io.Writer) io.WriteCloser

// copyLog stores what the build printed after the cursor, and tells whether
// that was the last. Lines are redacted here if the builder does not do it.
func (w *Workers) copyLog(ctx context.Context, tree site.Tree, cursor string, redact redactor) (next string, whole bool, err error) {
	for {
		page, err := w.deps.Builder.Log(ctx, tree, cursor)
		if err != nil {
			return cursor, false, fmt.Errorf("read the build's log: %w", err)
		}
		data := page.Data
		if redact != nil && len(data) > 0 {
			if data, err = redacted(data, redact); err != nil {
				return cursor, false, err
			}
		}
		if len(data) > 0 {
			if _, err := w.q.BuildLogAppend(ctx, queries.BuildLogAppendParams{
				Bytes: data, LogCursor: page.Next, DeploymentID: tree.Deployment,
			}); err != nil {
				return cursor, false, fmt.Errorf("store the build's log: %w", err)
			}
		}
		cursor = page.Next
		if page.End || len(data) == 0 {
			return cursor, page.End, nil
		}
	}
}

func redacted(data []byte, redact redactor) ([]byte, error) {
	var clean bytes.Buffer
	out := redact(&clean)
	if _, err := out.Write(data); err != nil {
		return nil, fmt.Errorf("redact the build's log: %w", err)
	}
	if err := out.Close(); err != nil {
		return nil, fmt.Errorf("redact the build's log: %w", err)
	}
	return clean.Bytes(), nil
}

// stopBuild kills a build whose claim was taken away: the deployment was
// cancelled or superseded, or this worker stops.
func (w *Workers) stopBuild(c *claim, tree site.Tree) {
	ctx, cancel := context.WithTimeout(context.Background(), stopBuildTimeout)
	defer cancel()
	if err := w.deps.Builder.Stop(ctx, tree); err != nil && !errors.Is(err, builder.ErrNotFound) {
		c.log.Error("the build could not be stopped", "error", err)
		return
	}
	c.log.Info("stopped the build", "deployment", tree.Deployment)
	if d, err := w.q.DeploymentGet(ctx, tree.Deployment); err != nil || d.State == troy.Building {
		return // the claim alone was lost: whoever has it builds again
	}
	if err := w.finishLog(ctx, tree.Deployment, builder.Build{State: builder.Stopped}); err != nil {
		c.log.Warn("the log of a stopped build stays in pieces", "error", err)
	}
	if err := w.deps.Builder.Remove(ctx, tree); err != nil {
		c.log.Warn("what a build used was not removed", "deployment", tree.Deployment, "error", err)
	}
}

// finishLog puts the whole log, compressed, in place of its pieces.
func (w *Workers) finishLog(ctx context.Context, deployment uuid.UUID, b builder.Build) error {
	if b.State == builder.Lost {
		return nil
	}
	reader, writer := io.Pipe()
	var end logEnd
	var group errgroup.Group
	group.Go(func() error {
		var position int64
		for {
			pieces, err := w.q.BuildLogFrom(ctx, deployment, position)
			if err != nil || len(pieces) == 0 {
				return writer.CloseWithError(err)
			}
			for _, piece := range pieces {
				if _, err := writer.Write(piece.Bytes); err != nil {
					return err
				}
				end.add(piece.Bytes)
				position = piece.Position + int64(len(piece.Bytes))
			}
		}
	})
	whole, err := compress(reader)
	_ = reader.CloseWithError(err)
	if err := errors.Join(err, group.Wait()); err != nil {
		return fmt.Errorf("gather the build's log: %w", err)
	}
	var phases []byte // nil: as they stand
	if b.Phases != nil {
		if phases, err = json.Marshal(b.Phases); err != nil {
			return fmt.Errorf("encode the phases: %w", err)
		}
	}
	if err := w.q.BuildFinish(ctx, queries.BuildFinishParams{
		Log: whole, Tail: end.lines(), Phases: phases, Warnings: b.Warnings, DeploymentID: deployment,
	}); err != nil {
		return fmt.Errorf("finish the build's record: %w", err)
	}
	return nil
}

func compress(r io.Reader) ([]byte, error) {
	var out sliceWriter
	encoder, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(encoder, r); err != nil {
		return nil, errors.Join(err, encoder.Close())
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return out, nil
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

// storeArtifact stores the files that a build made and asks for them to be
// published.
func (w *Workers) storeArtifact(ctx context.Context, c *claim, d queries.Deployment, tree site.Tree, source *site.Source) error {
	if err := site.CheckFiles(source.Files, w.cfg.Limits); err != nil {
		return err
	}
	p, err := w.q.PipelineGet(ctx, d.PipelineID)
	if err != nil {
		return fmt.Errorf("read the pipeline: %w", err)
	}
	settings, err := settingsOf(p)
	if err != nil {
		return err
	}
	m, err := StoreFiles(ctx, w.deps.Cloud.Store, tree, source, site.TrailingSlash(settings.TrailingSlash))
	if err != nil {
		return err
	}
	var bytes int64
	for _, f := range m.Files {
		bytes += f.Size
	}
	digest := m.Digest().String()
	return move(ctx, w, d.PipelineID, (*queries.Queries).BuildPublish, queries.BuildPublishParams{
		PipelineID: d.PipelineID, Kind: c.task.Kind, ID: d.ID, Epoch: c.epoch,
		ManifestDigest: &digest, Files: int64(len(m.Files)), Bytes: bytes,
	})
}

// StoreFiles stores the files of a source as a tree. What an earlier start of
// the build stored goes, if it made other files.
func StoreFiles(ctx context.Context, store cloud.Store, tree site.Tree, source *site.Source, slash site.TrailingSlash) (site.Manifest, error) {
	m := site.Manifest{Files: source.Files, TrailingSlash: slash}
	missing, err := store.Begin(ctx, tree, m)
	if errors.Is(err, cloud.ErrExists) {
		if err := store.Remove(ctx, tree.Pipeline, tree.Deployment); err != nil {
			return m, fmt.Errorf("remove the files of an earlier start: %w", err)
		}
		missing, err = store.Begin(ctx, tree, m)
	}
	if err != nil {
		return m, fmt.Errorf("declare the files: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(storeParallel)
	for _, f := range missing {
		group.Go(func() error { return storeFile(ctx, store, tree, source, f) })
	}
	return m, group.Wait()
}

func storeFile(ctx context.Context, store cloud.Store, tree site.Tree, source *site.Source, f site.File) (err error) {
	r, err := source.Open(f.Path)
	if err != nil {
		return fmt.Errorf("open %s of the built site: %w", f.Path, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := store.Put(ctx, tree, f, r); err != nil {
		return fmt.Errorf("store %s: %w", f.Path, err)
	}
	return nil
}

// failBuild ends the deployment as failed. What was live stays live.
func (w *Workers) failBuild(ctx context.Context, c *claim, cause string) error {
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	if err := w.finishLog(ctx, d.ID, builder.Build{State: builder.Failed}); err != nil {
		c.log.Warn("the log of a failed build stays in pieces", "error", err)
	}
	return move(ctx, w, d.PipelineID, (*queries.Queries).DeploymentFail, queries.DeploymentFailParams{
		PipelineID: d.PipelineID, ID: d.ID, Kind: c.task.Kind, SubjectID: d.ID, Epoch: c.epoch, Cause: cause, Actor: actor,
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
