package generate

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
)

// ours excludes the objects of Postgres, extensions and goose. It is a
// condition on the namespace n and the object's id.
const ours = `n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast\_temp\_%'`

// others selects the objects that atlas silently ignores: (name, definition) of
// each. Objects that are equal on both sides are fine.
const others = `
SELECT 'schema ' || n.nspname, '' FROM pg_namespace n WHERE n.nspname <> 'public' AND ` + ours + `
UNION ALL
SELECT 'extension ' || extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END || p.oid::regprocedure,
       CASE p.prokind WHEN 'a' THEN pg_get_function_result(p.oid) ELSE pg_get_functiondef(p.oid) END
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE ` + ours + ` AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype IN ('e', 'i'))
UNION ALL
SELECT 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass, pg_get_triggerdef(t.oid) || t.tgenabled::text FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT 'event trigger ' || evtname, evtevent || ' ' || evtfoid::regproc FROM pg_event_trigger
UNION ALL
SELECT 'rule ' || r.rulename || ' on ' || r.ev_class::regclass, pg_get_ruledef(r.oid)
  FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE r.rulename <> '_RETURN' AND ` + ours + `
UNION ALL
SELECT 'policy ' || polname || ' on ' || polrelid::regclass,
       concat_ws('/', polcmd, polpermissive, polroles::regrole[]::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
  FROM pg_policy
UNION ALL
SELECT 'statistics ' || stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
UNION ALL
SELECT 'exclusion constraint ' || conname || ' on ' || conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'x'
UNION ALL
SELECT CASE WHEN t.typtype = 'd' THEN 'domain ' WHEN t.typtype = 'r' THEN 'range type ' ELSE 'composite type ' END || t.oid::regtype,
       concat_ws('/', format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault,
                 (SELECT string_agg(pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname) FROM pg_constraint k WHERE k.contypid = t.oid),
                 (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
                    FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
                 (SELECT g.rngsubtype::regtype::text FROM pg_range g WHERE g.rngtypid = t.oid))
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid
 WHERE ` + ours + ` AND (t.typtype IN ('d', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e')
UNION ALL
SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'f' THEN 'foreign table '
                      WHEN 'p' THEN 'partitioned table ' ELSE 'partition ' END || c.oid::regclass,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid)
            ELSE concat_ws('/', pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid)) END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE ` + ours + ` AND (c.relkind IN ('v', 'm', 'f', 'p') OR c.relispartition AND c.relkind = 'r')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
UNION ALL
SELECT 'options of ' || c.oid::regclass,
       concat_ws('/', c.reloptions::text, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.relacl::text)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE ` + ours + ` AND c.relkind IN ('r', 'i', 'S')
   AND (c.reloptions IS NOT NULL OR c.relpersistence <> 'p' OR c.relrowsecurity OR c.relforcerowsecurity OR c.relacl IS NOT NULL)`

// sequences selects the name and definition of the sequences that no column
// owns.
const sequences = `
SELECT quote_ident(c.relname),
       format('AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s %s',
              format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
              CASE WHEN s.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i', 'e'))`

// compareOthers returns an *IncomparableError if objects that atlas ignores
// exist on only one side or differ.
func compareOthers(ctx context.Context, have, want *sql.DB) error {
	a, err := read(ctx, have, others)
	if err != nil {
		return err
	}
	b, err := read(ctx, want, others)
	if err != nil {
		return err
	}
	differ := map[string]bool{}
	for name, definition := range a {
		if other, ok := b[name]; !ok || other != definition {
			differ[name] = true
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			differ[name] = true
		}
	}
	if len(differ) > 0 {
		return &IncomparableError{Objects: slices.Sorted(maps.Keys(differ))}
	}
	return nil
}

// addSequences adds the sequences that no column owns. They are created before
// the tables whose defaults may use them, and dropped after those.
func (s *scratch) addSequences(ctx context.Context, m *Migration) error {
	have, err := read(ctx, s.have, sequences)
	if err != nil {
		return err
	}
	want, err := read(ctx, s.want, sequences)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[name]; !ok {
			m.Destructive = append(m.Destructive, "sequence "+name)
		}
	}
	before, after := sequenceStatements(have, want)
	m.Up = slices.Concat(before, m.Up, after)
	before, after = sequenceStatements(want, have)
	m.Down = slices.Concat(before, m.Down, after)
	return nil
}

// sequenceStatements returns the statements that change one set of sequences to
// another.
func sequenceStatements(from, to map[string]string) (before, after []string) {
	for _, name := range slices.Sorted(maps.Keys(to)) {
		definition := to[name]
		old, ok := from[name]
		switch {
		case !ok:
			before = append(before, "CREATE SEQUENCE "+name+" "+definition)
		case old != definition:
			before = append(before, "ALTER SEQUENCE "+name+" "+definition)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if _, ok := to[name]; !ok {
			after = append(after, "DROP SEQUENCE "+name)
		}
	}
	return before, after
}

// read returns the pairs that a query selects.
func read(ctx context.Context, db *sql.DB, query string) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	defer rows.Close()
	out := map[string]string{}
	for rows.Next() {
		var name string
		var definition sql.NullString
		if err := rows.Scan(&name, &definition); err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		out[name] = definition.String
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return out, nil
}
