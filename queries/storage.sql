-- What pipelines use of their quotas, and what they need of what the store has.

-- name: StorageGet :one
-- Returns what a pipeline uses, and its own quotas.
SELECT p.id, coalesce(s.used_files, 0)::bigint AS used_files, coalesce(s.used_bytes, 0)::bigint AS used_bytes,
       coalesce(s.used_changes, 0)::bigint AS used_changes, s.counted_at,
       (SELECT count(*) FROM releases r
        WHERE r.pipeline_id = p.id AND r.finalized_at IS NULL AND r.given_up_at IS NULL AND r.expires_at > now())::bigint AS open_releases,
       q.bytes AS quota_bytes, q.files AS quota_files, q.open_releases AS quota_open_releases, q.set_by AS quota_set_by, q.set_at AS quota_set_at
FROM pipelines p LEFT JOIN storage s ON s.pipeline_id = p.id LEFT JOIN quotas q ON q.pipeline_id = p.id
WHERE p.id = @pipeline_id;

-- name: StorageAdd :exec
-- Counts a tree. The caller has locked the pipeline.
WITH tree AS (
    INSERT INTO counted_trees (tree_id, pipeline_id) VALUES (@tree_id, @pipeline_id) ON CONFLICT DO NOTHING
)
INSERT INTO storage AS s (pipeline_id, deployments, files, bytes, used_files, used_bytes, used_changes)
VALUES (@pipeline_id, 0, 0, 0, @used_files, @used_bytes, 1)
ON CONFLICT (pipeline_id) DO UPDATE
SET used_files = s.used_files + excluded.used_files, used_bytes = s.used_bytes + excluded.used_bytes, used_changes = s.used_changes + 1;

-- name: TreeCounted :one
SELECT EXISTS (SELECT 1 FROM counted_trees WHERE tree_id = @tree_id) AS counted;

-- name: StorageCount :execrows
-- Records what a pipeline uses. Does nothing if a tree was added since the
-- count began, which is when used_changes was read.
INSERT INTO storage AS s (pipeline_id, deployments, files, bytes, used_files, used_bytes, used_changes, counted_at)
SELECT p.id, 0, 0, 0, @used_files::bigint, @used_bytes::bigint, @used_changes::bigint, now() FROM pipelines p WHERE p.id = @pipeline_id
ON CONFLICT (pipeline_id) DO UPDATE
SET used_files = excluded.used_files, used_bytes = excluded.used_bytes, counted_at = now()
WHERE s.used_changes = excluded.used_changes;

-- name: TreesSort :many
-- Says of the trees that the store has which are needed, which count, and
-- which can be removed. Deployments and unfinished uploads need their trees. A
-- tree can be removed if its row says that it was given up. One without a row
-- can only be removed if it is older than the live deployment: after this
-- database was restored from a backup, the site may show a newer tree.
WITH listed AS (
    SELECT unnest(@tree_ids::uuid[]) AS tree_id
), of_deployments AS (
    SELECT d.tree_id, bool_or(d.pruned_at IS NULL) AS kept, bool_or(d.pruned_at IS NULL AND d.manifest_digest IS NOT NULL) AS complete
    FROM deployments d WHERE d.pipeline_id = @pipeline_id AND d.tree_id = ANY(@tree_ids::uuid[]) GROUP BY d.tree_id
), sorted AS (
    SELECT l.tree_id,
           (coalesce(d.kept, false) OR coalesce(r.finalized_at IS NULL AND r.given_up_at IS NULL AND r.id IS NOT NULL, false)) AS needed,
           (coalesce(d.complete, false) OR c.tree_id IS NOT NULL) AS counts,
           (d.tree_id IS NOT NULL OR r.id IS NOT NULL) AS known
    FROM listed l
    LEFT JOIN of_deployments d ON d.tree_id = l.tree_id
    LEFT JOIN releases r ON r.id = l.tree_id AND r.pipeline_id = @pipeline_id
    LEFT JOIN counted_trees c ON c.tree_id = l.tree_id AND c.pipeline_id = @pipeline_id
)
SELECT s.tree_id::uuid AS tree_id, (s.needed AND s.counts)::bool AS counts,
       (NOT s.needed AND (s.known OR s.tree_id < p.live_deployment_id))::bool AS unneeded
FROM sorted s, pipelines p WHERE p.id = @pipeline_id
ORDER BY s.tree_id;

-- name: TreesForget :exec
DELETE FROM counted_trees WHERE pipeline_id = @pipeline_id AND tree_id = ANY(@tree_ids::uuid[]);

-- name: QuotaSet :exec
INSERT INTO quotas (pipeline_id, bytes, files, open_releases, set_by)
VALUES (@pipeline_id, sqlc.narg('bytes'), sqlc.narg('files'), sqlc.narg('open_releases'), @set_by)
ON CONFLICT (pipeline_id) DO UPDATE
SET bytes = excluded.bytes, files = excluded.files, open_releases = excluded.open_releases, set_by = excluded.set_by, set_at = now();

-- name: RetentionRequest :execrows
-- Requests retention for pipelines whose files were not counted for a day, the
-- longest first, a few at a time.
INSERT INTO work (kind, subject_id)
SELECT 'retention', s.pipeline_id FROM storage s
WHERE s.counted_at < now() - interval '1 day'
ORDER BY s.counted_at LIMIT 20
ON CONFLICT DO NOTHING;

-- name: StorageTotals :one
-- Returns what all pipelines use together.
SELECT coalesce(sum(used_files), 0)::bigint AS files, coalesce(sum(used_bytes), 0)::bigint AS bytes FROM storage;
