-- What the page about Troy itself shows.

-- name: WorkerSeen :exec
-- Notes that a process runs the workers, and what it runs. It does not wait for
-- the disk.
WITH prompt AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO workers (id, host, pid, version, slots, build_slots, running)
SELECT @id, @host, @pid, @version, @slots, @build_slots, @running FROM prompt
ON CONFLICT (id) DO UPDATE SET running = excluded.running, seen_at = now();

-- name: WorkerGone :exec
-- Removes a process that stops, and those that were silent for a day.
DELETE FROM workers WHERE id = @id OR seen_at < now() - interval '1 day';

-- name: WorkerList :many
-- Lists the processes that run the workers. Killed ones stay for a day.
SELECT id, host, pid, version, slots, build_slots, running, started_at, seen_at, (seen_at < now() - interval '30 seconds')::bool AS silent
FROM workers WHERE seen_at > now() - interval '1 day' ORDER BY seen_at < now() - interval '30 seconds', host, started_at LIMIT 200;

-- name: ForgeAccessList :many
-- Lists Troy's access to forges.
SELECT provider, id, account, state, changed_at FROM installations WHERE state <> 'deleted'
ORDER BY provider, account, id LIMIT @page_limit;

-- name: StorageList :many
-- Lists what pipelines store, the largest first. The page ends before the
-- pipeline with these bytes and id.
SELECT s.pipeline_id, p.slug, p.name, s.deployments, s.files, s.bytes, s.used_files, s.used_bytes, q.bytes AS quota_bytes
FROM storage s JOIN pipelines p ON p.id = s.pipeline_id LEFT JOIN quotas q ON q.pipeline_id = p.id
WHERE (s.used_bytes, s.pipeline_id) < (@before_bytes::bigint, @before_id::uuid)
ORDER BY s.used_bytes DESC, s.pipeline_id DESC LIMIT @page_limit;

-- name: StorageOf :many
-- Is StorageList for some pipelines.
SELECT s.pipeline_id, p.slug, p.name, s.deployments, s.files, s.bytes, s.used_files, s.used_bytes, q.bytes AS quota_bytes
FROM storage s JOIN pipelines p ON p.id = s.pipeline_id LEFT JOIN quotas q ON q.pipeline_id = p.id
WHERE s.pipeline_id = ANY(@pipeline_ids::uuid[]) AND (s.used_bytes, s.pipeline_id) < (@before_bytes::bigint, @before_id::uuid)
ORDER BY s.used_bytes DESC, s.pipeline_id DESC LIMIT @page_limit;
