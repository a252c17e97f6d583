-- name: AuditAdd :exec
-- Records a change that has no event. Call it in the transaction of the change.
INSERT INTO audit (actor, action, subject, detail, pipeline_id, slug, deployment_id, remote)
VALUES (@actor, @action, @subject, @detail, sqlc.narg('pipeline_id'), @slug, sqlc.narg('deployment_id'), @remote);

-- name: ActivityList :many
-- Lists the events of pipelines and the audited changes, newest first, of some
-- pipelines, of an actor or of all. The page ends before one place, which is a
-- time, an id and a number, and does not go back beyond another. The number of an
-- audited change is 0. Each way to look has a branch, which is read by an index
-- of its own; the others are not read at all.
WITH event AS (
    (SELECT e.time, e.pipeline_id AS id, e.version AS number, e.actor, 'pipeline.status'::text AS action, ''::text AS subject, e.cause AS detail,
            e.pipeline_id, e.slug, e.deployment_id, e.from_status, e.to_status, ''::text AS remote
     FROM events e
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text = ''
       AND @events::bool AND (@to_status::text = '' OR e.to_status = @to_status::text)
       AND (@search::text = '' OR strpos(lower(concat_ws(' ', e.actor, e.slug, replace(e.to_status, '_', ' '), e.cause)), @search::text) > 0)
       AND e.time <= @before_time::timestamptz AND (e.time, e.pipeline_id, e.version) < (@before_time::timestamptz, @before_id::uuid, @before_number::bigint)
       AND e.time >= @from_time::timestamptz AND (e.time, e.pipeline_id, e.version) >= (@from_time::timestamptz, @from_id::uuid, @from_number::bigint)
     ORDER BY e.time DESC, e.pipeline_id DESC, e.version DESC LIMIT @page_limit)
    UNION ALL
    (SELECT e.time, e.pipeline_id AS id, e.version AS number, e.actor, 'pipeline.status'::text AS action, ''::text AS subject, e.cause AS detail,
            e.pipeline_id, e.slug, e.deployment_id, e.from_status, e.to_status, ''::text AS remote
     FROM events e
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text <> '' AND e.actor = @actor::text
       AND @events::bool AND (@to_status::text = '' OR e.to_status = @to_status::text)
       AND (@search::text = '' OR strpos(lower(concat_ws(' ', e.actor, e.slug, replace(e.to_status, '_', ' '), e.cause)), @search::text) > 0)
       AND e.time <= @before_time::timestamptz AND (e.time, e.pipeline_id, e.version) < (@before_time::timestamptz, @before_id::uuid, @before_number::bigint)
       AND e.time >= @from_time::timestamptz AND (e.time, e.pipeline_id, e.version) >= (@from_time::timestamptz, @from_id::uuid, @from_number::bigint)
     ORDER BY e.time DESC, e.pipeline_id DESC, e.version DESC LIMIT @page_limit)
    UNION ALL
    SELECT m.* FROM unnest(sqlc.narg('only')::uuid[]) AS p (id) CROSS JOIN LATERAL (
     -- The keys come from the index alone, in its order: Postgres would sort the
     -- events of a pipeline if it took them from the table.
     SELECT e.time, e.pipeline_id AS id, e.version AS number, e.actor, 'pipeline.status'::text AS action, ''::text AS subject, e.cause AS detail,
            e.pipeline_id, e.slug, e.deployment_id, e.from_status, e.to_status, ''::text AS remote
     FROM (
         SELECT k.version FROM events k
         WHERE k.pipeline_id = p.id AND k.time <= @before_time::timestamptz AND k.time >= @from_time::timestamptz
           AND (k.time, k.version) < (@before_time::timestamptz, CASE WHEN k.pipeline_id < @before_id::uuid THEN 9223372036854775807 WHEN k.pipeline_id = @before_id::uuid THEN @before_number::bigint ELSE 0 END)
           AND (k.time, k.version) >= (@from_time::timestamptz, CASE WHEN k.pipeline_id < @from_id::uuid THEN 9223372036854775807 WHEN k.pipeline_id = @from_id::uuid THEN @from_number::bigint ELSE 0 END)
           AND @events::bool
         ORDER BY k.time DESC, k.version DESC LIMIT @most_keys
     ) key JOIN events e ON e.pipeline_id = p.id AND e.version = key.version
     WHERE (@actor::text = '' OR e.actor = @actor::text) AND (@to_status::text = '' OR e.to_status = @to_status::text)
       AND (@search::text = '' OR strpos(lower(concat_ws(' ', e.actor, e.slug, replace(e.to_status, '_', ' '), e.cause)), @search::text) > 0)
     ORDER BY e.time DESC, e.version DESC LIMIT @page_limit) m
), change AS (
    (SELECT a.time, a.id, 0::bigint AS number, a.actor, a.action, a.subject, a.detail,
            a.pipeline_id, a.slug, a.deployment_id, NULL::text AS from_status, NULL::text AS to_status, a.remote
     FROM audit a
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text = ''
       AND @changes::bool AND (@action::text = '' OR a.action = @action::text OR starts_with(a.action, @action::text || '.'))
       AND (@everything::bool OR a.pipeline_id IS NOT NULL AND NOT starts_with(a.action, 'variable.'))
       AND (@search::text = '' OR strpos(lower(concat_ws(' ', a.actor, a.slug, a.action, a.subject, a.detail)), @search::text) > 0)
       AND a.time <= @before_time::timestamptz AND (a.time, a.id) < (@before_time::timestamptz, @before_id::uuid)
       AND a.time >= @from_time::timestamptz AND (a.time, a.id) >= (@from_time::timestamptz, @from_id::uuid)
     ORDER BY a.time DESC, a.id DESC LIMIT @page_limit)
    UNION ALL
    (SELECT a.time, a.id, 0::bigint AS number, a.actor, a.action, a.subject, a.detail,
            a.pipeline_id, a.slug, a.deployment_id, NULL::text AS from_status, NULL::text AS to_status, a.remote
     FROM audit a
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text <> '' AND a.actor = @actor::text
       AND @changes::bool AND (@action::text = '' OR a.action = @action::text OR starts_with(a.action, @action::text || '.'))
       AND (@everything::bool OR a.pipeline_id IS NOT NULL AND NOT starts_with(a.action, 'variable.'))
       AND (@search::text = '' OR strpos(lower(concat_ws(' ', a.actor, a.slug, a.action, a.subject, a.detail)), @search::text) > 0)
       AND a.time <= @before_time::timestamptz AND (a.time, a.id) < (@before_time::timestamptz, @before_id::uuid)
       AND a.time >= @from_time::timestamptz AND (a.time, a.id) >= (@from_time::timestamptz, @from_id::uuid)
     ORDER BY a.time DESC, a.id DESC LIMIT @page_limit)
    UNION ALL
    SELECT m.* FROM unnest(sqlc.narg('only')::uuid[]) AS p (id) CROSS JOIN LATERAL (
     SELECT a.time, a.id, 0::bigint AS number, a.actor, a.action, a.subject, a.detail,
            a.pipeline_id, a.slug, a.deployment_id, NULL::text AS from_status, NULL::text AS to_status, a.remote
     FROM audit a
     WHERE a.pipeline_id = p.id AND (@actor::text = '' OR a.actor = @actor::text)
       AND @changes::bool AND (@action::text = '' OR a.action = @action::text OR starts_with(a.action, @action::text || '.'))
       AND (@everything::bool OR a.pipeline_id IS NOT NULL AND NOT starts_with(a.action, 'variable.'))
       AND (@search::text = '' OR strpos(lower(concat_ws(' ', a.actor, a.slug, a.action, a.subject, a.detail)), @search::text) > 0)
       AND a.time <= @before_time::timestamptz AND (a.time, a.id) < (@before_time::timestamptz, @before_id::uuid)
       AND a.time >= @from_time::timestamptz AND (a.time, a.id) >= (@from_time::timestamptz, @from_id::uuid)
     ORDER BY a.time DESC, a.id DESC LIMIT @page_limit) m
), page AS (
    SELECT * FROM event UNION ALL SELECT * FROM change ORDER BY time DESC, id DESC, number DESC LIMIT @page_limit
)
SELECT page.time::timestamptz AS time, page.id::uuid AS id, page.number::bigint AS number, page.actor::text AS actor, page.action::text AS action,
       page.subject::text AS subject, page.detail::text AS detail, coalesce(page.pipeline_id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, page.slug::text AS slug, page.deployment_id,
       coalesce(page.from_status, '')::text AS from_status, coalesce(page.to_status, '')::text AS to_status, page.remote::text AS remote, d.number AS deployment_number
FROM page LEFT JOIN deployments d ON d.id = page.deployment_id
ORDER BY page.time DESC, page.id DESC, page.number DESC;

-- name: ActivityEdge :many
-- Returns the place up to which ActivityList reads no more than about scan
-- entries of each branch and pipeline before the first place, if there are
-- more. What ActivityList then filters is bounded.
SELECT edge.time::timestamptz AS time, edge.id::uuid AS id, edge.number::bigint AS number FROM (
    (SELECT e.time, e.pipeline_id AS id, e.version AS number FROM events e
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text = '' AND @events::bool
       AND e.time <= @before_time::timestamptz AND (e.time, e.pipeline_id, e.version) < (@before_time::timestamptz, @before_id::uuid, @before_number::bigint)
     ORDER BY e.time DESC, e.pipeline_id DESC, e.version DESC OFFSET @scan::bigint LIMIT 1)
    UNION ALL
    (SELECT e.time, e.pipeline_id AS id, e.version AS number FROM events e
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text <> '' AND e.actor = @actor::text AND @events::bool
       AND e.time <= @before_time::timestamptz AND (e.time, e.pipeline_id, e.version) < (@before_time::timestamptz, @before_id::uuid, @before_number::bigint)
     ORDER BY e.time DESC, e.pipeline_id DESC, e.version DESC OFFSET @scan::bigint LIMIT 1)
    UNION ALL
    SELECT m.* FROM unnest(sqlc.narg('only')::uuid[]) AS p (id) CROSS JOIN LATERAL (
     SELECT e.time, e.pipeline_id AS id, e.version AS number FROM events e
     WHERE e.pipeline_id = p.id AND @events::bool
       AND e.time <= @before_time::timestamptz AND (e.time, e.pipeline_id, e.version) < (@before_time::timestamptz, @before_id::uuid, @before_number::bigint)
     ORDER BY e.time DESC, e.version DESC OFFSET @scan::bigint LIMIT 1) m
    UNION ALL
    (SELECT a.time, a.id, 0::bigint AS number FROM audit a
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text = '' AND @changes::bool
       AND a.time <= @before_time::timestamptz AND (a.time, a.id) < (@before_time::timestamptz, @before_id::uuid)
     ORDER BY a.time DESC, a.id DESC OFFSET @scan::bigint LIMIT 1)
    UNION ALL
    (SELECT a.time, a.id, 0::bigint AS number FROM audit a
     WHERE sqlc.narg('only')::uuid[] IS NULL AND @actor::text <> '' AND a.actor = @actor::text AND @changes::bool
       AND a.time <= @before_time::timestamptz AND (a.time, a.id) < (@before_time::timestamptz, @before_id::uuid)
     ORDER BY a.time DESC, a.id DESC OFFSET @scan::bigint LIMIT 1)
    UNION ALL
    SELECT m.* FROM unnest(sqlc.narg('only')::uuid[]) AS p (id) CROSS JOIN LATERAL (
     SELECT a.time, a.id, 0::bigint AS number FROM audit a
     WHERE a.pipeline_id = p.id AND @changes::bool
       AND a.time <= @before_time::timestamptz AND (a.time, a.id) < (@before_time::timestamptz, @before_id::uuid)
     ORDER BY a.time DESC, a.id DESC OFFSET @scan::bigint LIMIT 1) m
) edge
ORDER BY edge.time DESC, edge.id DESC, edge.number DESC LIMIT 1;
