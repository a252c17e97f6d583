-- Who is told about pipelines, and what they are told. Rows of notifications are
-- written by triggers, together with the change that they are about.

-- name: NotifierAdd :one
INSERT INTO notifiers (id, pipeline_id, kind, label, target, events, created_by)
VALUES (@id, sqlc.narg('pipeline_id'), @kind, @label, @target, @events, @created_by)
RETURNING *;

-- name: NotifierCount :one
-- Counts the notifiers of one pipeline, or those of all.
SELECT ((SELECT count(*) FROM notifiers a WHERE a.pipeline_id = sqlc.narg('pipeline_id')::uuid)
      + (SELECT count(*) FROM notifiers b WHERE b.pipeline_id IS NULL AND sqlc.narg('pipeline_id') IS NULL))::bigint AS notifiers;

-- name: NotifierGet :one
SELECT sqlc.embed(n), coalesce(p.slug, '')::text AS slug FROM notifiers n LEFT JOIN pipelines p ON p.id = n.pipeline_id WHERE n.id = @id;

-- name: NotifierList :many
-- Lists the notifiers of a pipeline, with those of all pipelines if they are
-- shared, or every notifier, or only those of all pipelines, in the order of their
-- ids, which is that of their creation.
SELECT sqlc.embed(n), coalesce(p.slug, '')::text AS slug
FROM (
    SELECT a.id FROM notifiers a WHERE a.pipeline_id = sqlc.narg('pipeline_id')::uuid AND a.id > @after
    UNION ALL
    SELECT b.id FROM notifiers b WHERE b.pipeline_id IS NULL AND b.id > @after
      AND CASE WHEN sqlc.narg('pipeline_id') IS NULL THEN @only_shared::bool ELSE @shared::bool END
    UNION ALL
    (SELECT c.id FROM notifiers c WHERE sqlc.narg('pipeline_id') IS NULL AND NOT @only_shared::bool AND c.id > @after ORDER BY c.id LIMIT @page_limit)
) l JOIN notifiers n ON n.id = l.id LEFT JOIN pipelines p ON p.id = n.pipeline_id
ORDER BY n.id LIMIT @page_limit;

-- name: NotifierRemove :one
DELETE FROM notifiers WHERE id = @id RETURNING *;

-- name: NotifierEnable :one
UPDATE notifiers SET disabled_at = NULL, disabled_reason = '', failures = 0, retry_at = NULL WHERE id = @id RETURNING *;

-- name: NotifierRotate :one
-- Replaces the key that signs a webhook. Changes nothing if its target or its
-- earlier keys are not those that were read.
UPDATE notifiers SET target = @target, earlier_keys = @earlier_keys::bytea, earlier_until = @earlier_until::timestamptz
WHERE id = @id AND target = @read_target AND earlier_keys IS NOT DISTINCT FROM sqlc.narg('read_keys')::bytea
RETURNING *;

-- name: NotifierKeysExpire :exec
-- Deletes the earlier keys that sign no more.
UPDATE notifiers SET earlier_keys = NULL, earlier_until = NULL WHERE earlier_until <= now();

-- name: NotifierDisable :exec
-- Disables a notifier and records it in the audit trail. A trigger tells the
-- others.
WITH disabled AS (
    UPDATE notifiers n SET disabled_at = now(), disabled_reason = @reason WHERE n.id = @id AND n.disabled_at IS NULL
    RETURNING n.*
)
INSERT INTO audit (actor, action, subject, detail, pipeline_id, slug)
SELECT @actor, 'notifier.disable', d.kind || ' ' || d.label, d.disabled_reason, d.pipeline_id, coalesce(p.slug, '')
FROM disabled d LEFT JOIN pipelines p ON p.id = d.pipeline_id;

-- name: NotificationAdd :exec
INSERT INTO notifications (id, notifier_id, pipeline_id, event, details)
VALUES (@id, @notifier_id, sqlc.narg('pipeline_id'), @event, @details);

-- name: NotificationGet :one
SELECT * FROM notifications WHERE id = @id AND notifier_id = @notifier_id;

-- name: NotificationToSend :one
-- Returns a notification that has not ended, its notifier, and how long the
-- notifier's receiver is left alone.
SELECT sqlc.embed(m), sqlc.embed(n), greatest(CAST(date_part('epoch', n.retry_at - now()) AS float8), 0)::float8 AS pause_seconds
FROM notifications m JOIN notifiers n ON n.id = m.notifier_id
WHERE m.id = @id AND m.ended_at IS NULL;

-- name: NotificationList :many
-- Lists what a notifier was told, newest first.
SELECT * FROM notifications
WHERE notifier_id = @notifier_id AND (created_at, id) < (@before_time::timestamptz, @before_id::uuid)
ORDER BY created_at DESC, id DESC LIMIT @page_limit;

-- name: NotificationAgain :execrows
-- Makes an ended notification be sent again.
UPDATE notifications SET ended_at = NULL, delivered = false, done = '{}' WHERE id = @id AND notifier_id = @notifier_id AND ended_at IS NOT NULL;

-- name: NotificationRecord :exec
-- Records an attempt, under the claim. A failed one makes the receiver be left
-- alone for a while.
WITH tried AS (
    UPDATE notifications m
    SET attempts = m.attempts + 1, tried_at = now(), status = @status, answer = @answer, delivered = @delivered::bool,
        done = m.done || coalesce(sqlc.narg('done')::text[], '{}'),
        ended_at = CASE WHEN @delivered::bool THEN now() END
    WHERE m.id = @id AND m.ended_at IS NULL
      AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'notify' AND w.subject_id = m.id AND w.epoch = @epoch)
    RETURNING m.notifier_id
)
UPDATE notifiers n
SET failures = CASE WHEN @delivered::bool THEN 0 ELSE n.failures + 1 END,
    retry_at = CASE WHEN NOT @delivered::bool THEN now() + make_interval(secs => @pause_seconds::float8) END
FROM tried WHERE n.id = tried.notifier_id;

-- name: NotificationEnd :exec
-- Gives a notification up, under the claim.
UPDATE notifications m
SET ended_at = now(), answer = CASE WHEN @answer::text = '' THEN m.answer ELSE @answer END
WHERE m.id = @id AND m.ended_at IS NULL
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'notify' AND w.subject_id = m.id AND w.epoch = @epoch);

-- name: NotificationsRestore :execrows
-- Requests the work of notifications that has none, a few at a time.
INSERT INTO work (kind, subject_id)
SELECT 'notify', o.id FROM (
    SELECT m.id FROM notifications m
    WHERE m.ended_at IS NULL AND m.created_at <= now() - make_interval(secs => @grace_seconds::float8)
      AND (SELECT count(*) FROM work w WHERE w.subject_id = m.id AND w.kind = 'notify') = 0
    ORDER BY m.created_at LIMIT 500
) o
ON CONFLICT DO NOTHING;

-- name: NotificationsExpire :execrows
-- Deletes the oldest notifications, a few at a time.
DELETE FROM notifications WHERE id = ANY(ARRAY(
    SELECT m.id FROM notifications m WHERE m.created_at < now() - interval '30 days' ORDER BY m.created_at LIMIT 500));

-- name: QuotaNear :one
-- Records whether little is left of a pipeline's quota. Its notifiers are told
-- when that becomes true.
WITH marked AS (
    UPDATE storage s SET quota_near = @near WHERE s.pipeline_id = @pipeline_id AND s.quota_near <> @near RETURNING s.pipeline_id, s.quota_near
)
SELECT coalesce(sum(notify_about(m.pipeline_id, '{quota.near}', jsonb_build_object('storage', @storage::jsonb))), 0)::bigint AS told
FROM marked m WHERE m.quota_near;

-- name: NotificationsRecent :many
-- Returns the newest five notifications of each of some notifiers, the newest
-- first.
SELECT m.* FROM unnest(@notifier_ids::uuid[]) AS i (id)
CROSS JOIN LATERAL (SELECT x.* FROM notifications x WHERE x.notifier_id = i.id ORDER BY x.created_at DESC, x.id DESC LIMIT 5) m;
