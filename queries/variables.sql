-- name: VariableGet :one
SELECT * FROM variables WHERE pipeline_id = @pipeline_id AND name = @name;

-- name: VariableUsage :one
-- Returns how much of its limits the pipeline's other variables use: their
-- number, and the sealed size of the secrets among them.
SELECT count(*) AS variables, coalesce(sum(length(value)) FILTER (WHERE secret), 0)::bigint AS secret_bytes
FROM variables WHERE pipeline_id = @pipeline_id AND name <> @name;
