-- Lists of outstanding work, for people. A pipeline or deployment that does not
-- exist is zero.

-- name: QueueRunning :many
-- Lists the work that workers hold, longest first, of some pipelines or of
-- all.
SELECT w.kind, w.subject_id, w.due_at, w.since, w.attempt, w.cause, w.lease_until, w.worker, w.claimed_at,
       coalesce(p.id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, coalesce(p.slug, '')::text AS slug, coalesce(d.number, 0)::bigint AS deployment_number
FROM work w
LEFT JOIN deployments d ON d.id = w.subject_id
LEFT JOIN pipelines p ON p.id = w.pipeline_id
WHERE w.lease_until > now() AND w.kind = ANY(@kinds::text[]) AND (sqlc.narg('only')::uuid[] IS NULL OR w.pipeline_id = ANY(sqlc.narg('only')::uuid[]))
ORDER BY w.since, w.subject_id, w.kind LIMIT @page_limit;

-- name: QueueWaiting :many
-- Lists the work of the kinds that no worker holds, by the time when it is due,
-- of some pipelines or of all. The page begins after the row with this time,
-- subject and kind, and ends with the time until. The state is failing, healthy
-- or empty for both. Each kind, each pipeline and the failing work are read
-- separately, in the order of an index of their own. The joins have limits so
-- that Postgres does not read whole tables for them.
WITH line AS (
    SELECT l.* FROM unnest(CASE WHEN sqlc.narg('only')::uuid[] IS NULL AND @state::text <> 'failing' THEN @kinds::text[] END) AS k (kind) CROSS JOIN LATERAL (
        (SELECT a.kind, a.subject_id, a.due_at, a.since, a.attempt, a.cause, a.ring_id, a.pipeline_id FROM work a
         WHERE a.kind = k.kind AND a.ring_id IS NULL AND a.lease_until IS NULL AND a.due_at >= @after_time::timestamptz AND a.due_at <= sqlc.arg('until')::timestamptz
           AND (a.due_at, a.subject_id, a.kind) > (@after_time::timestamptz, @after_id::uuid, @after_kind::text)
           AND (@state::text = '' OR a.attempt = 0 OR a.cause = '')
         ORDER BY a.due_at, a.subject_id LIMIT @page_limit)
        UNION ALL
        (SELECT b.kind, b.subject_id, b.due_at, b.since, b.attempt, b.cause, b.ring_id, b.pipeline_id FROM work b
         WHERE b.kind = k.kind AND b.ring_id IS NOT NULL AND b.due_at >= @after_time::timestamptz AND b.due_at <= sqlc.arg('until')::timestamptz
           AND (b.due_at, b.subject_id, b.kind) > (@after_time::timestamptz, @after_id::uuid, @after_kind::text)
           AND (@state::text = '' OR b.attempt = 0 OR b.cause = '')
         ORDER BY b.due_at, b.subject_id LIMIT @page_limit)
    ) l
    UNION ALL
    SELECT m.* FROM unnest(sqlc.narg('only')::uuid[]) AS p (id) CROSS JOIN LATERAL (
        -- The keys come from the index alone, in its order.
        SELECT c.kind, c.subject_id, c.due_at, c.since, c.attempt, c.cause, c.ring_id, c.pipeline_id FROM (
            SELECT k.kind, k.subject_id FROM work k
            WHERE k.pipeline_id = p.id AND (k.lease_until IS NULL OR k.lease_until <= now()) AND k.kind = ANY(@kinds::text[])
              AND (k.due_at, k.subject_id, k.kind) > (@after_time::timestamptz, @after_id::uuid, @after_kind::text) AND k.due_at <= sqlc.arg('until')::timestamptz
              AND (@state::text = '' OR (@state::text = 'failing') = (k.attempt > 0 AND k.cause <> ''))
            ORDER BY k.due_at, k.subject_id, k.kind LIMIT @page_limit
        ) key JOIN work c ON c.subject_id = key.subject_id AND c.kind = key.kind
    ) m
    UNION ALL
    (SELECT f.kind, f.subject_id, f.due_at, f.since, f.attempt, f.cause, f.ring_id, f.pipeline_id FROM work f
     WHERE f.attempt > 0 AND f.cause <> '' AND f.lease_until IS NULL AND f.kind = ANY(@kinds::text[])
       AND (f.due_at, f.subject_id, f.kind) > (@after_time::timestamptz, @after_id::uuid, @after_kind::text) AND f.due_at <= sqlc.arg('until')::timestamptz
       AND sqlc.narg('only')::uuid[] IS NULL AND @state::text = 'failing'
     ORDER BY f.due_at, f.subject_id, f.kind LIMIT @page_limit)
), page AS (
    SELECT * FROM line ORDER BY line.due_at, line.subject_id, line.kind LIMIT @page_limit
)
SELECT page.kind, page.subject_id, page.due_at, page.since, page.attempt, page.cause, (page.ring_id IS NOT NULL)::bool AS rung,
       coalesce(p.id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, coalesce(p.slug, '')::text AS slug, coalesce(d.number, 0)::bigint AS deployment_number
FROM page
LEFT JOIN LATERAL (SELECT x.number FROM deployments x WHERE x.id = page.subject_id LIMIT 1) d ON true
LEFT JOIN LATERAL (SELECT x.id, x.slug FROM pipelines x WHERE x.id = page.pipeline_id LIMIT 1) p ON true
ORDER BY page.due_at, page.subject_id, page.kind;

-- name: QueueCounts :many
-- Counts the work of each kind that workers hold, that is due, and that is
-- failing; each count ends at most.
SELECT k.kind::text AS kind,
       (SELECT count(*) FROM work h WHERE h.lease_until > now() AND h.kind = k.kind)::bigint AS running,
       (SELECT count(*) FROM (
            (SELECT 1 FROM work a WHERE a.kind = k.kind AND a.ring_id IS NULL AND a.lease_until IS NULL AND a.due_at <= now() ORDER BY a.due_at LIMIT @most)
            UNION ALL
            (SELECT 1 FROM work b WHERE b.kind = k.kind AND b.ring_id IS NOT NULL AND b.due_at <= now() ORDER BY b.due_at LIMIT @most)) due)::bigint AS due,
       (SELECT count(*) FROM (SELECT 1 FROM work f WHERE f.attempt > 0 AND f.cause <> '' AND f.lease_until IS NULL AND f.kind = k.kind ORDER BY f.due_at, f.subject_id, f.kind LIMIT @most) failing)::bigint AS failing
FROM unnest(@kinds::text[]) AS k (kind);

-- name: PauseList :many
SELECT * FROM pauses ORDER BY queue;

-- name: PauseGet :one
SELECT * FROM pauses WHERE queue = @queue;

-- name: PauseAdd :execrows
INSERT INTO pauses (queue, actor, reason) VALUES (@queue, @actor, @reason) ON CONFLICT DO NOTHING;

-- name: PauseRemove :one
DELETE FROM pauses WHERE queue = @queue RETURNING at;
