-- The variables of builds. The values are in two tables: variables has one value
-- for each name, a secret's for production and any other for all contexts.
-- variables_by_context has all further values.

-- name: VariableList :many
-- Lists the values of a pipeline's variables, or of one of them. sealed_for is
-- the context for which a value is sealed, or empty.
SELECT v.name, CASE WHEN v.secret THEN 'production' ELSE 'all' END::text AS context, ''::text AS sealed_for, v.value, v.secret, v.changed_at
FROM variables v
WHERE v.pipeline_id = @pipeline_id AND (@only_name::text = '' OR v.name = @only_name)
UNION ALL
SELECT c.name, c.context, c.context, c.value, c.secret, c.changed_at
FROM variables_by_context c
WHERE c.pipeline_id = @pipeline_id AND (@only_name = '' OR c.name = @only_name)
ORDER BY 1, 2;

-- name: VariableUsage :one
-- Returns how much of its limits a pipeline's variables use: the number of
-- values, and the sealed size of the secrets among them.
SELECT count(*) AS variables, coalesce(sum(length(v.value)) FILTER (WHERE v.secret), 0)::bigint AS secret_bytes
FROM (
    SELECT a.value, a.secret FROM variables a WHERE a.pipeline_id = @pipeline_id
    UNION ALL
    SELECT b.value, b.secret FROM variables_by_context b WHERE b.pipeline_id = @pipeline_id
) v;

-- name: VariableSet :execrows
-- Sets a value for the context that the table implies, unless the variable has
-- another value there.
INSERT INTO variables (pipeline_id, name, value, secret) VALUES (@pipeline_id, @name, @value, @secret)
ON CONFLICT (pipeline_id, name) DO NOTHING;

-- name: VariableSetInContext :exec
INSERT INTO variables_by_context (pipeline_id, name, context, value, secret) VALUES (@pipeline_id, @name, @context, @value, @secret)
ON CONFLICT (pipeline_id, name, context) DO UPDATE SET value = excluded.value, secret = excluded.secret, changed_at = now();

-- name: VariableRemove :one
-- Removes the value of a variable for a context, and counts it.
WITH one AS (
    DELETE FROM variables v
    WHERE v.pipeline_id = @pipeline_id AND v.name = @name AND CASE WHEN v.secret THEN 'production' ELSE 'all' END = @context::text
    RETURNING 1
), other AS (
    DELETE FROM variables_by_context c WHERE c.pipeline_id = @pipeline_id AND c.name = @name AND c.context = @context
    RETURNING 1
)
SELECT ((SELECT count(*) FROM one) + (SELECT count(*) FROM other))::bigint AS removed;
