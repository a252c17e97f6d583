package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
	"github.com/troy-iaas/troy/tasks"
)

const (
	// buildPoll is the interval between polls of a running build.
	buildPoll = 200 * time.Millisecond
	// stopPoll is the interval between polls of a build that is being stopped.
	stopPoll = 2 * time.Second
	// stopBuildTimeout bounds the stopping of a build whose claim has ended.
	stopBuildTimeout = 20 * time.Second
)

// build builds the commit of an automated deployment: it fetches the source,
// runs the phases, records the log line by line and stores the built files.
// Then it requests that the deployment be published. The task's slot is held
// while the build runs, so the number of slots limits concurrent builds.
func (w *Workers) build(ctx context.Context, c *claim) error {
	if w.deps.Builder == nil {
		return troy.Errorf(troy.Conflict, "this installation has no builder")
	}
	row, err := w.startBuild(ctx, c)
	if err != nil {
		return err
	}
	tree := site.Tree{Pipeline: row.Pipeline.ID, Deployment: row.Deployment.ID}
	done, err := w.runBuild(ctx, c, &row, tree)
	d := row.Deployment
	if err != nil {
		return err
	}
	w.reportCaches(ctx, c)
	if done.State == builder.Stopped {
		// A cancellation would have moved the deployment. A worker that lost
		// its claim stops its build.
		if err := w.q.BuildRestart(ctx, d.ID); err != nil {
			return fmt.Errorf("forget the stopped build: %w", err)
		}
		if err := w.deps.Builder.Remove(ctx, tree); err != nil {
			return fmt.Errorf("remove the stopped build: %w", err)
		}
		return errors.New("the build was stopped when its worker lost the claim")
	}
	var made *site.Source
	if done.State == builder.Succeeded {
		if made, err = w.deps.Builder.Artifact(ctx, tree); err != nil {
			return fmt.Errorf("open the build's output: %w", err)
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
		cause, err := w.causeOf(ctx, d.ID, done)
		if err != nil {
			return err
		}
		return troy.Errorf(troy.Invalid, "%s", cause)
	default:
		return errors.New("the build was lost with its worker")
	}
	if err := w.headStands(ctx, c, d); err != nil {
		return err
	}
	if err := w.declareRules(ctx, tree, done.Config); err != nil {
		return err
	}
	return w.storeArtifact(ctx, c, d, tree, made, rules.Policy(done.Config))
}

// runBuild starts the build, or finds that it was started, and waits for its
// end. A build that runs without this worker is left to poll-build.
func (w *Workers) runBuild(ctx context.Context, c *claim, row *building, tree site.Tree) (builder.Build, error) {
	d, p := &row.Deployment, row.Pipeline
	if w.cfg.BuildPoll > 0 {
		done, err := w.deps.Builder.Get(ctx, tree)
		if err != nil && !errors.Is(err, builder.ErrNotFound) {
			return done, fmt.Errorf("check the build: %w", err)
		}
		if err == nil && done.State == builder.Running {
			return done, w.pollLater(ctx, c, d.ID)
		}
		if err == nil && done.State != builder.Lost {
			return done, nil
		}
	}
	spec, err := w.buildSpec(ctx, row, tree)
	if err != nil {
		return builder.Build{}, err
	}
	begun, err := w.q.BuildBegin(ctx, d.ID)
	if err != nil {
		return builder.Build{}, fmt.Errorf("count the start of the build: %w", err)
	}
	c.log.Info("building", "pipeline", p.ID, "deployment", d.ID, "commit", deref(d.CommitSha), "start", begun.Attempt)
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

// building is a deployment that is built, and what its build needs of other rows.
type building struct {
	queries.BuildReadRow
	variables []queries.VariableListRow
}

// startBuild moves the deployment to building unless it already is.
func (w *Workers) startBuild(ctx context.Context, c *claim) (b building, err error) {
	if c.task.Kind == tasks.TypePreviewBuild {
		err = w.startPreviewBuild(ctx, c, &b)
	} else {
		var e queries.Exchange
		queries.Ask(&e, (*queries.Queries).PipelineLock, c.pipeline) // the start may wait for a change of the pipeline
		queries.Ask(&e, (*queries.Queries).BuildStart, queries.BuildStartParams{PipelineID: c.pipeline, ID: c.task.Subject, Epoch: c.epoch, Actor: actor})
		// A claim that Postgres lost in a crash may be another worker's by now, and
		// the build too.
		held := queries.Ask(&e, (*queries.Queries).WorkHeld, queries.WorkHeldParams{Kind: c.task.Kind, SubjectID: c.task.Subject, Epoch: c.epoch})
		if err = w.readBuild(ctx, &e, c, &b); err == nil && !held.Row {
			err = errMoved
		}
	}
	if err == nil && b.Deployment.State != troy.Building {
		err = errMoved
	}
	return b, err
}

// startPreviewBuild is startBuild for a deployment of a preview.
func (w *Workers) startPreviewBuild(ctx context.Context, c *claim, b *building) error {
	if err := w.readBuild(ctx, &queries.Exchange{}, c, b); err != nil || b.Deployment.State != troy.Waiting {
		return err
	}
	d := b.Deployment
	if err := startPreview(ctx, w, d, (*queries.Queries).PreviewBuildStart, queries.PreviewBuildStartParams{ID: d.ID, PipelineID: d.PipelineID, Epoch: c.epoch}); err != nil {
		return err
	}
	return w.readBuild(ctx, &queries.Exchange{}, c, b)
}

// readBuild sends an exchange that also reads the claimed deployment and the
// variables of its pipeline.
func (w *Workers) readBuild(ctx context.Context, e *queries.Exchange, c *claim, b *building) error {
	row := queries.Ask(e, (*queries.Queries).BuildRead, c.task.Subject)
	variables := queries.Ask(e, allVariables, c.pipeline)
	if err := e.Send(ctx, w.deps.DB); err != nil {
		return fmt.Errorf("read the deployment: %w", ofDatabase(err))
	}
	if row.Err != nil {
		return errMoved // it is gone
	}
	b.BuildReadRow, b.variables = row.Row, variables.Row
	return nil
}

// followBuild copies a build's log and the state of its phases to their rows
// until the build has ended.
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

// progress is what has been recorded of a build so far.
type progress struct {
	read   bool
	cursor string
	phases string
}

// lookAtBuild copies the log and the phases that are new since the previous
// call. logged reports whether the log is complete.
func (w *Workers) lookAtBuild(ctx context.Context, tree site.Tree, told *progress, redact redactor) (b builder.Build, logged bool, err error) {
	if !told.read {
		row, err := w.q.BuildGet(ctx, tree.Deployment)
		if err != nil {
			return b, false, fmt.Errorf("read the build: %w", err)
		}
		told.read, told.cursor = true, row.LogCursor
	}
	// Read the state first: everything printed before the end is then in the
	// log.
	if b, err = w.deps.Builder.Get(ctx, tree); err != nil {
		return b, false, fmt.Errorf("check the build: %w", err)
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
			return b, logged, fmt.Errorf("record the phases: %w", err)
		}
		if b.Rule != "" {
			if err := w.q.PipelineSawWorkspace(ctx, queries.PipelineSawWorkspaceParams{
				Workspace: b.Workspace, Root: b.Root, Unwatched: list(b.Unwatched), DeploymentID: tree.Deployment,
			}); err != nil {
				return b, logged, fmt.Errorf("record the workspace: %w", err)
			}
		}
		told.phases = now
	}
	return b, logged, nil
}

// redactor wraps a writer and redacts secrets.
type redactor func(io.Writer) io.WriteCloser

// copyLog stores the lines that the build printed after the cursor, and reports
// whether they were the last. It redacts them if the builder does not.
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

// stopBuild stops a build whose claim ended: the deployment was cancelled or
// superseded, or this worker is stopping.
func (w *Workers) stopBuild(c *claim, tree site.Tree) {
	ctx, cancel := context.WithTimeout(context.Background(), stopBuildTimeout)
	defer cancel()
	if err := w.deps.Builder.Stop(ctx, tree); err != nil && !errors.Is(err, builder.ErrNotFound) {
		c.log.Error("the build could not be stopped", "error", err)
		return
	}
	c.log.Info("stopped the build", "deployment", tree.Deployment)
	if d, err := w.q.DeploymentGet(ctx, tree.Deployment); err != nil || d.State == troy.Building {
		return // only the claim was lost: the next worker to claim the row builds again
	}
	if err := w.finishLog(ctx, tree.Deployment, builder.Build{State: builder.Stopped}); err != nil {
		c.log.Warn("the log of a stopped build was not compressed", "error", err)
	}
	if err := w.deps.Builder.Remove(ctx, tree); err != nil {
		c.log.Warn("the resources of a build were not removed", "deployment", tree.Deployment, "error", err)
	}
}

// declareRules stores the rules in the repository's configuration files, which
// deploy compiles with the built site's own.
func (w *Workers) declareRules(ctx context.Context, tree site.Tree, config []rules.ConfigFile) error {
	if len(config) == 0 {
		config = []rules.ConfigFile{}
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode the configuration of the rules: %w", err)
	}
	if err := w.q.SiteRulesDeclare(ctx, queries.SiteRulesDeclareParams{TreeID: tree.Deployment, PipelineID: tree.Pipeline, Config: encoded}); err != nil {
		return fmt.Errorf("store the configuration of the rules: %w", err)
	}
	return nil
}

// storeArtifact stores the files that a build made and requests that they be
// published. slash is the policy that the repository sets, or "".
func (w *Workers) storeArtifact(ctx context.Context, c *claim, d queries.Deployment, tree site.Tree, source *site.Source, slash site.TrailingSlash) error {
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
	if slash == "" {
		slash = site.TrailingSlash(settings.TrailingSlash)
	}
	m, err := StoreFiles(ctx, w.deps.Cloud.Store, tree, source, slash, func(m site.Manifest, missing []site.File) error {
		return w.deps.Intake.CountTree(ctx, w.deps.Cloud.Store, tree, m, missing)
	})
	if troy.KindOf(err) == troy.OverQuota {
		if removeErr := w.deps.Cloud.Store.Remove(ctx, tree.Pipeline, tree.Deployment); removeErr != nil {
			c.log.Warn("the tree of a build over its quota was not removed; retention removes it", "error", removeErr)
		}
	}
	if err != nil {
		return err
	}
	var bytes int64
	for _, f := range m.Files {
		bytes += f.Size
	}
	digest := m.Digest().String()
	if d.PreviewID != nil {
		return move(ctx, w, d.PipelineID, (*queries.Queries).PreviewBuildPublish, queries.PreviewBuildPublishParams{
			Kind: c.task.Kind, ID: d.ID, Epoch: c.epoch, ManifestDigest: &digest, Files: int64(len(m.Files)), Bytes: bytes,
		})
	}
	return move(ctx, w, d.PipelineID, (*queries.Queries).BuildPublish, queries.BuildPublishParams{
		PipelineID: d.PipelineID, Kind: c.task.Kind, ID: d.ID, Epoch: c.epoch,
		ManifestDigest: &digest, Files: int64(len(m.Files)), Bytes: bytes,
	})
}

// StoreFiles stores the files of a source as a tree. It removes files that an
// earlier start of the build stored if this one made other files. Before it
// stores the missing files, it calls room, which may refuse them.
func StoreFiles(ctx context.Context, store cloud.Store, tree site.Tree, source *site.Source, slash site.TrailingSlash, room func(site.Manifest, []site.File) error) (site.Manifest, error) {
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
	if err := room(m, missing); err != nil {
		return m, err
	}
	if err := cloud.PutFiles(ctx, store, tree, missing, source.Open); err != nil {
		return m, fmt.Errorf("store the files: %w", err)
	}
	return m, nil
}

// failBuild marks the deployment as failed. The live site does not change.
func (w *Workers) failBuild(ctx context.Context, c *claim, cause string) error {
	d, err := w.q.DeploymentGet(ctx, c.task.Subject)
	if errors.Is(err, pgx.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	if err := w.finishLog(ctx, d.ID, builder.Build{State: builder.Failed}); err != nil {
		c.log.Warn("the log of a failed build was not compressed", "error", err)
	}
	if d.PreviewID != nil {
		return w.failPreview(ctx, c, d, cause)
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
