package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/files"
)

// markBegin returns a time of the file system's clock, which has steps of some
// milliseconds, that is later than all changes so far and earlier than all that
// follow.
func markBegin(ctx context.Context, file string) (time.Time, error) {
	var begin time.Time
	for {
		if err := os.WriteFile(file, []byte(time.Now().String()), 0o600); err != nil {
			return begin, files.Error(err)
		}
		info, err := os.Stat(file)
		if err != nil {
			return begin, files.Error(err)
		}
		switch now := changed(info); {
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

// archive moves the output folder out of the work folder, in which no process
// runs any more, and checks that it can be published.
func (r *run) archive(plan build.Plan) error {
	repo := r.files.path("work", "repo")
	root, err := os.OpenRoot(repo)
	if err != nil {
		return err
	}
	defer root.Close()
	var written build.Written
	if !r.begun.IsZero() && (!plan.OutputSaid || plan.OutputMissing(root.FS())) {
		written, err = build.LookWritten(r.ctx, root, func(info fs.FileInfo) bool { return changed(info).After(r.begun) })
		if err != nil {
			return err
		}
	}
	out, err := plan.FindOutput(r.ctx, root.FS(), written)
	if err != nil {
		return err
	}
	// FindOutput has checked that no part of the path is a link.
	if err := os.Rename(path.Join(repo, out.Folder), r.files.path("output")); err != nil {
		return fmt.Errorf("store the output: %w", err)
	}
	r.record.OutputBytes, r.record.Source = r.spec.Limits.OutputBytes, out.Source
	s, err := builder.CheckOutput(r.ctx, r.files.path("output"), out, r.record.OutputBytes)
	if err != nil {
		return err
	}
	if err := r.files.writeList(r.b.root.Temp(), s); err != nil {
		return errors.Join(err, s.Close())
	}
	r.record.Warnings = out.Warnings
	r.log.say("%s", strings.TrimSuffix(builder.OutputInWords(s, out), "\n"))
	return s.Close()
}
