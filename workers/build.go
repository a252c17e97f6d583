package workers

import (
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
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

const (
	// buildPoll is how often a build that runs is looked at.
	buildPoll = 200 * time.Millisecond
	// stopBuildTimeout bounds the killing of a build whose claim has ended.
	stopBuildTimeout = 20 * time.Second
	// storeParallel is how many files of a built site are stored at a time.
	storeParallel = 8
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
	spec, err := w.buildSpec(ctx, &d, p, tree)
	if err != nil {
		return err
	}
	attempt, err := w.q.BuildBegin(ctx, d.ID)
	if err != nil {
		return fmt.Errorf("count the start of the build: %w", err)
	}
	c.log.Info("building", "pipeline", p.ID, "deployment", d.ID, "commit", deref(d.CommitSha), "start", attempt)
	if err := w.deps.Builder.Start(ctx, spec); err != nil {
		return fmt.Errorf("start the build: %w", err)
	}
	done, err := w.followBuild(ctx, tree)
	if err != nil {
		if ctx.Err() != nil {
			w.stopBuild(c, tree)
		}
		return err
	}
	if err := w.finishLog(ctx, d.ID, done); err != nil {
		return err
	}
	switch done.State {
	case cloud.BuildSucceeded:
	case cloud.BuildFailed:
		w.removeBuild(ctx, c, tree)
		return troy.Errorf(troy.Invalid, "%s", done.Cause)
	case cloud.BuildLost:
		return errors.New("the build was lost with its worker")
	default:
		return troy.Errorf(troy.Conflict, "the build was stopped")
	}
	if err := w.headStands(ctx, c, d); err != nil {
		return err
	}
	return w.storeArtifact(ctx, c, d, tree)
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
		if err := w.inTx(ctx, p.ID, func(q *queries.Queries) (uuid.UUID, error) {
			return q.BuildStart(ctx, queries.BuildStartParams{PipelineID: p.ID, ID: d.ID, Epoch: c.epoch, Actor: actor})
		}); err != nil {
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
func (w *Workers) followBuild(ctx context.Context, tree site.Tree) (cloud.Build, error) {
	row, err := w.q.BuildGet(ctx, tree.Deployment)
	if err != nil {
		return cloud.Build{}, fmt.Errorf("read the build: %w", err)
	}
	cursor, told := row.LogCursor, ""
	tick := time.NewTicker(buildPoll)
	defer tick.Stop()
	for {
		// The state first: what was printed before an end is then in the log.
		b, err := w.deps.Builder.Get(ctx, tree)
		if err != nil {
			return b, fmt.Errorf("look at the build: %w", err)
		}
		if cursor, err = w.copyLog(ctx, tree, cursor); err != nil {
			return b, err
		}
		phases, err := json.Marshal(b.Phases)
		if err != nil {
			return b, fmt.Errorf("encode the phases: %w", err)
		}
		if now := string(phases) + b.Rule; now != told {
			if err := w.q.BuildProgress(ctx, queries.BuildProgressParams{Phases: phases, Rule: b.Rule, DeploymentID: tree.Deployment}); err != nil {
				return b, fmt.Errorf("write down the phases: %w", err)
			}
			told = now
		}
		if b.State != cloud.BuildRunning {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-tick.C:
		}
	}
}

// copyLog stores what the build printed after the cursor.
func (w *Workers) copyLog(ctx context.Context, tree site.Tree, cursor string) (string, error) {
	for {
		page, err := w.deps.Builder.Log(ctx, tree, cursor)
		if err != nil {
			return cursor, fmt.Errorf("read the build's log: %w", err)
		}
		if len(page.Data) == 0 {
			return page.Next, nil
		}
		if _, err := w.q.BuildLogAppend(ctx, queries.BuildLogAppendParams{
			Bytes: page.Data, LogCursor: page.Next, DeploymentID: tree.Deployment,
		}); err != nil {
			return cursor, fmt.Errorf("store the build's log: %w", err)
		}
		cursor = page.Next
		if page.End {
			return cursor, nil
		}
	}
}

// stopBuild kills a build whose claim was taken away: the deployment was
// cancelled or superseded, or this worker stops.
func (w *Workers) stopBuild(c *claim, tree site.Tree) {
	ctx, cancel := context.WithTimeout(context.Background(), stopBuildTimeout)
	defer cancel()
	if err := w.deps.Builder.Stop(ctx, tree); err != nil && !errors.Is(err, cloud.ErrNotFound) {
		c.log.Error("the build could not be stopped", "error", err)
		return
	}
	c.log.Info("stopped the build", "deployment", tree.Deployment)
	if w.stopping.Load() {
		return
	}
	if err := w.finishLog(ctx, tree.Deployment, cloud.Build{State: cloud.BuildStopped}); err != nil {
		c.log.Warn("the log of a stopped build stays in pieces", "error", err)
	}
	w.removeBuild(ctx, c, tree)
}

// finishLog puts the whole log, compressed, in place of its pieces.
func (w *Workers) finishLog(ctx context.Context, deployment uuid.UUID, b cloud.Build) error {
	if b.State == cloud.BuildLost {
		return nil
	}
	reader, writer := io.Pipe()
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
	if err := w.q.BuildFinish(ctx, queries.BuildFinishParams{Log: whole, Phases: phases, DeploymentID: deployment}); err != nil {
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
func (w *Workers) storeArtifact(ctx context.Context, c *claim, d queries.Deployment, tree site.Tree) error {
	source, err := w.deps.Builder.Artifact(ctx, tree)
	if err != nil {
		return fmt.Errorf("open what the build made: %w", err)
	}
	defer func() { _ = source.Close() }()
	if err := site.CheckFiles(source.Files, w.cfg.Limits); err != nil {
		return err
	}
	m := site.Manifest{Files: source.Files}
	missing, err := w.deps.Cloud.Store.Begin(ctx, tree, m)
	if errors.Is(err, cloud.ErrExists) {
		// An earlier start of the build made other files.
		if err := w.deps.Cloud.Store.Remove(ctx, tree.Pipeline, tree.Deployment); err != nil {
			return fmt.Errorf("remove the files of an earlier start: %w", err)
		}
		missing, err = w.deps.Cloud.Store.Begin(ctx, tree, m)
	}
	if err != nil {
		return fmt.Errorf("declare the files: %w", err)
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(storeParallel)
	for _, f := range missing {
		group.Go(func() error { return w.storeFile(groupCtx, tree, source, f) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var bytes int64
	for _, f := range m.Files {
		bytes += f.Size
	}
	digest := m.Digest().String()
	err = w.inTx(ctx, d.PipelineID, func(q *queries.Queries) (uuid.UUID, error) {
		return q.BuildPublish(ctx, queries.BuildPublishParams{
			PipelineID: d.PipelineID, Kind: c.task.Kind, ID: d.ID, Epoch: c.epoch,
			ManifestDigest: &digest, Files: int64(len(m.Files)), Bytes: bytes,
		})
	})
	if err != nil {
		return err
	}
	w.removeBuild(ctx, c, tree)
	return nil
}

// removeBuild removes what a build that has ended used. What stays goes with
// the pipeline.
func (w *Workers) removeBuild(ctx context.Context, c *claim, tree site.Tree) {
	if err := w.deps.Builder.Remove(ctx, tree); err != nil {
		c.log.Warn("what a build used was not removed", "deployment", tree.Deployment, "error", err)
	}
}

func (w *Workers) storeFile(ctx context.Context, tree site.Tree, source *site.Source, f site.File) (err error) {
	r, err := source.Open(f.Path)
	if err != nil {
		return fmt.Errorf("open %s of the built site: %w", f.Path, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := w.deps.Cloud.Store.Put(ctx, tree, f, r); err != nil {
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
	if err := w.finishLog(ctx, d.ID, cloud.Build{State: cloud.BuildFailed}); err != nil {
		c.log.Warn("the log of a failed build stays in pieces", "error", err)
	}
	return w.inTx(ctx, d.PipelineID, func(q *queries.Queries) (uuid.UUID, error) {
		return q.DeploymentFail(ctx, queries.DeploymentFailParams{
			PipelineID: d.PipelineID, ID: d.ID, Kind: tasks.TypeBuild, SubjectID: d.ID, Epoch: c.epoch, Cause: cause, Actor: actor,
		})
	})
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
