package workers

import (
	"context"
	"fmt"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/forge"
	"github.com/troy-iaas/troy/queries"
)

// The limits of a build of a stranger's commit, if they are below the
// installation's.
const (
	untrustedTime  = 10 * time.Minute
	untrustedBytes = 1 << 30
)

// buildLimits returns the limits of a deployment's build: the installation's, or
// the pipeline's own if they are lower.
func (w *Workers) buildLimits(d queries.Deployment, s troy.BuildSettings) builder.Limits {
	l := w.cfg.BuildLimits
	l.OutputBytes = w.cfg.Limits.TotalBytes
	l = l.OrDefault()
	if s.Minutes > 0 {
		l.Time = min(l.Time, time.Duration(s.Minutes)*time.Minute)
	}
	if s.MemoryMiB > 0 {
		l.MemoryBytes = min(l.MemoryBytes, int64(s.MemoryMiB)<<20)
	}
	if s.Processes > 0 {
		l.Processes = min(l.Processes, s.Processes)
	}
	if s.CPUs > 0 && (l.CPUs == 0 || s.CPUs < l.CPUs) {
		l.CPUs = s.CPUs
	}
	if d.Trusted {
		return l
	}
	l.Time, l.OutputBytes = min(l.Time, untrustedTime), min(l.OutputBytes, untrustedBytes)
	return l
}

// submodules returns the private repositories that a deployment's commit may
// have as submodules. A stranger could publish what is in them.
func (w *Workers) submodules(d queries.Deployment) []string {
	if d.Trusted {
		return w.cfg.Submodules
	}
	return nil
}

// commitSource returns the repository that has a deployment's commit.
func (w *Workers) commitSource(ctx context.Context, s source, p queries.Pipeline, d queries.Deployment) (forge.Repository, error) {
	if d.PreviewID == nil {
		return s.repository, nil
	}
	v, err := w.q.PreviewGet(ctx, *d.PreviewID)
	if err != nil {
		return s.repository, fmt.Errorf("read the preview: %w", err)
	}
	if v.Kind != troy.PullRequestPreview {
		return s.repository, nil
	}
	row, err := w.q.PullRequestOf(ctx, queries.PullRequestOfParams{PipelineID: p.ID, RepositoryID: deref(v.RepositoryID), Number: numberOf(v)})
	if err != nil {
		return s.repository, fmt.Errorf("read the pull request: %w", err)
	}
	return headSource(s, p, row.HeadRepository, row.HeadFullName), nil
}
