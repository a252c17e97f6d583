// Package schema embeds the database's schema: the migrations, and schema.sql,
// their expected result. `troyd migrate` runs the migrations, every part of
// troyd checks at its start that they have run, and tests clone databases made
// with them.
package schema

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql schema.sql
var files embed.FS

// lockTimeout is how long a migration's statement waits for a lock. Other
// queries queue behind it, so it gives up rather than block the service.
const lockTimeout = 5 * time.Second

// Wanted returns schema.sql, the expected schema.
func Wanted() (string, error) {
	text, err := files.ReadFile("schema.sql")
	return string(text), err
}

// Migrations returns the embedded migrations.
func Migrations() (fs.FS, error) { return fs.Sub(files, "migrations") }

// Hash returns a digest of the migrations' names and texts: 16 hexadecimal
// digits that change with every migration.
func Hash() (string, error) {
	dir, err := Migrations()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%d %s %d ", len(name), name, len(text))
		h.Write(text)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("hash the migrations: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// Step is a migration and its status.
type Step struct {
	Version   int64
	Name      string    // the file's name
	AppliedAt time.Time // zero when it is pending
}

// Up runs the pending migrations and returns them. If several processes call Up
// at once, one does the work and the others wait for it.
func Up(ctx context.Context, databaseURL string) ([]Step, error) {
	dir, err := Migrations()
	if err != nil {
		return nil, err
	}
	return UpFrom(ctx, databaseURL, dir)
}

// UpFrom is Up with the migrations in dir.
func UpFrom(ctx context.Context, databaseURL string, dir fs.FS) ([]Step, error) {
	p, err := newProvider(databaseURL, dir)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	results, err := p.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate up: %w", explain(err))
	}
	steps := make([]Step, 0, len(results))
	for _, r := range results {
		steps = append(steps, Step{Version: r.Source.Version, Name: path.Base(r.Source.Path), AppliedAt: time.Now()})
	}
	return steps, nil
}

// Down reverts the newest migration and returns it. It returns nil if there is
// none.
func Down(ctx context.Context, databaseURL string) (*Step, error) {
	dir, err := Migrations()
	if err != nil {
		return nil, err
	}
	return DownFrom(ctx, databaseURL, dir)
}

// DownFrom is Down with the migrations in dir.
func DownFrom(ctx context.Context, databaseURL string, dir fs.FS) (*Step, error) {
	p, err := newProvider(databaseURL, dir)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	r, err := p.Down(ctx)
	if errors.Is(err, goose.ErrNoNextVersion) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("migrate down: %w", explain(err))
	}
	return &Step{Version: r.Source.Version, Name: path.Base(r.Source.Path)}, nil
}

// Status returns all migrations, oldest first.
func Status(ctx context.Context, databaseURL string) ([]Step, error) {
	dir, err := Migrations()
	if err != nil {
		return nil, err
	}
	p, err := newProvider(databaseURL, dir)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	all, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the migrations' status: %w", err)
	}
	steps := make([]Step, 0, len(all))
	for _, s := range all {
		steps = append(steps, Step{Version: s.Source.Version, Name: path.Base(s.Source.Path), AppliedAt: s.AppliedAt})
	}
	return steps, nil
}

// Latest returns the version of this binary's newest migration.
func Latest() (int64, error) {
	dir, err := Migrations()
	if err != nil {
		return 0, err
	}
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return 0, err
	}
	var latest int64
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("read the version of migration %s: %w", name, err)
		}
		latest = max(latest, v)
	}
	return latest, nil
}

// Querier is the part of a connection, a pool or a transaction that Version and
// Check use.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Version returns the version of the database's schema, or 0 if no migration
// has run.
func Version(ctx context.Context, db Querier) (int64, error) {
	var v int64
	err := db.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&v)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42P01" { // undefined_table
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return v, nil
}

// OldError means that the database's schema is older than this binary needs.
type OldError struct{ Have, Need int64 }

func (e *OldError) Error() string {
	return fmt.Sprintf("the schema is at version %d; this troyd needs %d: run troyd migrate up", e.Have, e.Need)
}

// Check returns an *OldError if the database's schema is older than this binary
// needs. A newer schema is accepted: migrations only add, so the previous
// binary runs on the new schema.
func Check(ctx context.Context, db Querier) error {
	need, err := Latest()
	if err != nil {
		return err
	}
	have, err := Version(ctx, db)
	if err != nil {
		return err
	}
	if have < need {
		return &OldError{Have: have, Need: need}
	}
	return nil
}

// provider is a goose provider with its own connection pool.
type provider struct {
	*goose.Provider
	db *sql.DB
}

func newProvider(databaseURL string, dir fs.FS) (*provider, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database's URL: %w", err)
	}
	cfg.RuntimeParams["lock_timeout"] = fmt.Sprint(lockTimeout.Milliseconds())
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, fmt.Errorf("create the migrations' lock: %w", err)
	}
	db := stdlib.OpenDB(*cfg)
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the migrations: %w", err), db.Close())
	}
	return &provider{p, db}, nil
}

// Close closes the connections.
func (p *provider) Close() error { return p.db.Close() }

// explain adds advice to an error about a lock.
func explain(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "55P03" { // lock_not_available
		return fmt.Errorf("a table was in use for %s; earlier migrations stay applied, so run it again under less load: %w", lockTimeout, err)
	}
	return err
}

// WithDatabase returns the URL of another database on the same server.
func WithDatabase(serverURL, name string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("the database's URL must look like postgres://user:password@host:5432/name")
	}
	u.Path = "/" + name
	return u.String(), nil
}
