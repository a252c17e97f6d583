package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/devstack"
)

const maxSeed = 10_000_000

// seeding is what to fill a database with.
type seeding struct {
	pipelines, deployments int
	add                    bool // also if there are pipelines
	suffix                 string
}

func newSeedCommand() *cobra.Command {
	s := seeding{pipelines: 100, deployments: 1000}
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "Fill the database of the running troyd dev with made-up pipelines",
		Long: "Fill the database of the troyd dev that runs on TROY_DATA_DIR with made-up pipelines and deployments, to look at\n" +
			"and to test with. They have rows only: no files, so their sites answer 404. It refuses if there are pipelines,\n" +
			"unless you give --add.\n\n" +
			"Exit status: 0 done, 1 failed, 2 wrong usage, or there are pipelines.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.pipelines < 1 || s.deployments < 0 || s.pipelines > maxSeed || s.deployments > maxSeed {
				return usageError{fmt.Errorf("expected 1 to %d pipelines and 0 to %d deployments", maxSeed, maxSeed)}
			}
			return withBackend(cmd.Context(), onlyDev, func(cfg config, b *backend) error {
				s.suffix = cfg.SitesSuffix
				begun := time.Now()
				if err := s.fill(cmd.Context(), b.db); err != nil {
					return err
				}
				cmd.PrintErrf("Added %s and %s in %s.\n", troy.Count(s.pipelines, "pipeline", "pipelines"), troy.Count(s.deployments, "deployment", "deployments"), time.Since(begun).Round(time.Millisecond))
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&s.pipelines, "pipelines", s.pipelines, "add `N` pipelines")
	cmd.Flags().IntVar(&s.deployments, "deployments", s.deployments, "add `M` deployments, spread over the pipelines")
	cmd.Flags().BoolVar(&s.add, "add", false, "add to the pipelines that there are")
	return cmd
}

// onlyDev returns an error if the configuration is not that of a running troyd
// dev.
func onlyDev(cfg config) error {
	dev, err := devstack.FindRunning(cfg.DataDir)
	if err == nil && dev.Settings["TROY_DATABASE_URL"] != cfg.DatabaseURL {
		err = errors.New("TROY_DATABASE_URL names another database")
	}
	if err != nil {
		return usageError{fmt.Errorf("seed only fills the database of a running troyd dev: %w", err)}
	}
	return nil
}

// fill adds the rows in one transaction.
func (s seeding) fill(ctx context.Context, db *pgxpool.Pool) error {
	err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var there int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM pipelines").Scan(&there); err != nil {
			return err
		}
		if there > 0 && !s.add {
			return usageError{fmt.Errorf("the database has pipelines already (%d); --add adds to them", there)}
		}
		var last int
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(substring(slug FROM 6)::bigint), 0) FROM pipelines WHERE slug ~ '^seed-[0-9]{1,9}$'`).Scan(&last); err != nil {
			return err
		}
		return s.copy(ctx, tx, last)
	})
	if err != nil {
		return fmt.Errorf("seed the database: %w", err)
	}
	if _, err := db.Exec(ctx, "ANALYZE pipelines, domains, deployments, events, builds, audit"); err != nil {
		return fmt.Errorf("analyze the database: %w", err)
	}
	return nil
}

// seeds makes the rows. The same place always gives the same row.
type seeds struct {
	seeding
	last int // number of the last pipeline that there was
	now  time.Time
	run  uint32 // tells the ids of two runs apart
}

// seedStep is the time between the creation of two pipelines, and between two
// deployments of one.
const seedStep = 3 * time.Minute

func (s seeding) copy(ctx context.Context, tx pgx.Tx, last int) error {
	rows := seeds{seeding: s, last: last, now: time.Now().UTC().Truncate(time.Microsecond), run: rand.Uint32()} //nolint:gosec // it need not be secret
	log, err := seedLog()
	if err != nil {
		return err
	}
	for _, t := range []struct {
		table   string
		columns []string
		next    func() ([]any, error)
	}{
		{"pipelines", []string{
			"id", "name", "slug", "status", "cause", "version", "live_deployment_id", "last_sequence", "last_number", "created_at", "updated_at",
			"locked_at", "locked_by", "lock_reason",
		}, each(s.pipelines, rows.pipeline)},
		{"domains", []string{"host", "pipeline_id", "kind"}, each(s.pipelines, func(i int) []any {
			return []any{rows.slug(i) + "." + s.suffix, rows.pipelineID(i), "site"}
		})},
		{"deployments", []string{
			"id", "pipeline_id", "number", "kind", "state", "tree_id", "commit_sha", "branch", "author", "message", "actor", "files", "bytes",
			"sequence", "cause", "created_at", "started_at", "sealed_at", "live_at", "finished_at", "reported_state",
		}, each(s.deployments, rows.deployment)},
		{"events", []string{"pipeline_id", "version", "slug", "from_status", "to_status", "cause", "actor", "deployment_id", "time"}, rows.events()},
		{"builds", []string{"deployment_id", "attempt", "phases", "rule", "log_bytes", "log", "started_at", "finished_at", "tail", "emptied"}, rows.builds(log)},
		{"audit", []string{"id", "time", "actor", "action", "subject", "pipeline_id", "slug"}, each(s.pipelines, rows.audit)},
	} {
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{t.table}, t.columns, pgx.CopyFromFunc(t.next)); err != nil {
			return fmt.Errorf("copy into %s: %w", t.table, err)
		}
	}
	return nil
}

// each returns the rows 0 to n-1, and then nothing.
func each(n int, row func(i int) []any) func() ([]any, error) {
	i := -1
	return func() ([]any, error) {
		if i++; i >= n {
			return nil, nil
		}
		return row(i), nil
	}
}

// id returns an id of version 7 (RFC 9562 §5.7) for a time.
func (s seeds) id(kind byte, n int, at time.Time) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[0:], uint64(at.UnixMilli())<<16|0x7000|uint64(kind))
	binary.BigEndian.PutUint32(id[8:], s.run)
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (s seeds) created(i int) time.Time {
	return s.now.Add(-time.Duration(s.pipelines-i)*seedStep - time.Duration(s.each())*seedStep)
}

// each is the most deployments of a pipeline.
func (s seeds) each() int { return (s.deployments + s.pipelines - 1) / s.pipelines }

// automated reports whether a deployment has a build.
func (s seeds) automated(n int) bool { return n%3 > 0 }

// count is the number of deployments of a pipeline.
func (s seeds) count(i int) int {
	n := s.deployments / s.pipelines
	if i < s.deployments%s.pipelines {
		n++
	}
	return n
}

func (s seeds) slug(i int) string { return fmt.Sprintf("seed-%d", s.last+i+1) }

func (s seeds) pipelineID(i int) uuid.UUID { return s.id(1, i, s.created(i)) }

// deploymentID is the id of a pipeline's deployment, by its number.
func (s seeds) deploymentID(i, number int) uuid.UUID {
	return s.id(2, (number-1)*s.pipelines+i, s.deployed(i, number))
}

func (s seeds) deployed(i, number int) time.Time {
	return s.created(i).Add(time.Duration(number) * seedStep)
}

// fails reports whether the newest deployment of a pipeline failed.
func (s seeds) fails(i int) bool { return i%20 == 7 }

func (s seeds) pipeline(i int) []any {
	adjectives := []string{"Blue", "Quiet", "Northern", "Open", "Early", "Bright", "Small", "Green"}
	nouns := []string{"Harbour", "Garden", "Library", "Market", "Atlas", "Journal", "Studio", "Kitchen", "Museum"}
	count := s.count(i)
	status, cause, version := troy.ReadyForDeployment, "", 4+3*count
	var live *uuid.UUID
	switch {
	case count > 0 && s.fails(i):
		status, cause = troy.FailedToDeploy, "the build command ended with exit code 1"
		if count > 1 {
			live = new(s.deploymentID(i, count-1))
		}
	case count > 0:
		status, live = troy.Deployed, new(s.deploymentID(i, count))
	}
	var lockedAt *time.Time
	lockedBy, reason := "", ""
	if i%50 == 11 {
		lockedAt, lockedBy, reason = new(s.now), "token seed", "the shop is closed for a week"
	}
	return []any{
		s.pipelineID(i), adjectives[i%len(adjectives)] + " " + nouns[i%len(nouns)], s.slug(i), string(status), cause, int64(version), live,
		int64(count), int64(count), s.created(i), s.deployed(i, count), lockedAt, lockedBy, reason,
	}
}

func (s seeds) deployment(n int) []any {
	messages := []string{"New prices", "Fix the menu on phones", "Spring collection", "Update dependencies", "Correct a typo", "Faster images"}
	authors := []string{"Ada", "Grace", "Linus", "Margaret"}
	i, number := n%s.pipelines, n/s.pipelines+1
	at := s.deployed(i, number)
	id := s.deploymentID(i, number)
	failed := number == s.count(i) && s.fails(i)
	state, cause, liveAt := troy.Succeeded, "", new(at.Add(40*time.Second))
	if failed {
		state, cause, liveAt = troy.Failed, "the build command ended with exit code 1", nil
	}
	kind, actor := troy.Release, "token seed"
	var commit, branch, author *string
	if s.automated(n) {
		kind, actor = troy.Automated, "push"
		commit, branch, author = new(fmt.Sprintf("%040x", n+1)), new("main"), new(authors[n%len(authors)])
	}
	return []any{
		id, s.pipelineID(i), int64(number), string(kind), string(state), id, commit, branch, author, messages[n%len(messages)], actor,
		int64(20 + n%400), int64(100_000 + n%9_000_000), int64(number), cause, at, at.Add(5 * time.Second), liveAt, liveAt, at.Add(41 * time.Second),
		(*string)(nil), // they are not reported
	}
}
