-- name: PurgeRequest :exec
-- Requests the removal of a path from what the site carries. It may be
-- requested again.
INSERT INTO purges (pipeline_id, path, actor) VALUES (@pipeline_id, @path, @actor)
ON CONFLICT (pipeline_id, path) DO UPDATE SET actor = excluded.actor, requested_at = now(), done_at = NULL;

-- name: PurgesCover :exec
-- Deletes the other purges that a path covers: all for an empty path, those
-- in the folder for a path that ends in a slash.
DELETE FROM purges
WHERE pipeline_id = @pipeline_id AND path <> @path::text
  AND (@path = '' OR right(@path, 1) = '/' AND starts_with(path, @path));

-- name: PurgeCount :one
-- Counts the pipeline's other purges that still keep a path from being
-- carried.
SELECT count(*) FROM purges
WHERE pipeline_id = @pipeline_id AND path <> @path
  AND (done_at IS NULL OR requested_at > now() - make_interval(secs => @carry_seconds::float8));

-- name: PurgeList :many
-- Lists what must not be carried: the open purges, and the finished ones
-- that are more recent than the oldest asset that may be carried.
SELECT * FROM purges
WHERE pipeline_id = @pipeline_id
  AND (done_at IS NULL OR requested_at > now() - make_interval(secs => @carry_seconds::float8))
ORDER BY path;

-- name: PurgesFinish :exec
-- Marks the purges that were requested up to a time as done, and deletes
-- those whose assets can no longer come back.
WITH forgotten AS (
    DELETE FROM purges old
    WHERE old.pipeline_id = @pipeline_id AND old.done_at IS NOT NULL
      AND old.requested_at <= now() - make_interval(secs => @carry_seconds::float8)
)
UPDATE purges SET done_at = now()
WHERE purges.pipeline_id = @pipeline_id AND purges.done_at IS NULL AND purges.requested_at <= @seen;

-- name: PurgeNextSequence :one
-- Assigns a sequence for a pointer to the live tree, after its list of
-- carried assets has changed. Assigns none while a deployment is
-- publishing, because that one already has its sequence and must not be
-- overtaken. The caller has locked the pipeline.
UPDATE pipelines p
SET last_sequence = p.last_sequence + 1
WHERE p.id = @id AND p.live_deployment_id = @live
  AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'publishing' AND d.preview_id IS NULL)
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'purge' AND w.subject_id = p.id AND w.epoch = @epoch)
RETURNING p.last_sequence;
