-- When pipelines deploy by themselves. Those who change a schedule have locked
-- the pipeline.

-- name: ScheduleGet :one
SELECT * FROM schedules WHERE pipeline_id = @pipeline_id;

-- name: SchedulesOf :many
SELECT * FROM schedules WHERE pipeline_id = ANY(@pipeline_ids::uuid[]);

-- name: ScheduleSet :one
INSERT INTO schedules (pipeline_id, cron, zone, next_at, set_by) VALUES (@pipeline_id, @cron, @zone, @next_at, @set_by)
ON CONFLICT (pipeline_id) DO UPDATE
SET cron = excluded.cron, zone = excluded.zone, next_at = excluded.next_at, problem = '', set_by = excluded.set_by, set_at = now()
RETURNING *;

-- name: ScheduleRemove :one
DELETE FROM schedules WHERE pipeline_id = @pipeline_id RETURNING *;

-- name: ScheduleDone :exec
-- Records that a schedule was carried out, and when it is due next.
UPDATE schedules SET last_at = now(), problem = @problem, next_at = @next_at WHERE pipeline_id = @pipeline_id;
