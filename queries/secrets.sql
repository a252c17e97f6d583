-- name: SealedList :many
-- Returns a page of the sealed values, each with its subject, after the
-- given one.
SELECT * FROM (
    SELECT 'variable'::text AS kind, pipeline_id::text AS id, name, value AS sealed FROM variables
    UNION ALL
    SELECT 'installation', provider || '/' || id, 'credentials', credentials FROM installations WHERE credentials IS NOT NULL
    UNION ALL
    SELECT 'forge_app', provider, 'credentials', credentials FROM forge_apps
) s
WHERE (s.kind, s.id, s.name) > (@after_kind::text, @after_id::text, @after_name::text)
ORDER BY s.kind, s.id, s.name LIMIT 200;

-- name: SealedReplace :one
-- Replaces a value by the same value sealed with another key. Does not
-- change a value that was changed meanwhile.
WITH variable AS (
    UPDATE variables SET value = @fresh
    WHERE @kind::text = 'variable' AND pipeline_id::text = @id::text AND name = @name::text AND value = @sealed::bytea RETURNING 1
), installation AS (
    UPDATE installations SET credentials = @fresh
    WHERE @kind = 'installation' AND provider || '/' || id = @id AND credentials = @sealed RETURNING 1
), app AS (
    UPDATE forge_apps SET credentials = @fresh
    WHERE @kind = 'forge_app' AND provider = @id AND credentials = @sealed RETURNING 1
)
SELECT ((SELECT count(*) FROM variable) + (SELECT count(*) FROM installation) + (SELECT count(*) FROM app))::bigint AS replaced;
