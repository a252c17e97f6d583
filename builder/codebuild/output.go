package codebuild

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/site"
)

// outputName is the name of a build's output file.
const outputName = "output.tar"

// opened caches the output that was opened last: the process that checks an
// output usually publishes it next.
type opened struct {
	mu     sync.Mutex
	tree   site.Tree
	source *site.Source
}

// keep caches an output in place of the previous one.
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

// take returns the output if it belongs to this tree.
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

// output fetches a build's output and opens the site in it. A *troy.Error is
// the build's fault.
func (b *Builder) output(ctx context.Context, t site.Tree, r record) (s *site.Source, out build.Output, err error) {
	err = b.fetched(ctx, t, r, func(dir string) error {
		written, err := writtenFor(r.Plan, dir)
		if err != nil {
			return err
		}
		s, out, err = openOutput(ctx, filepath.Join(dir, "repo"), r.Plan, written, r.Limits.OutputBytes, site.Temporary(dir))
		return err
	})
	return s, out, err
}

// outputAgain opens the site that output has found before, in any process, by
// the list of its files.
func (b *Builder) outputAgain(ctx context.Context, t site.Tree, r record) (s *site.Source, err error) {
	list, err := b.work.Get(ctx, listKey(t), maxList)
	if errors.Is(err, awsapi.ErrNotFound) { // an earlier version checked it
		s, _, err = b.output(ctx, t, r)
		return s, err
	}
	if err != nil {
		return nil, err
	}
	err = b.fetched(ctx, t, r, func(dir string) error {
		s, err = builder.OpenListed(filepath.Join(dir, "repo"), r.Output, list, site.Temporary(dir))
		return err
	})
	return s, err
}

// fetched fetches a build's output into a folder, which it keeps if open
// returns nil.
func (b *Builder) fetched(ctx context.Context, t site.Tree, r record, open func(dir string) error) error {
	dir, err := b.scratch.folder(ctx, "output")
	if err != nil {
		return err
	}
	err = b.scratch.keeping(ctx, dir, func(ctx context.Context) error { return b.fetchOutput(ctx, t, r, dir) })
	if err == nil {
		err = open(dir)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// maxList is the maximum size of an output's list in bytes.
const maxList = 512 << 20

// writeList stores the list of an output's files before the build's end is
// recorded.
func (b *Builder) writeList(ctx context.Context, t site.Tree, r *record, out build.Output, s *site.Source) error {
	list, err := builder.EncodeList(s)
	if err != nil {
		return err
	}
	r.Output = path.Clean(out.Folder)
	return b.work.Put(ctx, listKey(t), list, "application/zstd", false)
}

// writtenFor reads what the build wrote to, unless the output folder was named:
// then nothing else counts, and it is only read to say what there is instead of
// a missing one.
func writtenFor(plan build.Plan, dir string) (build.Written, error) {
	if plan.OutputSaid {
		repo, err := os.OpenRoot(filepath.Join(dir, "repo"))
		if err != nil {
			return build.Written{}, err
		}
		defer repo.Close()
		if !plan.OutputMissing(repo.FS()) {
			return build.Written{}, nil
		}
	}
	return readWritten(dir)
}

// readWritten reads build.sh's list of written folders, if it ran.
func readWritten(dir string) (build.Written, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return build.Written{}, err
	}
	defer root.Close()
	f, err := root.Open("written")
	if errors.Is(err, fs.ErrNotExist) {
		return build.Written{}, nil
	}
	if err != nil {
		return build.Written{}, err
	}
	defer f.Close()
	return build.ReadWritten(f)
}

// openOutput finds and opens the site in a build's work folder.
func openOutput(ctx context.Context, repo string, plan build.Plan, written build.Written, limit int64, options ...site.SourceOption) (*site.Source, build.Output, error) {
	root, err := os.OpenRoot(repo)
	if err != nil {
		return nil, build.Output{}, err
	}
	defer root.Close()
	out, err := plan.FindOutput(ctx, root.FS(), written)
	if err != nil {
		return nil, build.Output{}, err
	}
	s, err := builder.CheckOutput(ctx, filepath.Join(repo, out.Folder), out, limit, options...)
	return s, out, err
}

// fetchOutput unpacks the build's tar into dir, as repo and written, or the
// source itself if no command ran, as repo alone.
func (b *Builder) fetchOutput(ctx context.Context, t site.Tree, r record, dir string) error {
	file, err := files.Unnamed(b.scratch.dir)
	if err != nil {
		return err
	}
	defer file.Close()
	if r.nothingToRun() {
		size, err := b.work.Fetch(ctx, r.sourceKey(t), file)
		if errors.Is(err, awsapi.ErrNotFound) {
			return troy.Errorf(troy.Conflict, "the source is not in the work bucket any more")
		}
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
		repo := filepath.Join(dir, "repo")
		if err := os.Mkdir(repo, 0o700); err != nil {
			return err
		}
		return build.Unpack(ctx, source, repo, r.Limits.Source)
	}
	if _, err := b.work.Fetch(ctx, r.outputKey(t), file); errors.Is(err, awsapi.ErrNotFound) {
		return troy.Errorf(troy.Conflict, "CodeBuild reports that the build succeeded, but its output is not in the work bucket")
	} else if err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	limits := build.SourceLimits{ArchiveBytes: 2*r.Limits.OutputBytes + 1<<30, TotalBytes: r.Limits.OutputBytes + 32<<20} // with the list of folders
	err = build.UnpackOutput(ctx, file, dir, limits)
	if e, ok := errors.AsType[*troy.Error](err); ok && len(r.Plan.Outputs) > 0 {
		return troy.Errorf(e.Kind, "the output folder %q can't be published: %s", r.Plan.Outputs[0], e.Message)
	}
	return err
}
