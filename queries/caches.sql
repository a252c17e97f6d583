-- The dependency caches of builds, as those who keep them report them.

-- name: BuildCachesReport :exec
-- Replaces what a keeper reported before, and writes a row that did not change at
-- most once a day. Caches that were made before their pipeline's caches were
-- cleared do not count any more, nor do those of a keeper that has not reported
-- for a month. All workers write the rows in one order, so that none waits for
-- another that waits for it.
WITH reported AS (
    SELECT unnest(@pipelines::uuid[]) AS pipeline_id, unnest(@scopes::text[]) AS scope, unnest(@managers::text[]) AS manager,
           unnest(@epochs::bigint[]) AS epoch, unnest(@sizes::bigint[]) AS bytes, unnest(@used::timestamptz[]) AS used_at
), given AS (
    SELECT DISTINCT ON (g.pipeline_id, g.scope, g.manager) g.pipeline_id, g.scope, g.manager, g.bytes, g.used_at
    FROM reported g
    JOIN pipelines p ON p.id = g.pipeline_id AND p.cache_epoch = g.epoch
    ORDER BY g.pipeline_id, g.scope, g.manager
), gone AS (
    DELETE FROM build_caches c
    WHERE c.keeper = @keeper AND NOT EXISTS (
        SELECT FROM given WHERE given.pipeline_id = c.pipeline_id AND given.scope = c.scope AND given.manager = c.manager
    )
), lost AS (
    DELETE FROM build_caches c WHERE c.reported_at < now() - interval '30 days' AND c.keeper <> @keeper
)
INSERT INTO build_caches AS b (pipeline_id, keeper, scope, manager, bytes, used_at)
SELECT given.pipeline_id, @keeper, given.scope, given.manager, given.bytes, given.used_at FROM given
ORDER BY given.pipeline_id, given.scope, given.manager
ON CONFLICT (pipeline_id, keeper, scope, manager) DO UPDATE SET bytes = excluded.bytes, used_at = excluded.used_at, reported_at = now()
WHERE (b.bytes, b.used_at) IS DISTINCT FROM (excluded.bytes, excluded.used_at) OR b.reported_at < now() - interval '1 day';

-- name: BuildCacheList :many
-- Lists the caches of a pipeline, those of the site first, then the newest. One
-- machine has at most a few for each branch.
SELECT scope, manager, sum(bytes)::bigint AS bytes, max(used_at)::timestamptz AS used_at, count(*) AS copies
FROM build_caches WHERE pipeline_id = @pipeline_id
GROUP BY scope, manager
ORDER BY scope <> '', max(used_at) DESC, scope, manager
LIMIT 500;

-- name: BuildCachesClear :one
-- Clears a pipeline's caches: builds use none of an earlier epoch. Returns how
-- many there were, and their size.
WITH cleared AS (
    UPDATE pipelines SET cache_epoch = cache_epoch + 1 WHERE id = @pipeline_id
), gone AS (
    DELETE FROM build_caches WHERE pipeline_id = @pipeline_id RETURNING bytes
)
SELECT count(*) AS caches, coalesce(sum(bytes), 0)::bigint AS bytes FROM gone;

-- name: CachesKeptOf :many
-- Returns which of some pipelines still exist.
SELECT id FROM pipelines WHERE id = ANY(@pipeline_ids::uuid[]);
