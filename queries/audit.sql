-- name: AuditAdd :exec
-- Records a change that has no event. Call it in the transaction of the change.
INSERT INTO audit (actor, action, subject, detail, pipeline_id, slug, deployment_id, remote)
VALUES (@actor, @action, @subject, @detail, sqlc.narg('pipeline_id'), @slug, sqlc.narg('deployment_id'), @remote);

-- name: ActivityList :many
-- Lists the events of all pipelines and the audited changes, newest first. The
-- page ends before the entry with this time, id and number. The number of
-- an audited change is 0.
WITH event AS (
    SELECT e.time, e.pipeline_id AS id, e.version AS number, e.actor, 'pipeline.status'::text AS action, ''::text AS subject, e.cause AS detail,
           e.pipeline_id, e.slug, e.deployment_id, e.from_status, e.to_status, ''::text AS remote
    FROM events e
    WHERE (e.time, e.pipeline_id, e.version) < (@before_time::timestamptz, @before_id::uuid, @before_number::bigint)
    ORDER BY e.time DESC, e.pipeline_id DESC, e.version DESC LIMIT @page_limit
), change AS (
    SELECT a.time, a.id, 0::bigint AS number, a.actor, a.action, a.subject, a.detail,
           a.pipeline_id, a.slug, a.deployment_id, NULL::text AS from_status, NULL::text AS to_status, a.remote
    FROM audit a
    WHERE (a.time, a.id) < (@before_time::timestamptz, @before_id::uuid) AND (a.pipeline_id IS NOT NULL AND a.action NOT LIKE 'variable.%' OR @everything::bool)
    ORDER BY a.time DESC, a.id DESC LIMIT @page_limit
), page AS (
    SELECT * FROM event UNION ALL SELECT * FROM change ORDER BY time DESC, id DESC, number DESC LIMIT @page_limit
)
SELECT page.time::timestamptz AS time, page.id::uuid AS id, page.number::bigint AS number, page.actor::text AS actor, page.action::text AS action,
       page.subject::text AS subject, page.detail::text AS detail, coalesce(page.pipeline_id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, page.slug::text AS slug, page.deployment_id,
       coalesce(page.from_status, '')::text AS from_status, coalesce(page.to_status, '')::text AS to_status, page.remote::text AS remote, d.number AS deployment_number
FROM page LEFT JOIN deployments d ON d.id = page.deployment_id
ORDER BY page.time DESC, page.id DESC, page.number DESC;

-- name: ActivityOf :many
-- Is ActivityList for some pipelines. Each is read separately, in the order of
-- its indexes.
WITH event AS (
    SELECT e.time, e.pipeline_id AS id, e.version AS number, e.actor, 'pipeline.status'::text AS action, ''::text AS subject, e.cause AS detail,
           e.pipeline_id, e.slug, e.deployment_id, e.from_status, e.to_status, ''::text AS remote
    FROM unnest(@pipeline_ids::uuid[]) AS o (id) CROSS JOIN LATERAL (
        SELECT x.* FROM events x
        WHERE x.pipeline_id = o.id AND x.time <= @before_time::timestamptz
          AND (x.time, x.pipeline_id, x.version) < (@before_time::timestamptz, @before_id::uuid, @before_number::bigint)
        ORDER BY x.time DESC, x.version DESC LIMIT @page_limit
    ) e
    ORDER BY e.time DESC, e.pipeline_id DESC, e.version DESC LIMIT @page_limit
), change AS (
    SELECT a.time, a.id, 0::bigint AS number, a.actor, a.action, a.subject, a.detail,
           a.pipeline_id, a.slug, a.deployment_id, NULL::text AS from_status, NULL::text AS to_status, a.remote
    FROM unnest(@pipeline_ids::uuid[]) AS o (id) CROSS JOIN LATERAL (
        SELECT x.* FROM audit x
        WHERE x.pipeline_id = o.id AND (x.action NOT LIKE 'variable.%' OR @variables::bool) AND (x.time, x.id) < (@before_time::timestamptz, @before_id::uuid)
        ORDER BY x.time DESC, x.id DESC LIMIT @page_limit
    ) a
    ORDER BY a.time DESC, a.id DESC LIMIT @page_limit
), page AS (
    SELECT * FROM event UNION ALL SELECT * FROM change ORDER BY time DESC, id DESC, number DESC LIMIT @page_limit
)
SELECT page.time::timestamptz AS time, page.id::uuid AS id, page.number::bigint AS number, page.actor::text AS actor, page.action::text AS action,
       page.subject::text AS subject, page.detail::text AS detail, coalesce(page.pipeline_id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, page.slug::text AS slug, page.deployment_id,
       coalesce(page.from_status, '')::text AS from_status, coalesce(page.to_status, '')::text AS to_status, page.remote::text AS remote, d.number AS deployment_number
FROM page LEFT JOIN deployments d ON d.id = page.deployment_id
ORDER BY page.time DESC, page.id DESC, page.number DESC;
