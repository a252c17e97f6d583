-- Lists of outstanding work, for people. A pipeline or deployment that does not
-- exist is zero.

-- name: QueueRunning :many
-- Lists the work that workers hold, longest first, of some pipelines or of
-- all.
SELECT w.kind, w.subject_id, w.due_at, w.since, w.attempt, w.cause, w.lease_until, (w.ring_id IS NOT NULL)::bool AS rung,
       coalesce(p.id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, coalesce(p.slug, '')::text AS slug, coalesce(d.number, 0)::bigint AS deployment_number
FROM work w
LEFT JOIN deployments d ON d.id = w.subject_id
LEFT JOIN skips s ON s.id = w.subject_id
LEFT JOIN pipelines p ON p.id = coalesce(d.pipeline_id, s.pipeline_id, w.subject_id)
WHERE w.lease_until > now() AND (sqlc.narg('only')::uuid[] IS NULL OR p.id = ANY(sqlc.narg('only')::uuid[]))
ORDER BY w.since, w.subject_id, w.kind LIMIT @page_limit;

-- name: QueueWaiting :many
-- Lists the work of the kinds that no worker holds, by the time when it is
-- due. The page begins after the row with this time, subject and kind. Each kind
-- is read separately, in the order of its indexes. The joins have limits so that
-- Postgres does not read whole tables for them.
WITH line AS (
    SELECT l.* FROM unnest(@kinds::text[]) AS k (kind) CROSS JOIN LATERAL (
        (SELECT a.kind, a.subject_id, a.due_at, a.since, a.attempt, a.cause, a.ring_id FROM work a
         WHERE a.kind = k.kind AND a.ring_id IS NULL AND a.lease_until IS NULL AND a.due_at >= @after_time::timestamptz
           AND (a.due_at, a.subject_id, a.kind) > (@after_time::timestamptz, @after_id::uuid, @after_kind::text)
         ORDER BY a.due_at, a.subject_id LIMIT @page_limit)
        UNION ALL
        (SELECT b.kind, b.subject_id, b.due_at, b.since, b.attempt, b.cause, b.ring_id FROM work b
         WHERE b.kind = k.kind AND b.ring_id IS NOT NULL AND b.due_at >= @after_time::timestamptz
           AND (b.due_at, b.subject_id, b.kind) > (@after_time::timestamptz, @after_id::uuid, @after_kind::text)
         ORDER BY b.due_at, b.subject_id LIMIT @page_limit)
    ) l
    ORDER BY l.due_at, l.subject_id, l.kind LIMIT @page_limit
)
SELECT line.kind, line.subject_id, line.due_at, line.since, line.attempt, line.cause, (line.ring_id IS NOT NULL)::bool AS rung,
       coalesce(p.id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, coalesce(p.slug, '')::text AS slug, coalesce(d.number, 0)::bigint AS deployment_number
FROM line
LEFT JOIN LATERAL (SELECT x.pipeline_id, x.number FROM deployments x WHERE x.id = line.subject_id LIMIT 1) d ON true
LEFT JOIN LATERAL (SELECT x.pipeline_id FROM skips x WHERE x.id = line.subject_id LIMIT 1) s ON true
LEFT JOIN LATERAL (SELECT x.id, x.slug FROM pipelines x WHERE x.id = coalesce(d.pipeline_id, s.pipeline_id, line.subject_id) LIMIT 1) p ON true
ORDER BY line.due_at, line.subject_id, line.kind;

-- name: QueueOf :many
-- Is QueueWaiting for some pipelines.
WITH subject AS (
    SELECT p.id, p.id AS pipeline_id FROM pipelines p WHERE p.id = ANY(@pipeline_ids::uuid[])
    UNION ALL SELECT d.id, d.pipeline_id FROM deployments d WHERE d.pipeline_id = ANY(@pipeline_ids::uuid[])
    UNION ALL SELECT s.id, s.pipeline_id FROM skips s WHERE s.pipeline_id = ANY(@pipeline_ids::uuid[])
)
SELECT w.kind, w.subject_id, w.due_at, w.since, w.attempt, w.cause, (w.ring_id IS NOT NULL)::bool AS rung,
       coalesce(p.id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, coalesce(p.slug, '')::text AS slug, coalesce(d.number, 0)::bigint AS deployment_number
FROM subject
JOIN work w ON w.subject_id = subject.id
JOIN pipelines p ON p.id = subject.pipeline_id
LEFT JOIN deployments d ON d.id = w.subject_id
WHERE (w.lease_until IS NULL OR w.lease_until <= now())
  AND (w.due_at, w.subject_id, w.kind) > (@after_time::timestamptz, @after_id::uuid, @after_kind::text)
ORDER BY w.due_at, w.subject_id, w.kind LIMIT @page_limit;
