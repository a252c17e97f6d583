package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// Quota limits what a pipeline stores. 0 means no limit.
type Quota struct {
	Bytes, Files int64 // of the different files of all its trees
	OpenReleases int64 // unfinished uploads
}

// Storage is what a pipeline stores, and what it may.
type Storage struct {
	Bytes, Files int64 // of the different files of all its trees
	OpenReleases int64
	CountedAt    *time.Time // when retention counted last; what came later was added
	Quota        Quota
	// Own are the pipeline's own limits; a nil one is the installation's.
	Own OwnQuota

	changes int64
}

// OwnQuota are the limits of one pipeline that differ from the installation's.
// A nil one is the installation's, 0 means no limit.
type OwnQuota struct {
	Bytes, Files, OpenReleases *int64
}

// Quota returns the installation's quota.
func (in *Intake) Quota() Quota { return in.cfg.Quota }

// StorageOf returns what a pipeline stores.
func (in *Intake) StorageOf(ctx context.Context, q *queries.Queries, pipeline uuid.UUID) (Storage, error) {
	row, err := q.StorageGet(ctx, pipeline)
	if errors.Is(err, pgx.ErrNoRows) {
		return Storage{}, troy.Errorf(troy.NotFound, "pipeline not found: %s", pipeline)
	}
	if err != nil {
		return Storage{}, fmt.Errorf("read the storage of pipeline %s: %w", pipeline, err)
	}
	s := Storage{
		Bytes: max(row.UsedBytes, 0), Files: max(row.UsedFiles, 0), OpenReleases: row.OpenReleases, CountedAt: row.CountedAt, Quota: in.cfg.Quota,
		Own: OwnQuota{row.QuotaBytes, row.QuotaFiles, row.QuotaOpenReleases}, changes: row.UsedChanges,
	}
	if s.CountedAt != nil && s.CountedAt.Year() <= 2000 {
		s.CountedAt = nil // the row is older than the column
	}
	for _, limit := range []struct {
		own *int64
		of  *int64
	}{{s.Own.Bytes, &s.Quota.Bytes}, {s.Own.Files, &s.Quota.Files}, {s.Own.OpenReleases, &s.Quota.OpenReleases}} {
		if limit.own != nil {
			*limit.of = *limit.own
		}
	}
	return s, nil
}

// exceeds returns an OverQuota error if what is added exceeds the quota. What
// adds nothing is always accepted, so that a site can be deployed again, or
// rolled back, after its quota was lowered.
func (s Storage) exceeds(added site.Usage) error {
	switch {
	case s.Quota.Bytes > 0 && added.Bytes > 0 && s.Bytes+added.Bytes > s.Quota.Bytes:
		return troy.Errorf(troy.OverQuota, "the files add %s to the %s that the pipeline stores; its quota is %s. %s",
			troy.Size(added.Bytes), troy.Size(s.Bytes), troy.Size(s.Quota.Bytes), overRemedy)
	case s.Quota.Files > 0 && added.Files > 0 && s.Files+added.Files > s.Quota.Files:
		return troy.Errorf(troy.OverQuota, "the release adds %s to the %d that the pipeline stores; its quota is %d. %s",
			troy.Count(int(added.Files), "file", "files"), s.Files, s.Quota.Files, overRemedy)
	}
	return nil
}

const overRemedy = "Remove earlier deployments with troy deployment prune, or ask the operator for a higher quota"

// RoomForRelease returns an OverQuota error if a pipeline may not begin another
// upload. The caller has locked the pipeline, and gives up uploads to which nothing
// is sent for the duration idle.
func (s Storage) RoomForRelease(open int64, idle time.Duration) error {
	if s.Quota.OpenReleases > 0 && open >= s.Quota.OpenReleases {
		return troy.Errorf(troy.OverQuota, "the pipeline has %d unfinished releases; its quota is %d. Finalize one, or wait until one has received nothing for %d minutes", open, s.Quota.OpenReleases, int(idle.Minutes()))
	}
	return nil
}

// Trees lists and reads the trees of a store, as cloud.Store does.
type Trees interface {
	Trees(ctx context.Context, pipeline uuid.UUID) ([]uuid.UUID, error)
	Manifest(ctx context.Context, t site.Tree) (site.Manifest, error)
}

// countAttempts is how often a count is repeated because a tree was added
// meanwhile.
const countAttempts = 5

// CountTree adds a declared tree to what its pipeline stores, before its files
// are sent. missing are the files that the store asked for, one for each digest.
// It returns an OverQuota error, and adds nothing, if they exceed the quota. A
// tree is added once. The row may say too much, because it is corrected only by
// retention, so CountTree counts what the store has before it refuses.
func (in *Intake) CountTree(ctx context.Context, store Trees, t site.Tree, m site.Manifest, missing []site.File) error {
	added := site.Usage{Files: int64(len(missing))}
	for _, f := range missing {
		added.Bytes += f.Size
	}
	over, err := in.addTree(ctx, t, added)
	if !over {
		return err
	}
	for range countAttempts {
		stored, used, err := in.count(ctx, store, t)
		if err != nil {
			return err
		}
		refused := stored.exceeds(used.Beyond(m.Files))
		written, err := in.recount(ctx, t, stored, used, m, refused == nil)
		if err != nil {
			return err
		}
		if written {
			return refused
		}
	}
	return troy.Errorf(troy.Unavailable, "other releases of the pipeline kept Troy from counting what it stores; try again")
}

// addTree adds what a tree adds at most, and reports whether that exceeds the
// quota.
func (in *Intake) addTree(ctx context.Context, t site.Tree, added site.Usage) (over bool, err error) {
	err = in.behindLock(ctx, t.Pipeline, func(q *queries.Queries) error {
		counted, err := q.TreeCounted(ctx, t.Deployment)
		if err != nil || counted {
			return err
		}
		stored, err := in.StorageOf(ctx, q, t.Pipeline)
		if err != nil {
			return err
		}
		if over = stored.exceeds(added) != nil; over {
			return nil
		}
		return q.StorageAdd(ctx, queries.StorageAddParams{TreeID: t.Deployment, PipelineID: t.Pipeline, UsedFiles: added.Files, UsedBytes: added.Bytes})
	})
	return over, err
}

// recount writes what was counted, unless a tree was added since, and adds the
// tree to it.
func (in *Intake) recount(ctx context.Context, t site.Tree, stored Storage, used site.Usage, m site.Manifest, add bool) (written bool, err error) {
	err = in.behindLock(ctx, t.Pipeline, func(q *queries.Queries) error {
		n, err := q.StorageCount(ctx, queries.StorageCountParams{UsedFiles: used.Files, UsedBytes: used.Bytes, UsedChanges: stored.changes, PipelineID: t.Pipeline})
		if err != nil || n == 0 {
			return err
		}
		written = true
		if !add {
			return nil
		}
		added := used.Beyond(m.Files)
		return q.StorageAdd(ctx, queries.StorageAddParams{TreeID: t.Deployment, PipelineID: t.Pipeline, UsedFiles: added.Files, UsedBytes: added.Bytes})
	})
	return written, err
}

func (in *Intake) behindLock(ctx context.Context, pipeline uuid.UUID, f func(*queries.Queries) error) error {
	return pgx.BeginFunc(ctx, in.db, func(tx pgx.Tx) error {
		q := queries.New(tx)
		if _, err := lock(ctx, q, pipeline); err != nil {
			return err
		}
		return f(q)
	})
}

// count counts what a pipeline stores without the tree except.
func (in *Intake) count(ctx context.Context, store Trees, except site.Tree) (Storage, site.Usage, error) {
	// Before the store is listed, so that a tree that is added meanwhile is
	// noticed.
	stored, err := in.StorageOf(ctx, queries.New(in.db), except.Pipeline)
	if err != nil {
		return stored, site.Usage{}, err
	}
	used, err := countTrees(ctx, queries.New(in.db), store, except.Pipeline, except.Deployment)
	stored.Files, stored.Bytes = used.Files, used.Bytes
	return stored, used, err
}

// Recount counts what a pipeline stores, and records it unless a tree is added
// meanwhile: the next count then corrects it.
func (in *Intake) Recount(ctx context.Context, store Trees, pipeline uuid.UUID) error {
	stored, used, err := in.count(ctx, store, site.Tree{Pipeline: pipeline})
	if err != nil {
		return err
	}
	_, err = queries.New(in.db).StorageCount(ctx, queries.StorageCountParams{
		UsedFiles: used.Files, UsedBytes: used.Bytes, UsedChanges: stored.changes, PipelineID: pipeline,
	})
	if err != nil {
		return fmt.Errorf("record what pipeline %s stores: %w", pipeline, err)
	}
	return nil
}

func countTrees(ctx context.Context, q *queries.Queries, store Trees, pipeline, except uuid.UUID) (used site.Usage, err error) {
	listed, err := store.Trees(ctx, pipeline)
	if err != nil {
		return used, fmt.Errorf("list the trees of pipeline %s: %w", pipeline, err)
	}
	// After the store, so that what is listed has its row if it ever gets one.
	sorted, err := q.TreesSort(ctx, pipeline, listed)
	if err != nil {
		return used, fmt.Errorf("sort the trees of pipeline %s: %w", pipeline, err)
	}
	for _, tree := range sorted {
		if !tree.Counts || tree.TreeID == except {
			continue
		}
		m, err := store.Manifest(ctx, site.Tree{Pipeline: pipeline, Deployment: tree.TreeID})
		if errors.Is(err, cloud.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return used, fmt.Errorf("count the files of tree %s: %w", tree.TreeID, err)
		}
		used.Add(m)
	}
	return used, nil
}

// SetQuota sets a pipeline's own limits.
func (in *Intake) SetQuota(ctx context.Context, pipeline uuid.UUID, own OwnQuota, actor string) error {
	err := in.locked(ctx, pipeline, func(q *queries.Queries, p queries.Pipeline) error {
		if err := notInDeletion(p, Configuring); err != nil {
			return err
		}
		if err := q.QuotaSet(ctx, queries.QuotaSetParams{PipelineID: p.ID, Bytes: own.Bytes, Files: own.Files, OpenReleases: own.OpenReleases, SetBy: actor}); err != nil {
			return fmt.Errorf("set the quota of pipeline %s: %w", p.ID, err)
		}
		return Audit(ctx, q, Change{Action: QuotaSet, Subject: p.Slug, Detail: own.String(), Actor: actor, Pipeline: &p})
	})
	return err
}

// String is for people.
func (o OwnQuota) String() string {
	limit := func(n *int64, words func(int64) string) string {
		switch {
		case n == nil:
			return "default"
		case *n == 0:
			return "no limit"
		}
		return words(*n)
	}
	plain := func(n int64) string { return fmt.Sprint(n) }
	return fmt.Sprintf("bytes %s, files %s, open releases %s", limit(o.Bytes, plain), limit(o.Files, plain), limit(o.OpenReleases, plain))
}
