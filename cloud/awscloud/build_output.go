package awscloud

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/site"
)

// outputName is the file that a build leaves.
const outputName = "output.tar"

// opened is the newest output that was looked at: who looks is most often the
// one who publishes it next.
type opened struct {
	mu     sync.Mutex
	tree   site.Tree
	source *site.Source
}

// keep remembers an output in place of the one before.
func (o *opened) keep(t site.Tree, s *site.Source) error {
	o.mu.Lock()
	before := o.source
	o.tree, o.source = t, s
	o.mu.Unlock()
	if before == nil {
		return nil
	}
	return before.Close()
}

// take hands the output over, if it is this tree's.
func (o *opened) take(t site.Tree) *site.Source {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.source == nil || o.tree != t {
		return nil
	}
	s := o.source
	o.source = nil
	return s
}

// output fetches what a build made and opens the site in it. An error of a
// kind is the build's fault.
func (b *Builder) output(ctx context.Context, t site.Tree, r record) (*site.Source, error) {
	dir, err := os.MkdirTemp("", "troy-output-")
	if err != nil {
		return nil, err
	}
	if err := b.fetchOutput(ctx, t, r, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s, err := openOutput(ctx, filepath.Join(dir, "repo"), r.Plan, r.Limits.OutputBytes, site.Temporary(dir))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// openOutput finds the site in the folder that a build worked in.
func openOutput(ctx context.Context, repo string, plan build.Plan, limit int64, options ...site.SourceOption) (*site.Source, error) {
	root, err := os.OpenRoot(repo)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	folder, err := plan.FindOutput(ctx, root.FS())
	if err != nil {
		return nil, err
	}
	s, err := site.OpenSource(ctx, filepath.Join(repo, folder), site.Limits{TotalBytes: limit}, options...)
	if e, ok := errors.AsType[*troy.Error](err); ok {
		return nil, troy.Errorf(e.Kind, "the output folder %q can't be published: %s", folder, e.Message)
	}
	if err != nil {
		return nil, fmt.Errorf("read the output: %w", err)
	}
	return s, nil
}

// fetchOutput unpacks the tar that the build left, or the source itself where
// nothing was run.
func (b *Builder) fetchOutput(ctx context.Context, t site.Tree, r record, dir string) error {
	file, err := os.OpenFile(filepath.Join(dir, "fetched"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	repo := filepath.Join(dir, "repo")
	if err := os.Mkdir(repo, 0o700); err != nil {
		return err
	}
	if r.nothingToRun() {
		size, err := b.work.fetch(ctx, r.sourceKey(t), file)
		if err != nil {
			return err
		}
		z, err := zip.NewReader(file, size)
		if err != nil {
			return err
		}
		source, err := z.Open("source")
		if err != nil {
			return err
		}
		defer source.Close()
		return build.Unpack(ctx, source, repo, r.Limits.Source)
	}
	if _, err := b.work.fetch(ctx, r.outputKey(t), file); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	limits := build.SourceLimits{ArchiveBytes: 2*r.Limits.OutputBytes + 1<<30, TotalBytes: r.Limits.OutputBytes + 1<<20}
	err = build.UnpackOutput(ctx, file, repo, limits)
	if e, ok := errors.AsType[*troy.Error](err); ok && len(r.Plan.Outputs) > 0 {
		return troy.Errorf(e.Kind, "the output folder %q can't be published: %s", r.Plan.Outputs[0], e.Message)
	}
	return err
}
