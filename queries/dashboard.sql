-- name: OverviewByChange :many
-- The last changed first. The page ends before the one that was changed then.
SELECT * FROM pipelines
WHERE (updated_at, id) < (@before_time::timestamptz, @before_id::uuid)
ORDER BY updated_at DESC, id DESC LIMIT @page_limit;

-- name: OverviewByChangeOfStatus :many
SELECT * FROM pipelines
WHERE status || '' = @status::text AND (updated_at, id) < (@before_time::timestamptz, @before_id::uuid)
ORDER BY updated_at DESC, id DESC LIMIT @page_limit;

-- name: OverviewByName :many
-- By slug. The page begins after the one with the slug in after.
SELECT * FROM pipelines WHERE slug > @after::text ORDER BY slug LIMIT @page_limit;

-- name: OverviewByNameOfStatus :many
SELECT * FROM pipelines WHERE status || '' = @status::text AND slug > @after::text ORDER BY slug LIMIT @page_limit;

-- name: OverviewFound :many
-- Pipelines whose name, slug or repository have words that begin like those of
-- a text search. It looks at 2,000 that match at most, so that a letter that
-- begins all names costs no more.
WITH found AS MATERIALIZED (
    SELECT p.id FROM pipelines p
    WHERE to_tsvector('simple'::regconfig, translate(p.name || ' ' || p.slug || ' ' || coalesce(p.repository_full_name, ''), '-_/.', '    '))
          @@ to_tsquery('simple'::regconfig, @words::text)
    LIMIT 2000
)
SELECT p.* FROM pipelines p JOIN found ON found.id = p.id
WHERE sqlc.narg('status')::text IS NULL OR p.status = sqlc.narg('status')
ORDER BY CASE WHEN @by_name::bool THEN p.slug END, p.updated_at DESC, p.id DESC LIMIT @page_limit;

-- name: OverviewOf :many
-- The pipelines of a token that is limited to some, with the same filters. They
-- are read first: the index of words would be asked for all pipelines.
WITH own AS MATERIALIZED (
    SELECT p.id, to_tsvector('simple'::regconfig, translate(p.name || ' ' || p.slug || ' ' || coalesce(p.repository_full_name, ''), '-_/.', '    ')) AS words
    FROM pipelines p WHERE p.id = ANY(@ids::uuid[])
)
SELECT p.* FROM own JOIN pipelines p ON p.id = own.id
WHERE (sqlc.narg('status')::text IS NULL OR p.status = sqlc.narg('status'))
  AND (@words::text = '' OR own.words @@ to_tsquery('simple'::regconfig, @words::text))
ORDER BY CASE WHEN @by_name::bool THEN p.slug END, p.updated_at DESC, p.id DESC LIMIT @page_limit;

-- name: DeploymentsOf :many
SELECT * FROM deployments WHERE id = ANY(@ids::uuid[]);

-- name: DeploymentsLatest :many
-- The newest deployments of each pipeline, the newest first.
SELECT d.* FROM pipelines p JOIN deployments d ON d.pipeline_id = p.id AND d.number > p.last_number - @each::bigint
WHERE p.id = ANY(@pipeline_ids::uuid[]) ORDER BY d.number DESC;

-- name: DeploymentGetByNumber :one
SELECT * FROM deployments WHERE pipeline_id = @pipeline_id AND number = @number;

-- name: EventsLatest :many
-- The newest events of a pipeline, the newest first.
SELECT * FROM events WHERE pipeline_id = @pipeline_id ORDER BY version DESC LIMIT @page_limit;
