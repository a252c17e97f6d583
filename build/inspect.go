package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/walk"
)

// inspected bounds the source that Inspect reads. A build may have a larger
// one.
var inspected = SourceLimits{ArchiveBytes: 128 << 20, TotalBytes: 512 << 20, Entries: 50_000}

const (
	inspectPrefix = "troy-inspect-"
	// inspectStale is the age from which a folder belongs to no process any more.
	inspectStale = time.Hour
)

// removeStale removes the folders of processes that ended while they inspected
// a source. It ignores what it can't remove: it may be another user's.
func removeStale(ctx context.Context) error {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		return fmt.Errorf("look for the remains of inspections: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), inspectPrefix) {
			continue
		}
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > inspectStale {
			_, _ = walk.Remove(ctx, filepath.Join(os.TempDir(), entry.Name()))
		}
	}
	return nil
}

// Inspect returns the plan for a commit's source, a tar as for Unpack, without
// building it. It needs temporary space for the files. The error is that of
// Unpack, with smaller limits, or of Decide.
func Inspect(ctx context.Context, archive io.Reader, s Settings) (p Plan, err error) {
	if err := removeStale(ctx); err != nil {
		return p, err
	}
	free, err := disk.Free(os.TempDir())
	if err != nil {
		return p, fmt.Errorf("measure the free space for a source: %w", err)
	}
	if free < inspected.TotalBytes+disk.Reserve {
		return p, troy.Errorf(troy.Unavailable, "the server's disk is nearly full, so the repository can't be looked into; free space in %s", os.TempDir())
	}
	dir, err := os.MkdirTemp("", inspectPrefix+"*")
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
