-- name: TrafficLock :one
-- Returns a site's counts of a day, and locks them until the end of the
-- transaction. There is no row if the pipeline does not exist.
INSERT INTO traffic (pipeline_id, day)
SELECT p.id, @day FROM pipelines p WHERE p.id = @pipeline_id
ON CONFLICT (pipeline_id, day) DO UPDATE SET report = traffic.report
RETURNING report;

-- name: TrafficSet :exec
UPDATE traffic SET report = @report WHERE pipeline_id = @pipeline_id AND day = @day;

-- name: TrafficGet :many
-- Returns a site's counts since a day.
SELECT day, report FROM traffic WHERE pipeline_id = @pipeline_id AND day >= @since ORDER BY day;

-- name: TrafficExpire :execrows
-- Deletes counts of days before a day, some at a time.
DELETE FROM traffic WHERE ctid = ANY(ARRAY(
    SELECT t.ctid FROM traffic t
    WHERE t.day < @before
    ORDER BY t.day LIMIT 1000
    FOR UPDATE SKIP LOCKED));

-- name: TrafficPipelines :many
-- Returns the pipelines of distributions.
SELECT id, distribution_id::text AS distribution FROM pipelines WHERE distribution_id = ANY (@distributions::text[]);

-- name: LogFilesCounted :many
-- Returns those of the log files that were counted.
SELECT key, problem FROM log_files WHERE key = ANY (@keys::text[]);

-- name: LogFileCount :execrows
-- Records that a log file is counted. No row means that another worker has
-- counted it.
INSERT INTO log_files (key, problem) VALUES (@key, @problem) ON CONFLICT (key) DO NOTHING;

-- name: LogFilesRemoved :exec
-- Notes that log files were removed, so that their rows are soon unneeded.
UPDATE log_files SET expires_at = now() + interval '7 days' WHERE key = ANY (@keys::text[]);

-- name: LogFilesExpire :execrows
-- Deletes unneeded rows, some at a time.
DELETE FROM log_files WHERE ctid = ANY(ARRAY(
    SELECT l.ctid FROM log_files l
    WHERE l.expires_at < now()
    ORDER BY l.expires_at LIMIT 5000
    FOR UPDATE SKIP LOCKED));
