package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/walk"
)

// inspected bounds the source that Inspect reads. A build may have a larger
// one.
var inspected = SourceLimits{ArchiveBytes: 128 << 20, TotalBytes: 512 << 20, Entries: 50_000}

// Inspect returns the plan for a commit's source, a tar as for Unpack, without
// building it. It needs temporary space for the files. The error is that of
// Unpack, with smaller limits, or of Decide.
func Inspect(ctx context.Context, archive io.Reader, s Settings) (p Plan, err error) {
	dir, err := os.MkdirTemp("", "troy-inspect-*")
	if err != nil {
		return p, fmt.Errorf("inspect a source: %w", err)
	}
	defer func() {
		if _, removeErr := walk.Remove(context.WithoutCancel(ctx), dir); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("remove %s: %w", filepath.Base(dir), removeErr))
		}
	}()
	if err := Unpack(ctx, archive, dir, inspected); err != nil {
		if troy.KindOf(err) == troy.TooLarge {
			err = troy.Errorf(troy.TooLarge, "the repository is too large to look into; enter the settings by hand")
		}
		return p, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return p, fmt.Errorf("inspect a source: %w", err)
	}
	defer root.Close()
	return Decide(root.FS(), s)
}
