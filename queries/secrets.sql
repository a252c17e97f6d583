-- name: SealedList :many
-- Returns a page of the sealed values, each with its subject, after the
-- given one.
--
-- Each table is read in the order of its primary key, from the given value on.
WITH password AS (
    SELECT 'access'::text AS kind, p.pipeline_id::text AS id, p.name, p.secret AS sealed
    FROM access_passwords p
    WHERE @after_kind::text IN ('', 'access')
      AND (p.pipeline_id, p.name) > (CASE WHEN @after_kind = 'access' THEN CAST(@after_id::text AS uuid) ELSE '00000000-0000-0000-0000-000000000000' END,
                                     CASE WHEN @after_kind = 'access' THEN @after_name::text ELSE '' END)
    ORDER BY p.pipeline_id, p.name LIMIT 200
), app AS (
    SELECT 'forge_app'::text AS kind, f.provider AS id, 'credentials'::text AS name, f.credentials AS sealed
    FROM forge_apps f
    WHERE @after_kind IN ('', 'access') OR @after_kind = 'forge_app' AND f.provider > @after_id::text
    ORDER BY f.provider LIMIT 200
), installation AS (
    SELECT 'installation'::text AS kind, i.provider || '/' || i.id AS id, 'credentials'::text AS name, i.credentials AS sealed
    FROM installations i
    WHERE i.credentials IS NOT NULL AND @after_kind <= 'installation'
      AND (i.provider, i.id) > (CASE WHEN @after_kind = 'installation' THEN split_part(@after_id, '/', 1) ELSE '' END,
                                CASE WHEN @after_kind = 'installation' THEN substr(@after_id, strpos(@after_id, '/') + 1) ELSE '' END)
    ORDER BY i.provider, i.id LIMIT 200
), notifier AS (
    SELECT 'notifier'::text AS kind, n.id::text AS id, 'target'::text AS name, n.target AS sealed
    FROM notifiers n
    WHERE @after_kind <= 'notifier'
      AND n.id > CASE WHEN @after_kind = 'notifier' THEN CAST(@after_id::text AS uuid) ELSE '00000000-0000-0000-0000-000000000000' END
    ORDER BY n.id LIMIT 200
), notifier_key AS (
    SELECT 'notifier_key'::text AS kind, n.id::text AS id, 'earlier'::text AS name, n.earlier_keys AS sealed
    FROM notifiers n
    WHERE n.earlier_keys IS NOT NULL AND @after_kind <= 'notifier_key'
      AND n.id > CASE WHEN @after_kind = 'notifier_key' THEN CAST(@after_id::text AS uuid) ELSE '00000000-0000-0000-0000-000000000000' END
    ORDER BY n.id LIMIT 200
), preview AS (
    SELECT 'preview_key'::text AS kind, a.pipeline_id::text AS id, 'key'::text AS name, a.preview_key AS sealed
    FROM access a
    WHERE a.preview_key IS NOT NULL AND @after_kind <= 'preview_key'
      AND a.pipeline_id > CASE WHEN @after_kind = 'preview_key' THEN CAST(@after_id::text AS uuid) ELSE '00000000-0000-0000-0000-000000000000' END
    ORDER BY a.pipeline_id LIMIT 200
), variable AS (
    SELECT 'variable'::text AS kind, v.pipeline_id::text AS id, v.name, v.value AS sealed
    FROM variables v
    WHERE @after_kind <> 'variable_in_context' AND (v.pipeline_id, v.name) > (CASE WHEN @after_kind = 'variable' THEN @after_id::uuid ELSE '00000000-0000-0000-0000-000000000000' END,
                                     CASE WHEN @after_kind = 'variable' THEN @after_name::text ELSE '' END)
    ORDER BY v.pipeline_id, v.name LIMIT 200
), contextual AS (
    SELECT 'variable_in_context'::text AS kind, c.pipeline_id::text AS id, c.name || '@' || c.context AS name, c.value AS sealed
    FROM variables_by_context c
    WHERE (c.pipeline_id, c.name, c.context) > (CASE WHEN @after_kind = 'variable_in_context' THEN @after_id::uuid ELSE '00000000-0000-0000-0000-000000000000' END,
                                                CASE WHEN @after_kind = 'variable_in_context' THEN split_part(@after_name, '@', 1) ELSE '' END,
                                                CASE WHEN @after_kind = 'variable_in_context' THEN substr(@after_name, strpos(@after_name, '@') + 1) ELSE '' END)
    ORDER BY c.pipeline_id, c.name, c.context LIMIT 200
)
SELECT * FROM password UNION ALL SELECT * FROM app UNION ALL SELECT * FROM installation UNION ALL SELECT * FROM notifier UNION ALL SELECT * FROM notifier_key UNION ALL SELECT * FROM preview UNION ALL SELECT * FROM variable UNION ALL SELECT * FROM contextual LIMIT 200;

-- name: SealedReplace :one
-- Replaces a value by the same value sealed with another key. Does not
-- change a value that was changed meanwhile.
WITH variable AS (
    UPDATE variables SET value = @fresh
    WHERE pipeline_id = CASE WHEN @kind::text = 'variable' THEN CAST(@id::text AS uuid) END AND name = @name::text AND value = @sealed::bytea RETURNING 1
), contextual AS (
    UPDATE variables_by_context SET value = @fresh
    WHERE pipeline_id = CASE WHEN @kind = 'variable_in_context' THEN CAST(@id AS uuid) END
      AND name = split_part(@name, '@', 1) AND context = substr(@name, strpos(@name, '@') + 1) AND value = @sealed RETURNING 1
), installation AS (
    UPDATE installations SET credentials = @fresh
    WHERE @kind = 'installation' AND provider = split_part(@id, '/', 1) AND id = substr(@id, strpos(@id, '/') + 1)
      AND credentials = @sealed RETURNING 1
), app AS (
    UPDATE forge_apps SET credentials = @fresh
    WHERE @kind = 'forge_app' AND provider = @id AND credentials = @sealed RETURNING 1
), password AS (
    UPDATE access_passwords SET secret = @fresh
    WHERE pipeline_id = CASE WHEN @kind = 'access' THEN CAST(@id::text AS uuid) END AND name = @name AND secret = @sealed RETURNING 1
), preview AS (
    UPDATE access SET preview_key = @fresh
    WHERE pipeline_id = CASE WHEN @kind = 'preview_key' THEN CAST(@id::text AS uuid) END AND preview_key = @sealed RETURNING 1
), notifier AS (
    UPDATE notifiers SET target = @fresh
    WHERE id = CASE WHEN @kind = 'notifier' THEN CAST(@id::text AS uuid) END AND target = @sealed RETURNING 1
), notifier_key AS (
    UPDATE notifiers SET earlier_keys = @fresh
    WHERE id = CASE WHEN @kind = 'notifier_key' THEN CAST(@id::text AS uuid) END AND earlier_keys = @sealed RETURNING 1
)
SELECT ((SELECT count(*) FROM variable) + (SELECT count(*) FROM contextual) + (SELECT count(*) FROM installation) + (SELECT count(*) FROM app) + (SELECT count(*) FROM password) + (SELECT count(*) FROM preview) + (SELECT count(*) FROM notifier) + (SELECT count(*) FROM notifier_key))::bigint AS replaced;
