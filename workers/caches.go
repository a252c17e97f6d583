package workers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/queries"
)

// maxCachesReported bounds the list of a builder's caches that is stored.
const maxCachesReported = 10_000

// reportCaches stores which caches the builder keeps. A build does not depend on
// it, and the next one reports again.
func (w *Workers) reportCaches(ctx context.Context, c *claim) {
	if err := w.recordCaches(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("the caches of builds were not recorded", "error", err)
	}
}

func (w *Workers) recordCaches(ctx context.Context) error {
	caches, err := w.deps.Builder.Caches(ctx)
	if err == nil && caches.Keeper != "" {
		err = w.q.BuildCachesReport(ctx, reportOf(caches))
	}
	return err
}

// reportOf returns the newest caches in the form of a statement.
func reportOf(caches builder.Caches) queries.BuildCachesReportParams {
	out := queries.BuildCachesReportParams{Keeper: caches.Keeper}
	all := caches.All
	slices.SortFunc(all, func(a, b builder.Cache) int { return b.Used.Compare(a.Used) })
	all = all[:min(len(all), maxCachesReported)]
	for _, c := range all {
		out.Pipelines, out.Scopes, out.Managers = append(out.Pipelines, c.Pipeline), append(out.Scopes, c.Scope), append(out.Managers, c.Manager)
		out.Epochs, out.Sizes, out.Used = append(out.Epochs, c.Epoch), append(out.Sizes, c.Bytes), append(out.Used, c.Used)
	}
	return out
}

// tidyEvery is how often a process removes the caches that it keeps for deleted
// pipelines, and for previews that are closed or were not built for a month.
const tidyEvery = time.Hour

// keepCachesTidy removes what pipelines and previews left. Their removal runs on
// one machine, while others may keep caches of them, and a build that ended at the
// same time may have stored one afterwards.
func (w *Workers) keepCachesTidy(ctx context.Context) {
	if w.deps.Builder == nil {
		return
	}
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	for {
		if err := w.tidyCaches(ctx, time.Now()); err != nil && ctx.Err() == nil {
			w.log.Warn("the caches of deleted pipelines and closed previews were not removed; the next turn retries", "in", tidyEvery, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *Workers) tidyCaches(ctx context.Context, now time.Time) error {
	caches, err := w.deps.Builder.Caches(ctx)
	if err != nil {
		return err
	}
	type place struct {
		pipeline uuid.UUID
		scope    string
	}
	old := map[place]bool{} // whether one of its caches is too old
	var pipelines []uuid.UUID
	for _, c := range caches.All {
		at := place{c.Pipeline, c.Scope}
		old[at] = old[at] || c.Scope != "" && c.Used.Before(now.Add(-builder.CacheUnused))
		pipelines = append(pipelines, c.Pipeline)
	}
	if len(old) == 0 {
		return nil
	}
	previews, err := w.q.PreviewsOpenOf(ctx, pipelines)
	if err != nil {
		return fmt.Errorf("read which previews are open: %w", err)
	}
	kept, err := w.q.CachesKeptOf(ctx, pipelines)
	if err != nil {
		return fmt.Errorf("read which pipelines are deleted: %w", err)
	}
	open := map[place]bool{}
	for _, id := range kept {
		open[place{id, ""}] = true
	}
	for _, v := range previews {
		open[place{v.PipelineID, scopeOf(v)}] = true
	}
	removed := false
	for at, isOld := range old {
		var since time.Time
		if open[at] && !isOld {
			continue
		} else if open[at] {
			since = now.Add(-builder.CacheUnused)
		}
		err, removed = errors.Join(err, w.deps.Builder.RemoveCaches(ctx, at.pipeline, at.scope, since)), true
	}
	if removed {
		err = errors.Join(err, w.recordCaches(ctx))
	}
	return err
}

// scopeOf names the caches of a preview's builds.
func scopeOf(v queries.Preview) string {
	switch v.Kind {
	case troy.PullRequestPreview:
		return fmt.Sprintf("pull request %d", numberOf(v))
	case troy.BranchPreview:
		return "branch " + v.Source
	}
	return "preview " + v.Label
}

// cacheScope names the caches that a deployment's build uses: a pull request and
// a branch of the same name have different ones, because other people may push
// to them.
func (w *Workers) cacheScope(ctx context.Context, d queries.Deployment) (string, error) {
	if d.PreviewID == nil {
		return "", nil
	}
	v, err := w.q.PreviewGet(ctx, *d.PreviewID)
	if err != nil {
		return "", fmt.Errorf("read the preview: %w", err)
	}
	return scopeOf(v), nil
}
