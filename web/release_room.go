package web

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// openSites is how many sites of maximum size a pipeline's unfinished releases
// may declare in total, in files and in bytes. Each of them uses disk space
// until it expires.
const openSites = 3

// idleRelease is how long nothing is sent to an unfinished release before it makes
// room for others.
const idleRelease = 15 * time.Minute

const (
	// abandonedRelease is how long nothing is sent to an unfinished release of any
	// pipeline before it makes room on a full disk.
	abandonedRelease = time.Hour
	// fullPause is how often they are looked for.
	fullPause = time.Minute
)

// relieve gives up the abandoned releases of all pipelines if a store's error
// says that its disk is full. Retention then removes their files, and the sender
// tries again.
func (s *server) relieve(ctx context.Context, err error) {
	if !errors.Is(err, cloud.ErrFull) {
		return
	}
	now, last := time.Now().UnixNano(), s.relieved.Load()
	if now < last+int64(fullPause) || !s.relieved.CompareAndSwap(last, now) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quick)
	defer cancel()
	pipelines, err := s.q.ReleasesIdle(ctx, abandonedRelease.Seconds())
	for _, p := range pipelines {
		if err == nil {
			_, err = s.giveUpIdle(ctx, s.q, p, nil, abandonedRelease)
		}
	}
	if err != nil {
		s.deps.Log.ErrorContext(ctx, "could not give up abandoned releases, and the store's disk is full", "error", err)
	}
}

// makeRoom is roomForRelease, but first gives up the unfinished releases to which
// nothing is sent any more if there is no room with them. Their senders were
// probably killed.
func (s *server) makeRoom(ctx context.Context, q *queries.Queries, p queries.Pipeline, m site.Manifest, key *string) error {
	full := s.roomForRelease(ctx, q, p, m, key)
	if troy.KindOf(full) != troy.OverQuota {
		return full
	}
	gone, err := s.giveUpIdle(ctx, q, p.ID, key, idleRelease)
	if err != nil {
		return err
	}
	if gone == 0 {
		return full
	}
	return s.roomForRelease(ctx, q, p, m, key)
}

// giveUpIdle gives up the unfinished releases of a pipeline to which nothing was
// sent for so long, without the one with the given key.
func (s *server) giveUpIdle(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, key *string, idle time.Duration) (int, error) {
	gone, err := q.ReleasesGiveUpIdle(ctx, queries.ReleasesGiveUpIdleParams{PipelineID: pipeline, IdempotencyKey: key, IdleSeconds: idle.Seconds()})
	if err != nil {
		return 0, fmt.Errorf("give up the idle releases of %s: %w", pipeline, err)
	}
	if len(gone) > 0 {
		s.deps.Log.InfoContext(ctx, "gave up idle releases", "pipeline", pipeline, "releases", gone)
	}
	return len(gone), nil
}

// roomForRelease returns an OverQuota error if a pipeline has so many
// unfinished releases that another one could leave too little of the store for
// other pipelines.
func (s *server) roomForRelease(ctx context.Context, q *queries.Queries, p queries.Pipeline, m site.Manifest, key *string) error {
	open, err := q.ReleasesOpen(ctx, p.ID, key)
	if err != nil {
		return fmt.Errorf("count the unfinished releases of %s: %w", p.ID, err)
	}
	files, bytes := int64(len(m.Files)), totalBytes(m)
	stored, err := s.deps.Intake.StorageOf(ctx, q, p.ID)
	if err != nil {
		return err
	}
	if err := stored.RoomForRelease(open.Releases, idleRelease); err != nil {
		return err
	}
	if open.Files+files > openSites*int64(s.cfg.Limits.Files) || open.Bytes+bytes > openSites*s.cfg.Limits.TotalBytes {
		return troy.Errorf(troy.OverQuota, "the pipeline's %d unfinished releases declare %d files with %d bytes, which leaves no room for this one; finalize one, or wait until one has received nothing for %d minutes",
			open.Releases, open.Files, open.Bytes, int(idleRelease.Minutes()))
	}
	return nil
}

func totalBytes(m site.Manifest) (total int64) {
	for _, f := range m.Files {
		total += f.Size
	}
	return total
}
