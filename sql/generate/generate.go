// Package generate writes migrations. On two scratch databases it compares the
// result of the existing migrations with schema.sql, and plans the statements
// that change one to the other and back. The program in sql/migration calls it.
package generate

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/postgres"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	atlas "ariga.io/atlas/sql/schema"

	schema "github.com/troy-iaas/troy/sql"
)

// Migration changes the migrations' schema to schema.sql, and back.
type Migration struct {
	// Up and Down run in a transaction. Down undoes Up.
	Up, Down []string
	// ConcurrentUp builds and drops the indexes of existing tables after Up
	// without locking them, which is impossible in a transaction.
	// ConcurrentDown undoes it, before Down.
	ConcurrentUp, ConcurrentDown []string
	// Destructive lists the dropped objects that hold data: tables, columns and
	// sequences.
	Destructive []string
}

// Empty reports whether the two schemas agree.
func (m Migration) Empty() bool { return len(m.Up) == 0 && len(m.ConcurrentUp) == 0 }

// IncomparableError lists the objects that differ, or may differ, and for which
// no migration can be generated.
type IncomparableError struct{ Objects []string }

func (e *IncomparableError) Error() string {
	return "can't generate a migration for " + strings.Join(e.Objects, ", ") +
		"; write it by hand (make migration NAME=… FLAGS=-empty) and generate the rest afterwards"
}

// Plan compares the result of the migrations with wanted, on scratch databases
// that it creates on the server of serverURL and drops again. It tests the
// migration in both directions before it returns it.
func Plan(ctx context.Context, serverURL string, migrations fs.FS, wanted string) (m Migration, err error) {
	s, err := newScratch(ctx, serverURL)
	if err != nil {
		return Migration{}, err
	}
	defer func() { err = errors.Join(err, s.drop()) }()
	if err := s.migrate(ctx, migrations); err != nil {
		return Migration{}, err
	}
	if err := s.load(ctx, wanted); err != nil {
		return Migration{}, err
	}
	if err := compareOthers(ctx, s.have, s.want); err != nil {
		return Migration{}, err
	}
	m, err = s.diff(ctx)
	if err != nil || m.Empty() {
		return m, err
	}
	if err := s.prove(ctx, m); err != nil {
		return Migration{}, err
	}
	return m, nil
}

// scratch is the two databases: have follows the migrations, want schema.sql.
type scratch struct {
	serverURL          string
	names              []string
	haveURL, wantURL   string
	have, want         *sql.DB
	haveConn, wantConn migrate.Driver
}

func newScratch(ctx context.Context, serverURL string) (*scratch, error) {
	s := &scratch{serverURL: serverURL}
	var err error
	if s.haveURL, s.have, s.haveConn, err = s.create(ctx); err == nil {
		s.wantURL, s.want, s.wantConn, err = s.create(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.drop())
	}
	return s, nil
}

func (s *scratch) create(ctx context.Context) (string, *sql.DB, migrate.Driver, error) {
	name := "troy_scratch_" + strings.ToLower(rand.Text())
	if err := execute(ctx, s.serverURL, "CREATE DATABASE "+quote(name)+" TEMPLATE template0"); err != nil {
		return "", nil, nil, fmt.Errorf("create the scratch database %s: %w", name, err)
	}
	s.names = append(s.names, name)
	databaseURL, err := schema.WithDatabase(s.serverURL, name)
	if err != nil {
		return "", nil, nil, err
	}
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return "", nil, nil, fmt.Errorf("read the database's URL: %w", err)
	}
	db := stdlib.OpenDB(*cfg)
	driver, err := postgres.Open(db)
	if err != nil {
		return "", nil, nil, errors.Join(fmt.Errorf("open the scratch database %s: %w", name, err), db.Close())
	}
	return databaseURL, db, driver, nil
}

// drop drops the scratch databases, even if their users were interrupted.
func (s *scratch) drop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	for _, db := range []*sql.DB{s.have, s.want} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	for _, name := range s.names {
		if err := execute(ctx, s.serverURL, "DROP DATABASE "+quote(name)+" WITH (FORCE)"); err != nil {
			errs = append(errs, fmt.Errorf("drop the scratch database %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// migrate runs the migrations. Without migrations the schema is empty.
func (s *scratch) migrate(ctx context.Context, migrations fs.FS) error {
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return fmt.Errorf("list the migrations: %w", err)
	}
	if len(names) == 0 {
		return nil
	}
	_, err = schema.UpFrom(ctx, s.haveURL, migrations)
	return err
}

func (s *scratch) load(ctx context.Context, wanted string) error {
	if err := execute(ctx, s.wantURL, wanted); err != nil {
		return fmt.Errorf("run the wanted schema: %w", err)
	}
	return nil
}

// diff plans the changes from have to want, and back.
func (s *scratch) diff(ctx context.Context) (Migration, error) {
	have, err := inspect(ctx, s.haveConn)
	if err != nil {
		return Migration{}, fmt.Errorf("read the migrations' schema: %w", err)
	}
	want, err := inspect(ctx, s.wantConn)
	if err != nil {
		return Migration{}, fmt.Errorf("read the wanted schema: %w", err)
	}
	// Both schemas were read from Postgres and so are normalized. Without this
	// option, atlas does not detect a changed CHECK.
	forward, err := s.haveConn.SchemaDiff(have, want, atlas.DiffNormalized())
	if err != nil {
		return Migration{}, fmt.Errorf("compare the schemas: %w", err)
	}
	back, err := s.haveConn.SchemaDiff(want, have, atlas.DiffNormalized())
	if err != nil {
		return Migration{}, fmt.Errorf("compare the schemas: %w", err)
	}
	apart := concurrentIndexes(forward)
	m := Migration{Destructive: destructive(forward)}
	if m.Up, m.ConcurrentUp, err = s.plan(ctx, forward, apart); err != nil {
		return Migration{}, err
	}
	if m.Down, m.ConcurrentDown, err = s.plan(ctx, back, apart); err != nil {
		return Migration{}, err
	}
	return m, s.addSequences(ctx, &m)
}

func inspect(ctx context.Context, d migrate.Driver) (*atlas.Schema, error) {
	return d.InspectSchema(ctx, "public", &atlas.InspectOptions{Exclude: []string{"goose_db_version"}})
}

// plan returns the statements for changes. It returns those of the indexes
// named in apart separately.
func (s *scratch) plan(ctx context.Context, changes []atlas.Change, apart map[string]bool) (stmts, concurrent []string, err error) {
	together, indexes := split(changes, apart)
	form := func(o *migrate.PlanOptions) {
		o.SchemaQualifier = new(string) // none
		o.Indent = "    "
	}
	for _, part := range []struct {
		changes []atlas.Change
		to      *[]string
	}{{together, &stmts}, {indexes, &concurrent}} {
		if len(part.changes) == 0 {
			continue
		}
		p, err := s.haveConn.PlanChanges(ctx, "migration", part.changes, form)
		if err != nil {
			return nil, nil, fmt.Errorf("plan the migration: %w", err)
		}
		for _, c := range p.Changes {
			*part.to = append(*part.to, c.Cmd)
		}
	}
	return stmts, repeatable(concurrent), nil
}

// repeatable drops each index before it is built. A failed build leaves an
// invalid index with its name behind, and outside a transaction the migration
// runs again from its first statement.
func repeatable(stmts []string) []string {
	var out []string
	for _, s := range stmts {
		if before, after, ok := strings.Cut(s, "INDEX CONCURRENTLY "); ok {
			name, _, _ := strings.Cut(after, " ON ")
			if strings.HasPrefix(before, "CREATE") {
				out = append(out, "DROP INDEX CONCURRENTLY IF EXISTS "+name)
			} else {
				s = "DROP INDEX CONCURRENTLY IF EXISTS " + after
			}
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// prove runs the migration on the scratch database, and back, because atlas may
// miss a change or plan a wrong one.
func (s *scratch) prove(ctx context.Context, m Migration) error {
	for _, stmt := range slices.Concat(m.Up, m.ConcurrentUp) {
		if _, err := s.have.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("try the generated migration: %s: %w", stmt, err)
		}
	}
	rest, err := s.diff(ctx)
	if err != nil {
		return err
	}
	if !rest.Empty() {
		return fmt.Errorf("the generated migration does not reach the wanted schema; it still needs %q; write it by hand (make migration NAME=… FLAGS=-empty)", slices.Concat(rest.Up, rest.ConcurrentUp))
	}
	for _, stmt := range slices.Concat(m.ConcurrentDown, m.Down) {
		if _, err := s.have.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("try the generated migration's down statements: %s: %w", stmt, err)
		}
	}
	again, err := s.diff(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(sorted(again.Up), sorted(m.Up)) || !slices.Equal(sorted(again.ConcurrentUp), sorted(m.ConcurrentUp)) {
		return fmt.Errorf("the generated migration can't be undone; after up and down the schema still needs %q; write it by hand (make migration NAME=… FLAGS=-empty)", slices.Concat(again.Up, again.ConcurrentUp))
	}
	return nil
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// execute runs a script on its own connection, because a script may leave the
// connection in any state.
func execute(ctx context.Context, databaseURL, script string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, script).ReadAll()
	return err
}
