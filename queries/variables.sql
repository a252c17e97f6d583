-- name: VariableGet :one
SELECT * FROM variables WHERE pipeline_id = @pipeline_id AND name = @name;

-- name: VariableUsage :one
-- What the pipeline's other variables take of its bounds: how many they are,
-- and how many bytes the secrets among them have, sealed.
SELECT count(*) AS variables, coalesce(sum(length(value)) FILTER (WHERE secret), 0)::bigint AS secret_bytes
FROM variables WHERE pipeline_id = @pipeline_id AND name <> @name;
