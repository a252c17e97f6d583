-- name: DeliveryRecord :one
-- Records an outside event. Returns no row for a duplicate: an event with
-- the same id or, if a body is given, with the same body.
INSERT INTO deliveries (source, id, type, body_sha256) VALUES (@source, @id, @type, sqlc.narg('body_sha256'))
ON CONFLICT DO NOTHING
RETURNING id;

-- name: DeliverySettles :batchexec
UPDATE deliveries SET outcome = @outcome, detail = @detail, pipeline_id = sqlc.narg('pipeline_id')
WHERE source = @source AND id = @id;

-- name: DeliveryGet :one
SELECT * FROM deliveries WHERE source = @source AND id = @id;

-- name: BuildHeardOf :one
-- Returns when SNS last reported about a build, or 1 January 1970 if it
-- never did.
SELECT coalesce(max(received_at), 'epoch')::timestamptz AS at FROM deliveries WHERE source = 'sns' AND type = 'Notification';

-- name: AheadSeconds :one
-- Returns how many seconds a time is ahead of the clock.
SELECT date_part('epoch', sqlc.arg('event_time')::timestamptz - clock_timestamp())::float8 AS seconds;

-- name: AppLock :one
-- Makes events of one app take turns.
INSERT INTO apps (id) VALUES (@id)
ON CONFLICT (id) DO UPDATE SET id = excluded.id
RETURNING *;

-- name: AppSawCreated :exec
UPDATE apps SET created_time = greatest(created_time, @time::timestamptz) WHERE id = @id;

-- name: AppSawDeleted :exec
UPDATE apps SET deleted_time = greatest(deleted_time, @time::timestamptz) WHERE id = @id;

-- name: DeliveriesExpire :execrows
-- Deletes the oldest expired deliveries, a few at a time.
DELETE FROM deliveries WHERE ctid = ANY(ARRAY(
    SELECT d.ctid FROM deliveries d
    WHERE d.received_at < now() - make_interval(secs => @kept_seconds::float8)
    ORDER BY d.received_at LIMIT 500
    FOR UPDATE SKIP LOCKED));
