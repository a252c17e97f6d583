-- name: ReleaseCreate :one
-- Begins an upload. Retention deletes it after it has expired. Returns no
-- row if the key was used before; read that upload by its key.
WITH created AS (
    INSERT INTO releases (id, pipeline_id, idempotency_key, manifest_digest, files, bytes, message, actor, expires_at)
    SELECT @id, p.id, sqlc.narg('idempotency_key'), @manifest_digest, @files, @bytes, @message, @actor,
           now() + make_interval(secs => @valid_seconds::float8)
    FROM pipelines p
    WHERE p.id = @pipeline_id AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
    ON CONFLICT (pipeline_id, idempotency_key) DO NOTHING
    RETURNING *
), tidy AS (
    INSERT INTO work (kind, subject_id, due_at) SELECT 'retention', created.pipeline_id, created.expires_at FROM created
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = least(work.due_at, excluded.due_at), requested = work.requested + 1, ring_id = NULL
)
SELECT created.id FROM created;

-- name: ReleasesOpen :one
-- Counts the unfinished uploads of a pipeline, without the one with the
-- given key, and sums what they declare.
SELECT count(*)::bigint AS releases, coalesce(sum(files), 0)::bigint AS files, coalesce(sum(bytes), 0)::bigint AS bytes
FROM releases
WHERE pipeline_id = @pipeline_id AND finalized_at IS NULL AND given_up_at IS NULL AND expires_at > now()
  AND (sqlc.narg('idempotency_key')::text IS NULL OR idempotency_key IS DISTINCT FROM sqlc.narg('idempotency_key')::text);

-- name: ReleaseGet :one
SELECT *, (expires_at <= now())::bool AS expired FROM releases WHERE id = @id AND pipeline_id = @pipeline_id;

-- name: ReleaseGetByKey :one
SELECT * FROM releases WHERE pipeline_id = @pipeline_id AND idempotency_key = @idempotency_key::text;

-- name: ReleaseFinalize :one
-- Marks an upload as turned into a deployment. Returns no row if that was
-- done before, or if the upload has expired.
UPDATE releases SET finalized_at = now()
WHERE id = @id AND pipeline_id = @pipeline_id AND finalized_at IS NULL AND given_up_at IS NULL AND expires_at > now()
RETURNING *;

-- name: ReleasesGiveUp :many
-- Gives up the uploads of a pipeline that expired without being finalized, and
-- those that a deployment was built from, so that none of them can be used while
-- its files are removed. Returns all that were given up.
UPDATE releases r SET given_up_at = coalesce(r.given_up_at, now())
WHERE r.pipeline_id = @pipeline_id AND r.finalized_at IS NULL
  AND (r.expires_at <= now() OR r.given_up_at IS NOT NULL
       OR EXISTS (SELECT 1 FROM sources s JOIN deployments d ON d.id = s.deployment_id WHERE s.release_id = r.id AND d.state NOT IN ('waiting', 'building')))
RETURNING r.id;

-- name: ReleaseGiveUp :exec
-- Gives up an upload that has no room, frees its key, and requests that its
-- tree be removed.
WITH ended AS (
    UPDATE releases SET given_up_at = now(), expires_at = now(), idempotency_key = NULL
    WHERE id = @id AND finalized_at IS NULL
    RETURNING pipeline_id
)
INSERT INTO work (kind, subject_id) SELECT 'retention', ended.pipeline_id FROM ended
ON CONFLICT (kind, subject_id) DO UPDATE
SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;

-- name: ReleaseTouch :exec
-- Records that files are sent to an upload, or may be for some seconds, unless
-- that was recorded within the last minute.
UPDATE releases SET touched_at = now() + make_interval(secs => @ahead_seconds::float8)
WHERE id = @id AND touched_at < now() + make_interval(secs => @ahead_seconds::float8) - interval '1 minute';

-- name: ReleasesGiveUpIdle :many
-- Gives up the unfinished uploads of a pipeline to which nothing was sent for some
-- time, as ReleaseGiveUp does, and returns them. It keeps those that are about to be
-- built.
WITH ended AS (
    UPDATE releases r SET given_up_at = now(), expires_at = now(), idempotency_key = NULL
    WHERE r.pipeline_id = @pipeline_id AND r.finalized_at IS NULL AND r.given_up_at IS NULL AND r.expires_at > now()
      AND r.touched_at < now() - make_interval(secs => @idle_seconds::float8)
      AND NOT EXISTS (SELECT 1 FROM sources s JOIN deployments d ON d.id = s.deployment_id WHERE s.release_id = r.id AND d.state IN ('waiting', 'building'))
      AND (sqlc.narg('idempotency_key')::text IS NULL OR r.idempotency_key IS DISTINCT FROM sqlc.narg('idempotency_key')::text)
    RETURNING r.id, r.pipeline_id
), tidy AS (
    INSERT INTO work (kind, subject_id) SELECT DISTINCT 'retention', ended.pipeline_id FROM ended
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT ended.id FROM ended;

-- name: ReleasesIdle :many
-- Returns the pipelines with unfinished uploads to which nothing was sent for some
-- time.
SELECT DISTINCT pipeline_id FROM releases
WHERE finalized_at IS NULL AND given_up_at IS NULL AND expires_at > now() AND touched_at < now() - make_interval(secs => @idle_seconds::float8);

-- name: ReleasesForget :exec
WITH gone AS (
    DELETE FROM releases WHERE id = ANY(@ids::uuid[]) AND finalized_at IS NULL
    RETURNING id
)
DELETE FROM site_rules USING gone WHERE site_rules.tree_id = gone.id;

-- name: ReleasesNextExpiry :one
-- Returns in how many seconds the next unfinished upload expires, or -1 if
-- there is none.
SELECT coalesce(min(greatest(date_part('epoch', expires_at - now()), 0)), -1)::float8 AS seconds
FROM releases WHERE pipeline_id = @pipeline_id AND finalized_at IS NULL;
