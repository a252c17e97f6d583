package schema_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/internal/devstack"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	schema "github.com/troy-iaas/troy/sql"
)

func TestMigrationsLeadToSchema(t *testing.T) {
	t.Parallel()
	wanted, err := schema.Wanted()
	if err != nil {
		t.Fatal(err)
	}
	byHand := stacktest.EmptyDatabase(t)
	run(t, byHand, wanted)
	if diff := cmp.Diff(dump(t, byHand), dump(t, stacktest.Database(t))); diff != "" {
		t.Errorf("sql/schema.sql and sql/migrations differ; run make migration NAME=… (-schema.sql +migrations):\n%s", diff)
	}
}

func TestDumpsTellSchemasApart(t *testing.T) {
	t.Parallel()
	for _, change := range []string{
		"ALTER TABLE apps ADD COLUMN extra text",
		"ALTER TABLE work DROP CONSTRAINT work_rung_or_held",
		"DROP INDEX work_ringing",
		"ALTER SEQUENCE work_epochs INCREMENT BY 2",
		"CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
	} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			a, b := stacktest.Database(t), stacktest.Database(t)
			run(t, b, change)
			if cmp.Equal(dump(t, a), dump(t, b)) {
				t.Error("the dumps are equal")
			}
		})
	}
	t.Run("but not the order of columns", func(t *testing.T) {
		t.Parallel()
		a, b := stacktest.EmptyDatabase(t), stacktest.EmptyDatabase(t)
		run(t, a, "CREATE TABLE t (a text, b text)")
		run(t, b, "CREATE TABLE t (b text); ALTER TABLE t ADD COLUMN a text")
		if diff := cmp.Diff(dump(t, a), dump(t, b)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestUpDownStatus(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := stacktest.EmptyDatabase(t)
	latest, err := schema.Latest()
	if err != nil {
		t.Fatal(err)
	}
	old, ok := errors.AsType[*schema.OldError](schema.Check(ctx, connect(t, db)))
	if !ok || old.Have != 0 || old.Need != latest {
		t.Errorf("an empty database: %v", old)
	}
	if got, want := (&schema.OldError{Have: 3, Need: 4}).Error(), "the schema is at version 3; this troyd needs 4: run troyd migrate up"; got != want {
		t.Errorf("the error says %q, want %q", got, want)
	}
	steps, err := schema.Up(ctx, db)
	if err != nil || len(steps) != migrations(t) {
		t.Fatalf("up: %v, %v; want %d steps", steps, err, migrations(t))
	}
	if steps, err := schema.Up(ctx, db); err != nil || len(steps) != 0 {
		t.Errorf("up again: %v, %v; want nothing", steps, err)
	}
	if err := schema.Check(ctx, connect(t, db)); err != nil {
		t.Error(err)
	}
	status, err := schema.Status(ctx, db)
	if err != nil || len(status) != migrations(t) || status[0].Name != "00001_init.sql" || status[0].AppliedAt.IsZero() {
		t.Errorf("status: %+v, %v", status, err)
	}
	for range migrations(t) {
		if step, err := schema.Down(ctx, db); err != nil || step == nil {
			t.Fatalf("down: %v, %v", step, err)
		}
	}
	if step, err := schema.Down(ctx, db); err != nil || step != nil {
		t.Errorf("down at the bottom: %v, %v; want nothing", step, err)
	}
	if got := dump(t, db); len(got) != 0 {
		t.Errorf("after all downs there is still %q", got)
	}
	if v, err := schema.Version(ctx, connect(t, db)); err != nil || v != 0 {
		t.Errorf("version %d, %v after all downs", v, err)
	}
}

func TestCheckAcceptsANewerSchema(t *testing.T) {
	t.Parallel()
	db := stacktest.Database(t)
	run(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
	if err := schema.Check(t.Context(), connect(t, db)); err != nil {
		t.Error(err)
	}
}

func TestManyMigrateAtOnce(t *testing.T) {
	t.Parallel()
	db := stacktest.EmptyDatabase(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	steps := 0
	for range 4 {
		wg.Go(func() {
			done, err := schema.Up(t.Context(), db)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			steps += len(done)
		})
	}
	wg.Wait()
	if steps != migrations(t) {
		t.Errorf("%d migrations were run in all; want %d", steps, migrations(t))
	}
}

// migrations returns the number of migrations. Their numbers may have gaps.
func migrations(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations: %v", err)
	}
	return len(files)
}

// TestNumbersOfMigrations checks the unused migration numbers. A database that
// has a later migration refuses an earlier one, so no migration may take these
// numbers.
func TestNumbersOfMigrations(t *testing.T) {
	t.Parallel()
	unused := []int64{8, 12, 13, 14, 15, 23, 28, 36, 37, 40, 41, 42, 44}
	latest, err := schema.Latest()
	if err != nil {
		t.Fatal(err)
	}
	var gaps []int64
	for n := int64(1); n <= latest; n++ {
		files, err := filepath.Glob(fmt.Sprintf("migrations/%05d_*.sql", n))
		if err != nil || len(files) > 1 {
			t.Errorf("migration %d: %v, %v; want one file at most", n, files, err)
		}
		if len(files) == 0 {
			gaps = append(gaps, n)
		}
	}
	if !slices.Equal(gaps, unused) {
		t.Errorf("no migration has the numbers %v, want %v: number a new migration %d, and never one below the latest", gaps, unused, latest+1)
	}
}

// TestMigrationsRewriteNoTable checks that each migration keeps the files of
// tables: a table is locked as long as it is being rewritten.
func TestMigrationsRewriteNoTable(t *testing.T) {
	t.Parallel()
	db := stacktest.EmptyDatabase(t)
	dir, err := schema.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	some := fstest.MapFS{}
	conn := connect(t, db)
	before := map[string]uint32{}
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		some[name] = &fstest.MapFile{Data: text}
		if _, err := schema.UpFrom(t.Context(), db, some); err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(t.Context(), "SELECT relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
		if err != nil {
			t.Fatal(err)
		}
		var table string
		var file uint32
		if _, err := pgx.ForEachRow(rows, []any{&table, &file}, func() error {
			if old, known := before[table]; known && old != file {
				t.Errorf("%s rewrites the table %s", name, table)
			}
			before[table] = file
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(before) < 10 {
		t.Errorf("only %d tables were checked", len(before))
	}
}

func TestMigrationGivesUpOnALock(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := stacktest.Database(t)
	holder := connect(t, db)
	tx, err := holder.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(ctx, "LOCK TABLE apps"); err != nil {
		t.Fatal(err)
	}
	more := fstest.MapFS{"90000_more.sql": {Data: []byte("-- +goose Up\nALTER TABLE apps ADD COLUMN more text;\n")}}
	dir, err := schema.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		more[name] = &fstest.MapFile{Data: text}
	}
	if _, err := schema.UpFrom(ctx, db, more); err == nil || !strings.Contains(err.Error(), "a table was in use") {
		t.Errorf("with a table locked: %v", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if steps, err := schema.UpFrom(ctx, db, more); err != nil || len(steps) != 1 {
		t.Errorf("with the table free: %v, %v", steps, err)
	}
}

// dump returns pg_dump's output for a database's schema without goose's table:
// one element for each statement, sorted, with the columns of each table sorted
// too.
func dump(t *testing.T, databaseURL string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pgDump(t), "--schema-only", "--no-owner", "--no-privileges",
		"--exclude-table=goose_db_version", "--exclude-table=goose_db_version_id_seq", "--dbname="+libpqURL(t, databaseURL))
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("pg_dump: %v", err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(out)) {
		// "\restrict" has a different argument in each dump.
		if !strings.HasPrefix(line, "--") && !strings.HasPrefix(line, `\`) && !strings.HasPrefix(line, "SET ") && !strings.HasPrefix(line, "SELECT pg_catalog.set_config") {
			text.WriteString(line)
		}
	}
	var stmts []string
	for s := range strings.SplitSeq(text.String(), ";\n") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if strings.HasPrefix(s, "CREATE TABLE ") {
			lines := strings.Split(s, "\n")
			for i := range lines {
				lines[i] = strings.TrimSuffix(lines[i], ",")
			}
			slices.Sort(lines[1 : len(lines)-1])
			s = strings.Join(lines, "\n")
		}
		stmts = append(stmts, s)
	}
	slices.Sort(stmts)
	return stmts
}

// pgDump finds pg_dump in the folders that devstack searches for servers.
func pgDump(t *testing.T) string {
	t.Helper()
	for _, dir := range devstack.ProgramFolders() {
		if path, err := exec.LookPath(filepath.Join(dir, "pg_dump")); err == nil {
			return path
		}
	}
	t.Fatal("pg_dump is not installed: install it with `apt-get install postgresql-client` (Debian, Ubuntu) or `brew install postgresql@17` (macOS)")
	return ""
}

// libpqURL removes the parameters that only pgx knows.
func libpqURL(t *testing.T, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name := range q {
		if strings.HasPrefix(name, "pool_") {
			q.Del(name)
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func connect(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, databaseURL, script string) {
	t.Helper()
	if _, err := connect(t, databaseURL).PgConn().Exec(t.Context(), script).ReadAll(); err != nil {
		t.Fatal(err)
	}
}
