-- name: PurgeRequest :exec
-- Asks for a path to be taken away from what the site carries, also again.
INSERT INTO purges (pipeline_id, path, actor) VALUES (@pipeline_id, @path, @actor)
ON CONFLICT (pipeline_id, path) DO UPDATE SET actor = excluded.actor, requested_at = now(), done_at = NULL;

-- name: PurgeCount :one
-- How many other paths the pipeline has.
SELECT count(*) FROM purges WHERE pipeline_id = @pipeline_id AND path <> @path;

-- name: PurgeList :many
-- Lists what must not be carried: the purges that are not done, and those that
-- are no older than an asset may be carried.
SELECT * FROM purges
WHERE pipeline_id = @pipeline_id
  AND (done_at IS NULL OR requested_at > now() - make_interval(secs => @carry_seconds::float8))
ORDER BY path;

-- name: PurgesFinish :exec
-- Writes down that what was asked for up to a time is done, and forgets what no
-- asset can bring back.
WITH forgotten AS (
    DELETE FROM purges old
    WHERE old.pipeline_id = @pipeline_id AND old.done_at IS NOT NULL
      AND old.requested_at <= now() - make_interval(secs => @carry_seconds::float8)
)
UPDATE purges SET done_at = now()
WHERE purges.pipeline_id = @pipeline_id AND purges.done_at IS NULL AND purges.requested_at <= @seen;

-- name: PurgeNextSequence :one
-- Gives out a sequence for a pointer to the live tree, whose list of carried
-- assets changed. None while a deployment is publishing: it has its sequence
-- already, and must not be overtaken. The caller has locked the pipeline.
UPDATE pipelines p
SET last_sequence = p.last_sequence + 1
WHERE p.id = @id AND p.live_deployment_id = @live
  AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'publishing')
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'purge' AND w.subject_id = p.id AND w.epoch = @epoch)
RETURNING p.last_sequence;
