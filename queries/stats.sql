-- The statistics: the deployments that ended on each day in UTC, and how long
-- builds took, in seconds; -1 if nothing was built.

-- name: DayList :many
-- Lists the days that were counted, from one on.
SELECT * FROM days WHERE day >= @from_day::timestamptz ORDER BY day;

-- name: DayCount :one
-- Counts the deployments that ended from one time to before another.
SELECT counted.succeeded, counted.failed, counted.cancelled, counted.superseded,
       coalesce((counted.took)[1], -1)::float8 AS build_p50, coalesce((counted.took)[2], -1)::float8 AS build_p95
FROM (
    SELECT count(*) FILTER (WHERE d.state = 'succeeded')::bigint AS succeeded, count(*) FILTER (WHERE d.state = 'failed')::bigint AS failed,
           count(*) FILTER (WHERE d.state = 'cancelled')::bigint AS cancelled, count(*) FILTER (WHERE d.state = 'superseded')::bigint AS superseded,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY date_part('epoch', d.finished_at - d.started_at))
               FILTER (WHERE d.kind = 'automated' AND d.state IN ('succeeded', 'failed') AND d.started_at IS NOT NULL) AS took
    FROM deployments d WHERE d.finished_at >= @from_time::timestamptz AND d.finished_at < sqlc.arg('until')::timestamptz
) counted;

-- name: DayKeep :exec
-- Keeps the count of a day that is over.
INSERT INTO days (day, succeeded, failed, cancelled, superseded, build_p50, build_p95)
VALUES (@day, @succeeded, @failed, @cancelled, @superseded, sqlc.narg('build_p50'), sqlc.narg('build_p95')) ON CONFLICT DO NOTHING;

-- name: DaysOf :many
-- Counts the deployments of pipelines that ended on each day from one on, among
-- the newest of each pipeline. Cut says that a pipeline has more of these days.
WITH latest AS (
    SELECT p.id AS pipeline_id, l.* FROM unnest(@pipeline_ids::uuid[]) AS p (id) CROSS JOIN LATERAL (
        SELECT d.state, d.kind, d.created_at, d.started_at, d.finished_at FROM deployments d
        WHERE d.pipeline_id = p.id AND d.number > (SELECT o.last_number FROM pipelines o WHERE o.id = p.id) - @each::bigint
    ) l
), cut AS (
    SELECT coalesce(bool_or(x.n = @each::bigint AND x.oldest >= @from_day::timestamptz), false) AS cut
    FROM (SELECT count(*) AS n, min(latest.created_at) AS oldest FROM latest GROUP BY latest.pipeline_id) x
), counted AS (
    SELECT date_trunc('day', l.finished_at, 'UTC') AS day, count(*) FILTER (WHERE l.state = 'succeeded')::bigint AS succeeded, count(*) FILTER (WHERE l.state = 'failed')::bigint AS failed,
           count(*) FILTER (WHERE l.state = 'cancelled')::bigint AS cancelled, count(*) FILTER (WHERE l.state = 'superseded')::bigint AS superseded,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY date_part('epoch', l.finished_at - l.started_at))
               FILTER (WHERE l.kind = 'automated' AND l.state IN ('succeeded', 'failed') AND l.started_at IS NOT NULL) AS took
    FROM latest l WHERE l.finished_at >= @from_day::timestamptz GROUP BY 1
)
SELECT counted.day::timestamptz AS day, counted.succeeded, counted.failed, counted.cancelled, counted.superseded,
       coalesce((counted.took)[1], -1)::float8 AS build_p50, coalesce((counted.took)[2], -1)::float8 AS build_p95, cut.cut::bool AS cut
FROM counted CROSS JOIN cut ORDER BY counted.day;
