package generate_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy/internal/devstack"
	"github.com/troy-iaas/troy/internal/devstack/stacktest"
	schema "github.com/troy-iaas/troy/sql"
	"github.com/troy-iaas/troy/sql/generate"
)

// before is the schema after the migrations of each case.
const before = `
CREATE SEQUENCE numbers;
CREATE TABLE a (id integer PRIMARY KEY, name text NOT NULL, state text CONSTRAINT a_state CHECK (state IN ('x', 'y')));
CREATE INDEX a_name ON a (name);
CREATE TABLE b (id integer PRIMARY KEY, a_id integer REFERENCES a (id));
`

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		old, new    string // replaced in before
		files       int
		contains    []string
		destructive []string
	}{
		{name: "nothing", files: 0},
		{name: "a table", old: "CREATE TABLE b", new: "CREATE TABLE c (id integer PRIMARY KEY); CREATE INDEX c_id ON c (id); CREATE TABLE b",
			files: 1, contains: []string{`CREATE TABLE "c"`, `CREATE INDEX "c_id" ON "c"`, `DROP TABLE "c"`}},
		{name: "a column", old: "name text NOT NULL", new: "name text NOT NULL, age integer NOT NULL DEFAULT 7",
			files: 1, contains: []string{`ADD COLUMN "age" integer NOT NULL DEFAULT 7`, `DROP COLUMN "age"`}},
		{name: "a changed check", old: "('x', 'y')", new: "('x', 'y', 'z')",
			files: 1, contains: []string{`DROP CONSTRAINT "a_state"`, `'z'::text`}},
		{name: "a default with a semicolon", old: "name text NOT NULL", new: "name text NOT NULL, sep text DEFAULT E';\n'",
			files: 1, contains: []string{"-- +goose StatementBegin"}},
		{name: "an index on a table that exists", old: "CREATE TABLE b", new: "CREATE INDEX a_state ON a (state) INCLUDE (name) WHERE state = 'x'; CREATE TABLE b",
			files: 1, contains: []string{"-- +goose NO TRANSACTION", `CREATE INDEX CONCURRENTLY "a_state" ON "a" ("state") INCLUDE ("name")`, `DROP INDEX CONCURRENTLY IF EXISTS "a_state"`}},
		{name: "a column and its index", old: "CREATE TABLE b", new: "ALTER TABLE a ADD COLUMN age integer; CREATE INDEX a_age ON a (age); CREATE TABLE b",
			files: 2, contains: []string{`ADD COLUMN "age"`, `CREATE INDEX CONCURRENTLY "a_age"`}},
		{name: "a changed index", old: "ON a (name)", new: "ON a (name text_pattern_ops)",
			files: 1, contains: []string{"-- +goose NO TRANSACTION", "text_pattern_ops"}},
		{name: "an index that goes", old: "CREATE INDEX a_name ON a (name);", files: 1,
			contains: []string{"-- +goose NO TRANSACTION", `DROP INDEX CONCURRENTLY IF EXISTS "a_name"`, `CREATE INDEX CONCURRENTLY "a_name"`}},
		{name: "a unique constraint", old: "name text NOT NULL", new: "name text NOT NULL CONSTRAINT a_name_key UNIQUE", files: 1,
			contains: []string{`CONSTRAINT "a_name_key" UNIQUE`}},
		{name: "a table that goes", old: "CREATE TABLE b (id integer PRIMARY KEY, a_id integer REFERENCES a (id));",
			files: 1, contains: []string{`DROP TABLE "b"`, "FOREIGN KEY"}, destructive: []string{"table b"}},
		{name: "a column that goes with its index", old: "name text NOT NULL, state text CONSTRAINT a_state CHECK (state IN ('x', 'y')));\nCREATE INDEX a_name ON a (name);",
			new: "state text CONSTRAINT a_state CHECK (state IN ('x', 'y')));", files: 1, contains: []string{`DROP COLUMN "name"`}, destructive: []string{"column a.name"}},
		{name: "a sequence", old: "CREATE SEQUENCE numbers;", new: "CREATE SEQUENCE numbers; CREATE SEQUENCE more START 5; CREATE TABLE d (id bigint PRIMARY KEY DEFAULT nextval('more'));",
			files: 1, contains: []string{"CREATE SEQUENCE more AS bigint INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 5", "DROP SEQUENCE more"}},
		{name: "a changed sequence", old: "SEQUENCE numbers", new: "SEQUENCE numbers INCREMENT 10",
			files: 1, contains: []string{"ALTER SEQUENCE numbers AS bigint INCREMENT BY 10", "ALTER SEQUENCE numbers AS bigint INCREMENT BY 1 "}},
		{name: "a sequence that goes", old: "CREATE SEQUENCE numbers;", files: 1, contains: []string{"DROP SEQUENCE numbers"}, destructive: []string{"sequence numbers"}},
		{name: "an enum", old: "CREATE TABLE b", new: "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE e (mood mood); CREATE TABLE b",
			files: 1, contains: []string{`CREATE TYPE "mood" AS ENUM`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(before, c.old) {
				t.Fatalf("the case replaces %q, which is not there", c.old)
			}
			wanted := before
			if c.old != "" {
				wanted = strings.Replace(before, c.old, c.new, 1)
			}
			server, dir := stacktest.EmptyDatabase(t), migrations(t)
			m, err := generate.Plan(t.Context(), server, os.DirFS(dir), wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.destructive, m.Destructive); diff != "" {
				t.Errorf("destructive (-want +got):\n%s", diff)
			}
			paths, err := generate.Write(dir, "change", m)
			if err != nil {
				t.Fatal(err)
			}
			if len(paths) != c.files || m.Empty() != (c.files == 0) {
				t.Errorf("wrote %v, want %d files", paths, c.files)
			}
			var text string
			for _, p := range paths {
				part, err := os.ReadFile(p)
				if err != nil {
					t.Fatal(err)
				}
				text += string(part)
			}
			for _, s := range c.contains {
				if !strings.Contains(text, s) {
					t.Errorf("%q is not in\n%s", s, text)
				}
			}
			// Run it with goose: all the way up, down and up again.
			if _, err := schema.UpFrom(t.Context(), server, os.DirFS(dir)); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			for range paths {
				if _, err := schema.DownFrom(t.Context(), server, os.DirFS(dir)); err != nil {
					t.Fatalf("%v in\n%s", err, text)
				}
			}
			if _, err := schema.UpFrom(t.Context(), server, os.DirFS(dir)); err != nil {
				t.Fatalf("%v in\n%s", err, text)
			}
			again, err := generate.Plan(t.Context(), server, os.DirFS(dir), wanted)
			if err != nil || !again.Empty() {
				t.Errorf("generated again: %+v, %v; want nothing", again, err)
			}
		})
	}
}

func TestPlanNamesWhatItCannotCompare(t *testing.T) {
	t.Parallel()
	extension, makeExtension := anExtension(t)
	objects := map[string]string{
		"function f()":            "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
		"procedure p()":           "CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'",
		"aggregate total(bigint)": "CREATE AGGREGATE total(bigint) (SFUNC = int8pl, STYPE = bigint)",
		"trigger g on a":          "CREATE TRIGGER g BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
		"view v":                  "CREATE VIEW v AS SELECT id FROM a",
		"materialized view m":     "CREATE MATERIALIZED VIEW m AS SELECT id FROM a",
		"domain d":                "CREATE DOMAIN d AS text CHECK (VALUE <> '')",
		"composite type c":        "CREATE TYPE c AS (x integer)",
		"range type r":            "CREATE TYPE r AS RANGE (subtype = integer)",
		"policy o on a":           "CREATE POLICY o ON a USING (true)",
		"options of a":            "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
		"schema other":            "CREATE SCHEMA other",
		"rule u on a":             "CREATE RULE u AS ON DELETE TO a DO INSTEAD NOTHING",
		"statistics s":            "CREATE STATISTICS s ON id, name FROM a",
		extension:                 makeExtension,
	}
	var all strings.Builder
	for _, statement := range objects {
		all.WriteString(statement + ";\n")
	}
	server, dir := stacktest.EmptyDatabase(t), migrations(t)
	_, err := generate.Plan(t.Context(), server, os.DirFS(dir), before+all.String())
	bad, ok := errors.AsType[*generate.IncomparableError](err)
	if !ok {
		t.Fatalf("%v; want an IncomparableError", err)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(objects)), bad.Objects); diff != "" {
		t.Errorf("named (-want +got):\n%s", diff)
	}
	for name := range objects {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %q", name, err)
		}
	}
	// Migrations that were written by hand make them equal.
	write(t, filepath.Join(dir, "00002_by_hand.sql"), "-- +goose Up\n"+all.String())
	if m, err := generate.Plan(t.Context(), server, os.DirFS(dir), before+all.String()); err != nil || !m.Empty() {
		t.Errorf("with the objects on both sides: %+v, %v; want nothing", m, err)
	}
	// A change of one makes it incomparable again.
	changed := strings.Replace(before+all.String(), "'SELECT 1'", "'SELECT 2'", 1)
	if _, err := generate.Plan(t.Context(), server, os.DirFS(dir), changed); err == nil || !strings.Contains(err.Error(), "()") {
		t.Errorf("with a changed function: %v", err)
	}
}

func TestPlanDropsItsDatabases(t *testing.T) {
	t.Parallel()
	// A separate server, so that no other test has scratch databases on it.
	p, err := devstack.StartEphemeralPostgres(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, wanted := range []string{before, before + "CREATE VIEW v AS SELECT 1 AS one;", "this is not SQL"} {
		_, err := generate.Plan(t.Context(), p.URL, os.DirFS(migrations(t)), wanted)
		if (err == nil) != (wanted == before) {
			t.Errorf("%v for %s", err, wanted)
		}
	}
	conn, err := pgx.Connect(t.Context(), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_database").Scan(&n); err != nil || n != 4 {
		t.Errorf("%d databases, %v; want troy, postgres and two templates", n, err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	dir := migrations(t)
	for _, name := range []string{"", "Add", "../up", "a b", "2fast", strings.Repeat("a", 61)} {
		if _, err := generate.New(dir, name); err == nil || !strings.Contains(err.Error(), "NAME") {
			t.Errorf("New(%q): %v; want an error about NAME", name, err)
		}
	}
	for _, want := range []string{"00002_more.sql", "00003_more.sql"} {
		path, err := generate.New(dir, "more")
		if err != nil || filepath.Base(path) != want {
			t.Fatalf("New: %s, %v; want %s", path, err, want)
		}
	}
	if steps, err := schema.UpFrom(t.Context(), stacktest.EmptyDatabase(t), os.DirFS(dir)); err != nil || len(steps) != 3 {
		t.Errorf("with empty migrations: %v, %v", steps, err)
	}
	write(t, filepath.Join(dir, "stray.sql"), "")
	if _, err := generate.New(dir, "more"); err == nil || !strings.Contains(err.Error(), "stray.sql") {
		t.Errorf("with a stray file: %v; want an error that names it", err)
	}
}

// migrations returns a folder with one migration, which leads to before.
func migrations(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "00001_init.sql"), "-- +goose Up\n"+before)
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// anExtension returns an extension that the server offers.
func anExtension(t *testing.T) (object, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), stacktest.EmptyDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var name string
	err = conn.QueryRow(t.Context(), "SELECT name FROM pg_available_extensions WHERE name IN ('pgcrypto', 'citext', 'pg_trgm') ORDER BY name LIMIT 1").Scan(&name)
	if err != nil {
		t.Fatalf("find an extension: %v", err)
	}
	return "extension " + name, "CREATE EXTENSION " + name
}
