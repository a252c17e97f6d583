package queries_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/queries"
)

// excepted are faults that are accepted, with the reason.
var excepted = map[string]string{
	"MetricsWork: it reads all of work":                               "it counts all of it, once for each scrape of the metrics",
	"WorkSetBack: it reads all of work":                               "Postgres' clock is seldom set back",
	"StorageTotals: it reads all of storage":                          "it sums them, once for each scrape of the metrics",
	"MetricsPipelines: it reads all of pipelines":                     "it counts all of them, once for each scrape of the metrics",
	"WorkMissing: it reads all of skips":                              "a row is deleted once it is reported",
	"BuildHeardOf: it may read much of the index deliveries_received": "only troyd doctor asks, and deliveries expire",
	"ActivityList: it may read much of the index audit_time":          "few entries are hidden from those who are not admins",
	"ActivityList: it may read much of the index events_time":         "ActivityEdge bounds what a filter looks at",
	"SessionList: it may read much of the index sessions_created":     "a token has 50 sessions at most, and expired ones are removed",
}

// few are the tables that do not grow with the installation.
var few = map[string]string{
	"bell":             "one row",
	"workers":          "one row for each process",
	"forge_apps":       "one row for each forge",
	"pauses":           "one row for each paused queue",
	"days":             "one row for each day",
	"goose_db_version": "one row for each migration",
}

// manyRows is the number of rows from which a table counts as large.
const manyRows = 5000

// TestPlans plans each query as Postgres does after PlanOnce, in a database with many rows in each table that grows. It fails if
// a query reads a whole table, a whole index, or an unbounded part of one.
func TestPlans(t *testing.T) {
	t.Parallel()
	db := open(t)
	installation(t, db)
	large := largeTables(t, db)
	sizes := indexSizes(t, db)
	conn, err := db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if err := queries.PlanOnce(t.Context(), conn.Conn()); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for name, sql := range statements(t) {
		if _, err := conn.Exec(t.Context(), "PREPARE planned AS "+sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var arguments int
		if err := conn.QueryRow(t.Context(), "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'planned'").Scan(&arguments); err != nil {
			t.Fatal(err)
		}
		execute := "EXECUTE planned"
		if arguments > 0 {
			execute += "(" + strings.TrimSuffix(strings.Repeat("NULL, ", arguments), ", ") + ")"
		}
		var text []byte
		if err := conn.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+execute, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := conn.Exec(t.Context(), "DEALLOCATE planned"); err != nil {
			t.Fatal(err)
		}
		var plans []struct{ Plan plan }
		if err := json.Unmarshal(text, &plans); err != nil || len(plans) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		for _, fault := range (&examination{large: large, sizes: sizes}).of(plans[0].Plan, false) {
			fault = name + ": " + fault
			if _, ok := excepted[fault]; !ok {
				t.Errorf("%s\n%s", fault, text)
			}
			found[fault] = true
		}
	}
	for fault, reason := range excepted {
		if !found[fault] {
			t.Errorf("remove the exception %q (%s): no query has this fault", fault, reason)
		}
	}
}

// TestForeignKeysAreIndexed checks that deleting a row does not read the tables
// that refer to it.
func TestForeignKeysAreIndexed(t *testing.T) {
	t.Parallel()
	db := open(t)
	rows, err := db.Query(t.Context(), `SELECT conrelid::regclass || ' ' || conname FROM pg_constraint c
		WHERE contype = 'f' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1] AND i.indpred IS NULL)`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s has no index that begins with its column", name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// statements returns the SQL of each query as it is sent.
func statements(t *testing.T) map[string]string {
	t.Helper()
	named := regexp.MustCompile(`^-- name: (\w+) :`)
	all := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if sql, err := strconv.Unquote(lit.Value); err == nil {
				if m := named.FindStringSubmatch(sql); m != nil {
					all[m[1]] = sql
				}
			}
			return true
		})
	}
	written := map[string]bool{}
	sources, err := filepath.Glob("*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^-- name: (\w+) :`).FindAllSubmatch(text, -1) {
			written[string(m[1])] = true
		}
	}
	if !slices.Equal(slices.Sorted(maps.Keys(all)), slices.Sorted(maps.Keys(written))) {
		t.Fatal("the .sql files and the generated code have different queries")
	}
	return all
}

// largeTables checks that each table is filled or named in few.
func largeTables(t *testing.T, db *pgxpool.Pool) map[string]bool {
	t.Helper()
	rows, err := db.Query(t.Context(), "SELECT relname, reltuples FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	large := map[string]bool{}
	for rows.Next() {
		var name string
		var n float64
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		if _, ok := few[name]; ok {
			continue
		}
		if n < manyRows {
			t.Fatalf("the table %s has %.0f rows: add rows to installation, or name it in few", name, n)
		}
		large[name] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return large
}

// index is an index's table and number of entries.
type index struct {
	table   string
	entries float64
}

func indexSizes(t *testing.T, db *pgxpool.Pool) map[string]index {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT i.relname, t.relname, i.reltuples FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
		JOIN pg_class t ON t.oid = x.indrelid WHERE t.relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	sizes := map[string]index{}
	for rows.Next() {
		var name string
		var i index
		if err := rows.Scan(&name, &i.table, &i.entries); err != nil {
			t.Fatal(err)
		}
		sizes[name] = i
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return sizes
}

// plan is a node of EXPLAIN's answer.
type plan struct {
	Type     string  `json:"Node Type"`
	Table    string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Cond     string  `json:"Index Cond"`
	Filter   string  `json:"Filter"`
	Rows     float64 `json:"Plan Rows"`
	Relation string  `json:"Parent Relationship"`
	Plans    []plan
}

type examination struct {
	large map[string]bool
	sizes map[string]index
}

// of returns the faults of a plan. limited tells that the rows are read one by
// one until a LIMIT is reached.
func (e *examination) of(p plan, limited bool) (faults []string) {
	faults = e.node(p, limited)
	for i, child := range p.Plans {
		faults = append(faults, e.of(child, passes(p, child, i, limited))...)
	}
	return faults
}

// passes reports whether a child's rows are read only until a LIMIT is reached.
func passes(p, child plan, i int, limited bool) bool {
	switch p.Type {
	case "Limit":
		return child.Relation == "Outer"
	case "Nested Loop":
		return limited && i == 0
	case "LockRows", "Result", "Subquery Scan", "Append", "Merge Append", "Unique", "ProjectSet":
		return limited && child.Relation != "InitPlan" && child.Relation != "SubPlan"
	}
	return false
}

func (e *examination) node(p plan, limited bool) []string {
	place := e.sizes[p.Index]
	switch {
	case p.Type == "Seq Scan" && e.large[p.Table]:
		return []string{"it reads all of " + p.Table}
	case p.Index == "" || !e.large[place.table] || place.entries < manyRows:
		return nil
	case p.Cond == "" && !limited:
		return []string{"it reads all of the index " + p.Index}
	case limited && p.Filter != "" && !strings.Contains(p.Cond, " = "):
		return []string{"it may read much of the index " + p.Index}
	case !limited && p.Rows > manyRows:
		return []string{"it reads many rows with the index " + p.Index}
	}
	return nil
}

// installation fills the database with the rows of a large installation.
func installation(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO apps SELECT 'app-' || i, now() FROM generate_series(1, 10000) i`,
		`INSERT INTO pipelines (id, app_id, name, slug, status, repository_provider, repository_full_name, repository_branch, repository_id, last_number, updated_at)
			SELECT gen_random_uuid(), 'app-' || i, 'Site ' || i, 'site-' || md5(i::text), CASE WHEN i % 100 = 7 THEN 'failed_to_deploy' WHEN i % 1000 = 8 THEN 'queued' ELSE 'deployed' END,
				'github', 'team/repo' || i, 'main', i::text, 4, now() - i * interval '1 minute' FROM generate_series(1, 10000) i`,
		`INSERT INTO domains (host, pipeline_id, kind) SELECT slug || '.example.com', id, 'site' FROM pipelines`,
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, commit_sha, actor, created_at, sealed_at, live_at, finished_at, reported_state)
			SELECT d, p, n, CASE WHEN n % 2 = 0 THEN 'automated' ELSE 'release' END, 'succeeded', d, md5(d::text), 'test', at, at, at, at, 'succeeded'
			FROM (SELECT gen_random_uuid() AS d, id AS p, n, updated_at AS at FROM pipelines, generate_series(1, 4) n) made`,
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor)
			SELECT gen_random_uuid(), id, 5, 'automated', 'waiting', gen_random_uuid(), 'test' FROM pipelines WHERE status = 'queued'`,
		`INSERT INTO counted_trees (tree_id, pipeline_id) SELECT id, pipeline_id FROM deployments WHERE number = 4`,
		`INSERT INTO quotas (pipeline_id, bytes, set_by) SELECT id, 1000, 'test' FROM pipelines`,
		`UPDATE pipelines p SET live_deployment_id = d.id FROM deployments d WHERE d.pipeline_id = p.id AND d.number = 4`,
		`INSERT INTO events (pipeline_id, version, slug, to_status, actor, time) SELECT id, n, slug, 'deployed', 'test', updated_at FROM pipelines, generate_series(1, 4) n`,
		`INSERT INTO audit (actor, action, subject, pipeline_id, time) SELECT 'test', 'settings.change', slug, id, updated_at FROM pipelines`,
		`INSERT INTO releases (id, pipeline_id, manifest_digest, files, bytes, actor, expires_at, finalized_at)
			SELECT id, pipeline_id, '', 1, 1, 'test', created_at + interval '1 day', CASE WHEN random() < 0.99 THEN created_at END FROM deployments WHERE kind = 'release'`,
		`INSERT INTO builds (deployment_id, finished_at, log, emptied) SELECT id, finished_at, 'log', true FROM deployments WHERE kind = 'automated' AND state = 'succeeded'`,
		`INSERT INTO build_log (deployment_id, position, bytes) SELECT deployment_id, n, 'line' FROM (SELECT deployment_id FROM builds LIMIT 1000) b, generate_series(1, 20) n`,
		`INSERT INTO work (kind, subject_id, due_at) SELECT 'forge:catch-up', id, now() + interval '1 hour' FROM pipelines`,
		`INSERT INTO work (kind, subject_id) SELECT 'deployment:build', id FROM deployments WHERE state = 'waiting'`,
		`INSERT INTO work (kind, subject_id, due_at) SELECT 'retention', id, now() + interval '1 hour' FROM pipelines`,
		`INSERT INTO deliveries (source, id, type, received_at, body_sha256) SELECT 'github', i::text, 'push', now() - i * interval '1 minute', decode(md5(i::text), 'hex') FROM generate_series(1, 20000) i`,
		`INSERT INTO deliveries (source, id, type, received_at) SELECT 'sns', i::text, 'Notification', now() - i * interval '1 minute' FROM generate_series(1, 10000) i`,
		`INSERT INTO tokens (id, name, role, hash, created_at) SELECT gen_random_uuid(), 'token ' || i, 'deployer', decode(md5(i::text), 'hex'), now() - i * interval '1 minute' FROM generate_series(1, 10000) i`,
		`INSERT INTO build_caches (pipeline_id, keeper, scope, manager, bytes, used_at) SELECT id, slug, '', 'npm', 1, now() FROM pipelines`,
		`INSERT INTO deploy_hooks (id, pipeline_id, name, hash, created_by) SELECT gen_random_uuid(), id, slug, sha256(slug::bytea), 'test' FROM pipelines`,
		`INSERT INTO sources (deployment_id, release_id) SELECT id, gen_random_uuid() FROM deployments WHERE kind = 'automated'`,
		`INSERT INTO schedules (pipeline_id, cron, zone, next_at, set_by) SELECT id, '@daily', 'UTC', now() + random() * interval '1 day', 'test' FROM pipelines`,
		`INSERT INTO notifiers (id, pipeline_id, kind, label, target, events, created_by) SELECT gen_random_uuid(), id, 'slack', 'example.com', '', '{quota.near}', 'test' FROM pipelines`,
		`INSERT INTO notifications (id, notifier_id, pipeline_id, event, details, created_at, ended_at)
		 SELECT gen_random_uuid(), n.id, n.pipeline_id, 'quota.near', '{}', now() - i * interval '1 hour', now() FROM notifiers n, generate_series(1, 2) i`,
		`INSERT INTO trusts (id, pipeline_id, provider, issuer, repository_id, owner_id, created_by) SELECT gen_random_uuid(), id, 'github', 'https://issuer.example.com', slug, '1', 'test' FROM pipelines`,
		`INSERT INTO tokens (id, name, role, hash, expires_at, trust_id) SELECT gen_random_uuid(), 'run', 'deployer', decode(md5(id::text), 'hex'), now() + random() * interval '15 minutes', id FROM trusts`,
		`INSERT INTO sessions (hash, token_id, created_at, expires_at) SELECT decode(md5(id::text || n), 'hex'), id, created_at, created_at + interval '30 days' FROM tokens, generate_series(1, 3) n`,
		`INSERT INTO users (token_id, issuer, subject) SELECT id, 'https://issuer.example.com', id::text FROM tokens WHERE random() < 0.6`,
		`INSERT INTO sign_ins (hash, expires_at) SELECT decode(md5(id::text), 'hex'), now() + interval '10 minutes' FROM tokens`,
		`INSERT INTO requests (token_id, key, digest, created_at) SELECT id, n::text, 'digest', created_at FROM tokens, generate_series(1, 3) n`,
		`INSERT INTO installations (provider, id, account) SELECT 'github', i::text, 'team' || i FROM generate_series(1, 10000) i`,
		`INSERT INTO setup_states (hash, provider, actor, expires_at, client_key, used_at)
			SELECT decode(md5(i::text), 'hex'), 'bitbucket', 'test', now() - i * interval '1 minute', i::text, now() FROM generate_series(1, 10000) i`,
		`INSERT INTO repositories (provider, id, full_name, installation_id) SELECT 'github', i::text, 'team/repo' || i, (i / 5)::text FROM generate_series(1, 10000) i`,
		`INSERT INTO variables (pipeline_id, name, value) SELECT id, 'NAME_' || n, 'sealed' FROM pipelines, generate_series(1, 2) n`,
		`INSERT INTO variables_by_context (pipeline_id, name, context, value, secret) SELECT id, 'NAME_' || n, 'preview', 'sealed', true FROM pipelines, generate_series(1, 2) n`,
		`INSERT INTO purges (pipeline_id, path, actor, done_at) SELECT id, 'a/' || n, 'test', now() FROM pipelines, generate_series(1, 2) n`,
		`INSERT INTO access (pipeline_id, salt, applied) SELECT id, 'salt', CASE WHEN random() < 0.99 THEN 1 ELSE 0 END FROM pipelines`,
		`INSERT INTO access_passwords (pipeline_id, name, id, secret) SELECT pipeline_id, 'name-' || n, gen_random_uuid(), 'sealed' FROM access, generate_series(1, 2) n`,
		`INSERT INTO custom_domains (host, pipeline_id, main, created_by, next_check_at) SELECT 'www' || n || '.' || slug || '.example.org', id, n = 1, 'test', now() + interval '1 hour' FROM pipelines, generate_series(1, 2) n`,
		`INSERT INTO thumbnails (pipeline_id, deployment_id, image, version) SELECT id, live_deployment_id, 'image', slug FROM pipelines WHERE live_deployment_id IS NOT NULL`,
		`INSERT INTO skips (id, pipeline_id, commit_sha, reason, created_at) SELECT gen_random_uuid(), id, 'c', 'r', updated_at FROM pipelines`,
		`INSERT INTO site_rules (tree_id, pipeline_id) SELECT id, pipeline_id FROM deployments WHERE tree_id = id`,
		`UPDATE pipelines SET distribution_id = 'E' || md5(id::text)`,
		`INSERT INTO traffic (pipeline_id, day) SELECT id, current_date - n FROM pipelines, generate_series(1, 3) n`,
		`INSERT INTO log_files (key, expires_at) SELECT 'troy/E1/' || i, now() + i * interval '1 minute' FROM generate_series(1, 20000) i`,
		`INSERT INTO previews (id, pipeline_id, kind, source, label, repository_id, number, created_by, pushed_at, expires_at, closed_at, removed_at, retracted_at)
			SELECT gen_random_uuid(), id, 'pull_request', repository_id || '#' || n, 'pr-' || n, repository_id, n, 'test', updated_at, now() + n * interval '1 day',
				CASE WHEN n = 2 THEN now() END, CASE WHEN n = 2 THEN now() END, CASE WHEN n = 2 THEN now() END FROM pipelines, generate_series(1, 2) n`,
		`INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, actor, created_at, sealed_at, finished_at, preview_id)
			SELECT d, pipeline_id, 5 + number, 'preview', state, d, 'test', pushed_at, pushed_at, CASE WHEN state = 'succeeded' THEN pushed_at END, id
			FROM (SELECT gen_random_uuid() AS d, CASE WHEN number = 1 AND label || source LIKE '%7#1' THEN 'waiting' ELSE 'succeeded' END AS state, v.* FROM previews v) made`,
		`INSERT INTO pull_requests (id, pipeline_id, repository_id, number, title, url, head, head_commit, head_repository, head_full_name, base, draft, open,
				author_id, author, changed_at, head_at, build, wanted, decision, updated_at)
			SELECT gen_random_uuid(), pipeline_id, repository_id, number, '', '', 'topic', 'c', '1', 'team/blog', 'main', false, number = 1,
				'1', 'ada', pushed_at, pushed_at, source LIKE '%77#1', true, '', pushed_at FROM previews`,
		`INSERT INTO pull_request_commands (id, pull_request_id, author_id, author, commit_sha, written_at) SELECT gen_random_uuid(), id, '1', 'ada', '', now() FROM pull_requests`,
		"VACUUM ANALYZE",
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}
