// Package schema is the database's schema: the migrations that lead to it,
// embedded, and schema.sql, which says what it should be. `troyd migrate` runs
// them, every part of troyd checks at its start that they have been run, and
// tests clone databases that they made.
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

// lockTimeout is how long a migration's statement waits for a lock. Queries
// queue up behind one that waits, so it gives up rather than stop the service.
const lockTimeout = 5 * time.Second

// Wanted returns schema.sql: the schema as it should be.
func Wanted() (string, error) {
	text, err := files.ReadFile("schema.sql")
	return string(text), err
}

// Migrations returns the embedded migrations.
func Migrations() (fs.FS, error) { return fs.Sub(files, "migrations") }

// Hash is a digest of the migrations' names and texts: 16 hexadecimal digits
// that change whenever a migration does.
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

// Step is one migration and where it stands.
type Step struct {
	Version   int64
	Name      string    // its file
	AppliedAt time.Time // zero when it is pending
}

// Up runs the migrations that are pending and returns them. Of several
// processes that do so at once one does the work, the others wait for it.
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

// Down takes the newest migration back and returns it; nil when there is none
// left.
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

// Status lists every migration, oldest first.
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

// Latest is the version that this binary's migrations lead to.
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

// Querier is what Version and Check need of a connection, a pool or a
// transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Version is the version of the database's schema: 0 when nothing was
// migrated yet.
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

// OldError says that the database's schema is older than this binary needs.
type OldError struct{ Have, Need int64 }

func (e *OldError) Error() string {
	return fmt.Sprintf("the schema is at version %d, this troyd needs %d: run troyd migrate up", e.Have, e.Need)
}

// Check fails with *OldError when the database's schema is older than this
// binary needs. A newer one is accepted: migrations only add, so that the
// version before runs on the schema after.
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

// provider is goose on a connection pool of its own.
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
		return nil, fmt.Errorf("make the migrations' lock: %w", err)
	}
	db := stdlib.OpenDB(*cfg)
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the migrations: %w", err), db.Close())
	}
	return &provider{p, db}, nil
}

// Close ends the connections.
func (p *provider) Close() error { return p.db.Close() }

// explain says in words which lock was not to be had.
func explain(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "55P03" { // lock_not_available
		return fmt.Errorf("a table was in use for %s; what ran before stays done, so run it again when there is less load: %w", lockTimeout, err)
	}
	return err
}

// WithDatabase returns the URL of another database of the same server.
func WithDatabase(serverURL, name string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("the database's URL must look like postgres://user:password@host:5432/name")
	}
	u.Path = "/" + name
	return u.String(), nil
}
