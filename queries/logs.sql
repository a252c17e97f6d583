-- name: BuildLogState :one
-- Returns the length of the log of a deployment's build, and the state of
-- the deployment. If the build has not begun, started is false.
SELECT d.state, (b.deployment_id IS NOT NULL)::bool AS started, coalesce(b.log_bytes, 0)::bigint AS log_bytes,
       (b.log IS NOT NULL)::bool AS whole, (b.finished_at IS NOT NULL)::bool AS finished
FROM deployments d LEFT JOIN builds b ON b.deployment_id = d.id
WHERE d.id = @deployment_id;

-- name: BuildLogPieces :many
-- Returns the next pieces of a running build's log that reach past a
-- position.
SELECT position, bytes FROM build_log
WHERE deployment_id = @deployment_id AND position + length(bytes) > @position::bigint
ORDER BY position LIMIT 16;

-- name: BuildLogPart :one
-- Returns bytes of the stored, compressed log; start counts from 1.
-- Postgres reads no more of a large value than is requested.
SELECT coalesce(substring(log FROM @start::int FOR @most::int), '')::bytea AS part FROM builds WHERE deployment_id = @deployment_id;
