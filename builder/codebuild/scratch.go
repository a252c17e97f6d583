package codebuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/internal/disk"
	"github.com/troy-iaas/troy/internal/walk"
)

// scratch is the folder of this machine's temporary files.
type scratch struct {
	dir  string // Config.Temp; empty means the system's folder
	free func(dir string) (int64, error)
}

func newScratch(cfg Config) scratch { return scratch{cfg.Temp, disk.Free} }

const (
	scratchPrefix = "troy-"
	// scratchAge is the age from which something was left by a process that
	// died: no build takes that long.
	scratchAge = 48 * time.Hour
)

// errDiskFull is the Unavailable error for this machine's disk.
var errDiskFull = troy.Errorf(troy.Unavailable, "%s", builder.DiskFull)

// folder makes a folder, which the caller removes. It first removes old
// leftovers of other processes.
func (s scratch) folder(ctx context.Context, what string) (string, error) {
	if s.dir != "" {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return "", err
		}
		// A leftover that can't be removed takes space, but must not stop a
		// build.
		_ = s.sweep(ctx)
	}
	return os.MkdirTemp(s.dir, scratchPrefix+what+"-")
}

func (s scratch) sweep(ctx context.Context) (failed error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), scratchPrefix) || time.Since(info.ModTime()) < scratchAge {
			continue // removed meanwhile, another user's, or in use
		}
		if _, removeErr := walk.Remove(ctx, filepath.Join(s.dir, e.Name())); removeErr != nil {
			failed = errors.Join(failed, fmt.Errorf("remove leftovers: %w", removeErr))
		}
	}
	return failed
}

// keeping runs f, which fills a folder, and ends it when the disk gets full. It
// then returns errDiskFull, as it does if the disk is already full.
func (s scratch) keeping(ctx context.Context, dir string, f func(context.Context) error) error {
	full := func() bool {
		free, err := s.free(dir)
		return err == nil && free < disk.Reserve
	}
	if full() {
		return errDiskFull
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := disk.Every(disk.Poll, func() {
		if full() {
			cancel(errDiskFull)
		}
	})
	err := f(ctx)
	stop()
	if err != nil && (errors.Is(context.Cause(ctx), errDiskFull) || disk.IsFull(err)) {
		return errDiskFull
	}
	return err
}
