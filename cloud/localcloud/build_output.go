package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

// markBegin returns a time of the file system's clock, which counts in steps
// of some milliseconds, that is later than all changes so far and earlier than
// all that follow.
func markBegin(ctx context.Context, file string) (time.Time, error) {
	var begin time.Time
	for {
		if err := os.WriteFile(file, []byte(time.Now().String()), 0o600); err != nil {
			return begin, storeError(err)
		}
		info, err := os.Stat(file)
		switch now := changed(info); {
		case err != nil:
			return begin, err
		case begin.IsZero():
			begin = now
		case now.After(begin):
			return begin, nil
		}
		select {
		case <-ctx.Done():
			return begin, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

// archive moves the output folder out of the work folder, where nothing runs
// any more, and makes sure that it can be published.
func (r *run) archive(plan build.Plan) error {
	repo := r.files.path("work", "repo")
	root, err := os.OpenRoot(repo)
	if err != nil {
		return err
	}
	defer root.Close()
	var written build.Written
	if !r.begun.IsZero() && !plan.OutputSaid {
		written, err = build.LookWritten(r.ctx, root, func(info fs.FileInfo) bool { return changed(info).After(r.begun) })
		if err != nil {
			return err
		}
	}
	out, err := plan.FindOutput(r.ctx, root.FS(), written)
	if err != nil {
		return err
	}
	// FindOutput saw to it that no part of the path is a link.
	if err := os.Rename(path.Join(repo, out.Folder), r.files.path("output")); err != nil {
		return fmt.Errorf("keep the output: %w", err)
	}
	r.record.OutputBytes = r.spec.Limits.OutputBytes
	s, err := site.OpenSource(r.ctx, r.files.path("output"), site.Limits{TotalBytes: r.record.OutputBytes})
	if err != nil {
		if e, ok := errors.AsType[*troy.Error](err); ok {
			return troy.Errorf(e.Kind, "the output folder %q can't be published: %s", out.Folder, e.Message)
		}
		return fmt.Errorf("read the output: %w", err)
	}
	r.log.say("Files: %d, %s, from %q.", len(s.Files), cloud.BytesInWords(s.Bytes()), out.Folder)
	r.record.Warnings = out.Warnings
	for _, warning := range out.Warnings {
		r.log.say("Warning: %s", warning)
	}
	return s.Close()
}
