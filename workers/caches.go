package workers

import (
	"context"
	"fmt"
	"slices"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/queries"
)

// maxCachesReported bounds the list of a builder's caches that is stored.
const maxCachesReported = 10_000

// reportCaches stores which caches the builder keeps. A build does not depend on
// it, and the next one reports again.
func (w *Workers) reportCaches(ctx context.Context, c *claim) {
	caches, err := w.deps.Builder.Caches(ctx)
	if err == nil && caches.Keeper != "" {
		err = w.q.BuildCachesReport(ctx, reportOf(caches))
	}
	if err != nil && ctx.Err() == nil {
		c.log.Warn("the caches of builds were not recorded", "error", err)
	}
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
	switch v.Kind {
	case troy.PullRequestPreview:
		return fmt.Sprintf("pull request %d", numberOf(v)), nil
	case troy.BranchPreview:
		return "branch " + deref(d.Branch), nil
	}
	return "preview " + v.Label, nil
}
