-- name: BuildLogState :one
-- How far the log of a deployment's build has come, and how the deployment
-- stands. Of one that was not built yet, started is false.
SELECT d.state, (b.deployment_id IS NOT NULL)::bool AS started, coalesce(b.log_bytes, 0)::bigint AS log_bytes,
       (b.log IS NOT NULL)::bool AS whole, (b.finished_at IS NOT NULL)::bool AS finished
FROM deployments d LEFT JOIN builds b ON b.deployment_id = d.id
WHERE d.id = @deployment_id;

-- name: BuildLogPieces :many
-- The next pieces of a running build's log that reach past a position.
SELECT position, bytes FROM build_log
WHERE deployment_id = @deployment_id AND position + length(bytes) > @position::bigint
ORDER BY position LIMIT 16;

-- name: BuildLogPart :one
-- Bytes of the whole log as it is stored, compressed; start counts from 1.
-- Postgres reads no more of a large value than is asked for.
SELECT coalesce(substring(log FROM @start::int FOR @most::int), '')::bytea AS part FROM builds WHERE deployment_id = @deployment_id;
