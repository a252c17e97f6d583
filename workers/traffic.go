package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/traffic"
)

const (
	// countEvery is the time between two turns of the counting.
	countEvery = 5 * time.Minute
	// countLock is the name of the lock that lets one process count. Without
	// it, the counts would still be right.
	countLock = "access logs"
	// maxCounted is the number of log files that a turn counts.
	maxCounted = 2000
	// countBatch is the number of log files that are looked up together.
	countBatch = 200
	// maxUncounted is the number of log files that may fail in a turn.
	maxUncounted = 10
	// strayKept is how long log files of unknown distributions are kept.
	strayKept = 48 * time.Hour
)

// errEnough ends a turn that has reached a limit.
var errEnough = errors.New("enough for one turn")

// countTraffic counts the requests in the CDN's access logs until the context
// ends. Nothing rings it: what remains to be counted is in the log bucket.
func (w *Workers) countTraffic(ctx context.Context) {
	if w.deps.Cloud.AccessLogs == nil {
		return
	}
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for {
		turn := counting{db: w.deps.DB, logs: w.deps.Cloud.AccessLogs, now: time.Now(), most: maxCounted}
		err := w.alone(ctx, countLock, turn.run)
		if ctx.Err() != nil {
			return
		}
		for _, problem := range turn.damaged {
			w.log.Warn("an access log is damaged; its lines before the damage are counted", "problem", problem)
		}
		if turn.counted > 0 {
			w.log.Info("counted access logs", "files", turn.counted, "requests", turn.requests, "unread_lines", turn.unread)
		}
		if err != nil {
			w.log.Warn("access logs were not counted; the next turn retries", "in", countEvery, "error", err)
		}
		if turn.more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// alone runs f unless another process holds the name.
func (w *Workers) alone(ctx context.Context, name string, f func(context.Context) error) error {
	var done error
	err := pgx.BeginFunc(ctx, w.deps.DB, func(tx pgx.Tx) error {
		free, err := queries.New(tx).LockNameTry(ctx, name)
		if err != nil {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		if free {
			done = f(ctx)
		}
		return nil
	})
	return errors.Join(err, done)
}

// counting is a turn of the counting, and what it did.
type counting struct {
	db   *pgxpool.Pool
	logs cloud.AccessLogs
	now  time.Time
	most int // log files to count

	counted, unread int
	requests        int64
	damaged         []string
	failed          []error
	more            bool // there may be more to count
}

// run counts log files, removes those that are counted, and removes counts that
// are no longer kept. A failure with one file does not stop the others.
func (c *counting) run(ctx context.Context) error {
	batch := make([]cloud.LogFile, 0, countBatch)
	flush := func() error {
		err := c.countAll(ctx, batch)
		batch = batch[:0]
		return err
	}
	err := c.logs.Files(ctx, func(f cloud.LogFile) error {
		if batch = append(batch, f); len(batch) < countBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if c.more = errors.Is(err, errEnough); c.more {
		err = nil
	}
	return errors.Join(append(c.failed, err, c.expire(ctx))...)
}

func (c *counting) expire(ctx context.Context) error {
	q := queries.New(c.db)
	if _, err := q.TrafficExpire(ctx, traffic.FirstKept(c.now)); err != nil {
		return fmt.Errorf("remove old counts: %w", err)
	}
	if _, err := q.LogFilesExpire(ctx); err != nil {
		return fmt.Errorf("forget old log files: %w", err)
	}
	return nil
}

// countAll counts those of the files that are not counted yet.
func (c *counting) countAll(ctx context.Context, files []cloud.LogFile) error {
	if len(files) == 0 {
		return nil
	}
	before, sites, err := c.lookUp(ctx, files)
	if err != nil {
		return err
	}
	var unneeded []string
	var end error
	for _, f := range files {
		problem, done := before[f.Key]
		pipeline, known := sites[f.Distribution]
		switch {
		case done:
		case !known && c.now.Sub(f.Hour) < strayKept:
			continue // its pipeline may be restored from a backup
		case !known:
		default:
			if problem, err = c.count(ctx, f, pipeline); err != nil {
				c.failed = append(c.failed, err)
				if ctx.Err() != nil || len(c.failed) >= maxUncounted {
					end = errors.New("too many access logs could not be counted")
					break
				}
				continue
			}
		}
		if end != nil {
			break
		}
		if problem == "" {
			unneeded = append(unneeded, f.Key)
		}
		if c.counted >= c.most {
			end = errEnough
			break
		}
	}
	return errors.Join(end, c.remove(ctx, unneeded))
}

// lookUp returns the problems of those files that are counted, and the
// pipelines of the files' distributions.
func (c *counting) lookUp(ctx context.Context, files []cloud.LogFile) (counted map[string]string, sites map[string]uuid.UUID, err error) {
	keys, distributions := make([]string, len(files)), map[string]bool{}
	for i, f := range files {
		keys[i], distributions[f.Distribution] = f.Key, true
	}
	q := queries.New(c.db)
	rows, err := q.LogFilesCounted(ctx, keys)
	if err != nil {
		return nil, nil, fmt.Errorf("read which log files are counted: %w", err)
	}
	pipelines, err := q.TrafficPipelines(ctx, slices.Collect(maps.Keys(distributions)))
	if err != nil {
		return nil, nil, fmt.Errorf("read the pipelines of log files: %w", err)
	}
	counted, sites = map[string]string{}, map[string]uuid.UUID{}
	for _, r := range rows {
		counted[r.Key] = r.Problem
	}
	for _, p := range pipelines {
		sites[p.Distribution] = p.ID
	}
	return counted, sites, nil
}

// count reads a file, and adds its requests to the counts in the transaction
// that records the file. problem says why it was not read to its end.
func (c *counting) count(ctx context.Context, f cloud.LogFile, pipeline uuid.UUID) (problem string, err error) {
	batch := traffic.NewBatch(c.now)
	requests, outside := int64(0), 0
	unread, err := c.logs.Read(ctx, f, func(r cloud.Request) {
		if batch.Add(r.Day, traffic.Seen{Path: r.Path, Referrer: r.Referrer, Status: r.Status, Bytes: r.Bytes}) {
			requests++
		} else {
			outside++
		}
	})
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return "", nil // another worker removed it
	case errors.Is(err, cloud.ErrDamaged):
		problem = err.Error()
	case err != nil:
		return "", err
	}
	fresh := false
	err = pgx.BeginFunc(ctx, c.db, func(tx pgx.Tx) error {
		q := queries.New(tx)
		// A worker that counts the same file waits here, and then finds the row.
		n, err := q.LogFileCount(ctx, f.Key, problem)
		if err != nil || n == 0 {
			return err
		}
		fresh = true
		return addReports(ctx, q, pipeline, batch.Reports())
	})
	if err != nil {
		return "", fmt.Errorf("count %s: %w", f.Key, err)
	}
	if fresh {
		c.counted++
		c.requests += requests
		c.unread += unread + outside
		if problem != "" {
			c.damaged = append(c.damaged, problem)
		}
	}
	return problem, nil
}

// addReports adds reports to a site's counts. Days are locked in order, so that
// two workers don't wait for each other.
func addReports(ctx context.Context, q *queries.Queries, pipeline uuid.UUID, reports map[string]traffic.Report) error {
	for _, name := range slices.Sorted(maps.Keys(reports)) {
		day, err := time.Parse(traffic.Day, name)
		if err != nil {
			return err
		}
		stored, err := q.TrafficLock(ctx, day, pipeline)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // the pipeline was deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("lock the counts of %s: %w", name, err)
		}
		var sum traffic.Report
		if err := json.Unmarshal(stored, &sum); err != nil {
			return fmt.Errorf("read the counts of %s: %w", name, err)
		}
		sum.Add(reports[name])
		text, err := json.Marshal(sum)
		if err != nil {
			return err
		}
		if err := q.TrafficSet(ctx, queries.TrafficSetParams{PipelineID: pipeline, Day: day, Report: text}); err != nil {
			return fmt.Errorf("write the counts of %s: %w", name, err)
		}
	}
	return nil
}

// remove deletes files that are counted or that no pipeline needs. Rows of
// files that are still there stay.
func (c *counting) remove(ctx context.Context, keys []string) error {
	if len(keys) == 0 || ctx.Err() != nil {
		return nil //nolint:nilerr // the next turn removes them
	}
	if err := c.logs.Remove(ctx, keys...); err != nil {
		return fmt.Errorf("remove access logs that are counted: %w", err)
	}
	if err := queries.New(c.db).LogFilesRemoved(ctx, keys); err != nil {
		return fmt.Errorf("note the removal of access logs: %w", err)
	}
	return nil
}
