-- name: MetricsWork :many
-- Returns the due work and the held work of each kind.
SELECT w.kind,
       count(*) FILTER (WHERE w.due_at <= now() AND (w.lease_until IS NULL OR w.lease_until <= now())) AS due,
       count(*) FILTER (WHERE w.lease_until > now()) AS held,
       CAST(coalesce(date_part('epoch', now() - min(w.due_at) FILTER (WHERE w.due_at <= now() AND (w.lease_until IS NULL OR w.lease_until <= now()))), 0) AS float8) AS oldest_seconds
FROM work w GROUP BY w.kind;

-- name: MetricsPipelines :many
SELECT status, count(*) AS pipelines FROM pipelines GROUP BY status;
