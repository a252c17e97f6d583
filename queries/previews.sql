-- Previews. They never change the pipeline's status or what is live. Every
-- statement that changes one runs behind the pipeline's lock.

-- name: PreviewGet :one
SELECT * FROM previews WHERE id = @id;

-- name: PreviewOfLabel :one
SELECT * FROM previews WHERE pipeline_id = @pipeline_id AND label = @label;

-- name: PreviewOfSource :one
SELECT * FROM previews WHERE pipeline_id = @pipeline_id AND kind = @kind AND source = @source;

-- name: PreviewsOfPullRequest :many
-- Returns the previews of a pull request in all pipelines.
SELECT * FROM previews WHERE kind = 'pull_request' AND repository_id = @repository_id::text AND number = @number::bigint
ORDER BY pipeline_id LIMIT 1000;

-- name: PreviewList :many
-- Lists the open previews of a pipeline, the newest push first, each with its
-- newest deployment and the one that it shows. The page begins after the preview
-- with this time and id.
SELECT sqlc.embed(v), coalesce(d.number, 0)::bigint AS newest_number, coalesce(d.state, '')::text AS newest_state, coalesce(d.cause, '')::text AS newest_cause,
       coalesce(l.number, 0)::bigint AS live_number, l.finished_at AS live_at
FROM previews v
LEFT JOIN LATERAL (
    SELECT x.number, x.state, x.cause FROM deployments x WHERE x.preview_id = v.id AND x.preview_id IS NOT NULL ORDER BY x.number DESC LIMIT 1
) d ON true
LEFT JOIN LATERAL (SELECT y.number, y.finished_at FROM deployments y WHERE y.id = v.live_deployment_id LIMIT 1) l ON true
WHERE v.pipeline_id = @pipeline_id AND v.closed_at IS NULL AND (v.pushed_at, v.id) < (@before_time::timestamptz, @before_id::uuid)
ORDER BY v.pushed_at DESC, v.id DESC LIMIT @page_limit;

-- name: PreviewNewest :one
-- Returns the newest deployment of a preview.
SELECT * FROM deployments WHERE preview_id = @preview_id::uuid AND preview_id IS NOT NULL ORDER BY number DESC LIMIT 1;

-- name: PreviewsOpen :one
-- Counts the open previews of a pipeline.
SELECT count(*) FROM previews WHERE pipeline_id = @pipeline_id AND closed_at IS NULL;

-- name: PreviewToEvict :one
-- Returns the open preview whose newest push is the oldest, without pinned ones
-- and one to keep. Those that show nothing and wait for an approval come first,
-- so that strangers can't push out the previews of others.
SELECT * FROM previews
WHERE pipeline_id = @pipeline_id AND closed_at IS NULL AND NOT pinned AND id <> @keep
ORDER BY trusted OR live_deployment_id IS NOT NULL OR approved_commit IS NOT DISTINCT FROM head_commit, pushed_at, id LIMIT 1;

-- name: PreviewsToExpire :many
SELECT id, pipeline_id FROM previews
WHERE closed_at IS NULL AND NOT pinned AND expires_at <= now()
ORDER BY expires_at LIMIT 100;

-- name: PreviewOpen :one
-- Makes a preview, opens it again, or updates what is known of its source.
INSERT INTO previews AS v (id, pipeline_id, kind, source, label, repository_id, number, branch, title, author, url, trusted, created_by, expires_at, commented)
VALUES (@id, @pipeline_id, @kind, @source, @label, sqlc.narg('repository_id'), sqlc.narg('number'), @branch, @title, @author, @url, @trusted, @actor,
        now() + make_interval(secs => @valid_seconds::float8), false)
ON CONFLICT (pipeline_id, kind, source) DO UPDATE
SET branch = excluded.branch, title = excluded.title, author = excluded.author, url = excluded.url, trusted = excluded.trusted, updated_at = now(),
    expires_at = CASE WHEN v.closed_at IS NULL THEN v.expires_at ELSE excluded.expires_at END,
    pushed_at = CASE WHEN v.closed_at IS NULL THEN v.pushed_at ELSE now() END,
    pinned = v.pinned AND v.closed_at IS NULL,
    closed_at = NULL, closed_by = '', closed_cause = '', removed_at = NULL
RETURNING *;

-- name: PreviewRelabel :exec
-- Gives the label of a removed preview away.
UPDATE previews SET label = @label WHERE id = @id AND removed_at IS NOT NULL;

-- name: PreviewSetPinned :exec
-- Pins a preview, or counts its expiry from now.
UPDATE previews
SET pinned = @pinned, updated_at = now(),
    expires_at = CASE WHEN @pinned::boolean THEN expires_at ELSE greatest(expires_at, now() + make_interval(secs => @valid_seconds::float8)) END
WHERE id = @id AND closed_at IS NULL;

-- name: PreviewSetHead :exec
-- Records a commit that is not built, because it is not approved.
UPDATE previews
SET head_commit = @head_commit::text, pushed_at = now(), updated_at = now(), expires_at = now() + make_interval(secs => @valid_seconds::float8)
WHERE id = @id AND closed_at IS NULL;

-- name: PreviewApprove :exec
UPDATE previews SET approved_commit = @approved_commit::text, approved_by = @approved_by, updated_at = now()
WHERE id = @id AND closed_at IS NULL;

-- name: PreviewDeploymentCreate :one
-- Accepts a deployment of an open preview. It supersedes those of the preview
-- that wait or are being built.
WITH numbered AS (
    UPDATE pipelines p SET last_number = p.last_number + 1
    FROM previews v
    WHERE v.id = @preview_id::uuid AND v.closed_at IS NULL AND p.id = v.pipeline_id
      AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
    RETURNING p.id, p.last_number
), created AS (
    INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, source_deployment_id, commit_sha, branch, author,
                             message, actor, manifest_digest, files, bytes, preview_id, trusted)
    SELECT @id, numbered.id, numbered.last_number, 'preview', 'waiting', @tree_id, sqlc.narg('source_deployment_id'), sqlc.narg('commit_sha'),
           sqlc.narg('branch'), sqlc.narg('author'), @message, @actor, sqlc.narg('manifest_digest'), @files, @bytes, @preview_id::uuid, @trusted
    FROM numbered
    RETURNING *
), renewed AS (
    UPDATE previews v
    SET pushed_at = now(), updated_at = now(), expires_at = now() + make_interval(secs => @valid_seconds::float8),
        head_commit = coalesce(sqlc.narg('commit_sha')::text, v.head_commit)
    FROM created WHERE v.id = created.preview_id
), ended AS (
    UPDATE deployments d
    SET state = 'superseded', finished_at = now(), cause = 'a newer deployment of the preview took its place'
    FROM created, deployments was
    WHERE d.preview_id = @preview_id::uuid AND d.preview_id IS NOT NULL AND was.id = d.id AND d.state IN ('waiting', 'building') AND d.number < created.number
    RETURNING d.id, was.state AS was
), unasked AS (
    DELETE FROM work w USING ended WHERE w.subject_id = ended.id AND w.kind IN ('preview:build', 'preview:publish')
), stopped AS (
    -- Stops its build, wherever it runs, and removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', ended.id FROM ended WHERE ended.was = 'building'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), asked AS (
    INSERT INTO work (kind, subject_id)
    SELECT CASE WHEN created.manifest_digest IS NULL THEN 'preview:build' ELSE 'preview:publish' END, created.id FROM created
)
SELECT id FROM created;

-- name: PreviewBuildStart :one
-- Moves a deployment of a preview from waiting to building, under the claim on
-- preview:build, unless another one of the preview runs. It waits for the disk no
-- more than BuildStart does.
WITH prompt AS (
    SELECT set_config('synchronous_commit', 'off', true)
), held AS (
    SELECT w.subject_id FROM work w WHERE w.kind = 'preview:build' AND w.subject_id = @id AND w.epoch = @epoch FOR UPDATE OF w
), started AS (
    UPDATE deployments d SET state = 'building', started_at = now()
    FROM held, previews v
    WHERE d.id = held.subject_id AND d.pipeline_id = @pipeline_id AND d.state = 'waiting' AND v.id = d.preview_id AND v.closed_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM deployments r WHERE r.preview_id = d.preview_id AND r.state IN ('building', 'publishing') AND r.preview_id IS NOT NULL)
    RETURNING d.id
), built AS (
    INSERT INTO builds (deployment_id) SELECT started.id FROM started ON CONFLICT DO NOTHING
)
SELECT started.id FROM started, prompt;

-- name: PreviewBuildPublish :one
-- Moves a deployment of a preview from building to publishing, after its build
-- has ended and its files are stored.
WITH held AS (
    SELECT w.subject_id FROM work w WHERE w.kind = @kind AND w.subject_id = @id AND w.epoch = @epoch FOR UPDATE OF w
), moved AS (
    UPDATE deployments d
    SET state = 'publishing', manifest_digest = @manifest_digest, files = @files, bytes = @bytes
    FROM held WHERE d.id = held.subject_id AND d.state = 'building' AND d.preview_id IS NOT NULL
    RETURNING d.id
), done AS (
    DELETE FROM work w USING moved WHERE w.kind = @kind AND w.subject_id = moved.id
), emptied AS (
    -- Removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', moved.id FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'preview:publish', moved.id FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;

-- name: PreviewPublishStart :one
-- Moves a deployment of a preview whose files were uploaded from waiting to
-- publishing, under the claim on preview:publish, unless another one of the
-- preview runs.
WITH held AS (
    SELECT w.subject_id FROM work w WHERE w.kind = 'preview:publish' AND w.subject_id = @id AND w.epoch = @epoch FOR UPDATE OF w
)
UPDATE deployments d SET state = 'publishing', started_at = now()
FROM held, previews v
WHERE d.id = held.subject_id AND d.pipeline_id = @pipeline_id AND d.state = 'waiting' AND v.id = d.preview_id AND v.closed_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM deployments r WHERE r.preview_id = d.preview_id AND r.state IN ('building', 'publishing') AND r.preview_id IS NOT NULL)
RETURNING d.id;

-- name: PreviewRecordSealed :execrows
-- Records that the tree is complete and durable. From here on an address may
-- show it.
UPDATE deployments d
SET sealed_at = coalesce(d.sealed_at, now())
WHERE d.id = @id AND d.state = 'publishing'
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'preview:publish' AND w.subject_id = d.id AND w.epoch = @epoch);

-- name: PreviewSucceed :one
-- Ends the publication of a preview's deployment. If the preview was closed
-- meanwhile, the deployment is cancelled, and the preview's removal, which
-- waited for this, removes what the deployment published.
WITH held AS (
    SELECT w.subject_id FROM work w WHERE w.kind = 'preview:publish' AND w.subject_id = @id AND w.epoch = @epoch FOR UPDATE OF w
), ended AS (
    UPDATE deployments d
    SET state = CASE WHEN v.closed_at IS NULL THEN 'succeeded' ELSE 'cancelled' END, finished_at = now(),
        cause = CASE WHEN v.closed_at IS NULL THEN '' ELSE 'the preview is being deleted' END
    FROM held, previews v
    WHERE d.id = held.subject_id AND d.state = 'publishing' AND v.id = d.preview_id
    RETURNING d.id, d.pipeline_id, d.preview_id, d.state
), shown AS (
    UPDATE previews v SET live_deployment_id = ended.id, updated_at = now()
    FROM ended WHERE v.id = ended.preview_id AND ended.state = 'succeeded'
), done AS (
    DELETE FROM work w USING ended WHERE w.kind = 'preview:publish' AND w.subject_id = ended.id
), tidy AS (
    INSERT INTO work (kind, subject_id, due_at)
    SELECT 'retention', ended.pipeline_id, now() + make_interval(secs => @retention_seconds::float8) FROM ended
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = least(work.due_at, excluded.due_at), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM ended;

-- name: PreviewFail :one
-- Marks a deployment of a preview as failed. The claim is on preview:build,
-- preview:publish or deployment:poll-build. What the preview showed stays.
WITH held AS (
    SELECT w.subject_id FROM work w WHERE w.kind = @kind AND w.subject_id = @id AND w.epoch = @epoch FOR UPDATE OF w
), ended AS (
    UPDATE deployments d SET state = 'failed', cause = @cause, finished_at = now()
    FROM held
    WHERE d.id = held.subject_id AND d.state IN ('waiting', 'building', 'publishing') AND d.preview_id IS NOT NULL
    RETURNING d.id, d.pipeline_id
), done AS (
    DELETE FROM work w USING ended WHERE w.kind = @kind AND w.subject_id = ended.id AND @kind <> 'deployment:poll-build'
), again AS (
    UPDATE work w
    SET lease_until = NULL, due_at = now(), since = now(), attempt = 0, cause = '', epoch = nextval('work_epochs')
    FROM ended WHERE w.kind = @kind AND w.subject_id = ended.id AND @kind = 'deployment:poll-build'
), emptied AS (
    -- Stops its build, wherever it runs, and removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', ended.id FROM ended WHERE @kind = 'preview:build'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM ended;

-- name: PreviewDeploymentCancel :one
-- Ends a deployment of a preview that is waiting or building.
WITH ended AS (
    UPDATE deployments d SET state = 'cancelled', cause = @cause, finished_at = now()
    FROM deployments was
    WHERE d.id = @id AND was.id = d.id AND d.state IN ('waiting', 'building') AND d.preview_id IS NOT NULL
    RETURNING d.id, was.state AS was
), unasked AS (
    DELETE FROM work w USING ended WHERE w.subject_id = ended.id AND w.kind IN ('preview:build', 'preview:publish')
), stopped AS (
    -- Stops its build, wherever it runs, and removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', ended.id FROM ended WHERE ended.was = 'building'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM ended;

-- name: PreviewClose :one
-- Closes a preview, cancels its deployments that wait or are being built, and
-- requests its removal. The removal waits for one that is publishing.
WITH closed AS (
    UPDATE previews v
    SET closed_at = now(), closed_by = @actor, closed_cause = @cause, live_deployment_id = NULL, updated_at = now()
    WHERE v.id = @id AND v.closed_at IS NULL
    RETURNING v.id
), ended AS (
    UPDATE deployments d SET state = 'cancelled', cause = 'the preview is being deleted', finished_at = now()
    FROM closed, deployments was
    WHERE d.preview_id = closed.id AND d.preview_id IS NOT NULL AND was.id = d.id AND d.state IN ('waiting', 'building')
    RETURNING d.id, was.state AS was
), unasked AS (
    DELETE FROM work w USING ended WHERE w.subject_id = ended.id AND w.kind IN ('preview:build', 'preview:publish')
), stopped AS (
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', ended.id FROM ended WHERE ended.was = 'building'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'preview:remove', closed.id FROM closed
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM closed;

-- name: PreviewsOpenOf :many
-- Returns the open previews of some pipelines.
SELECT * FROM previews WHERE pipeline_id = ANY(@pipeline_ids::uuid[]) AND closed_at IS NULL;

-- name: PreviewPublishing :one
-- Reports whether a deployment of a preview is publishing, so that its addresses
-- may still change.
SELECT EXISTS (SELECT 1 FROM deployments d WHERE d.preview_id = @preview_id::uuid AND d.preview_id IS NOT NULL AND d.state = 'publishing');

-- name: PreviewNumbers :many
-- Returns the numbers of a preview's deployments that may have an address, up to
-- a number.
SELECT number FROM deployments
WHERE preview_id = @preview_id::uuid AND preview_id IS NOT NULL AND number <= @up_to AND pruned_at IS NULL AND manifest_digest IS NOT NULL
ORDER BY number LIMIT 10000;

-- name: PreviewMarkRemoved :one
-- Records that the addresses of a closed preview are gone, and requests the
-- removal of its files. It does nothing if the preview was opened and closed
-- again meanwhile: deployments after up_to may have addresses. The removal then
-- runs again.
WITH removed AS (
    UPDATE previews v SET removed_at = now(), updated_at = now()
    WHERE v.id = @id AND v.pipeline_id = @pipeline_id AND v.closed_at IS NOT NULL AND v.removed_at IS NULL
      AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'preview:remove' AND w.subject_id = v.id AND w.epoch = @epoch)
      AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.preview_id = v.id AND d.preview_id IS NOT NULL AND d.number > @up_to)
    RETURNING v.id, v.pipeline_id
), tidy AS (
    INSERT INTO work (kind, subject_id) SELECT 'retention', removed.pipeline_id FROM removed
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM removed;

-- name: PreviewsMustWait :one
-- Reports whether a build of a site waits for a worker. Builds of previews begin
-- after it.
SELECT ((EXISTS (SELECT 1 FROM work w WHERE w.kind = 'deployment:build' AND w.ring_id IS NULL AND w.lease_until IS NULL AND w.due_at <= now() LIMIT 1)
      OR EXISTS (SELECT 1 FROM work w WHERE w.kind = 'deployment:build' AND w.ring_id IS NOT NULL AND w.due_at <= now() LIMIT 1))
    AND NOT EXISTS (SELECT 1 FROM pauses WHERE pauses.queue = 'builds'))::boolean AS wait;

-- name: DeploymentsAddressed :many
-- Returns the newest deployments of a pipeline that have an address of their own.
SELECT d.number, d.tree_id FROM deployments d
WHERE d.pipeline_id = @pipeline_id AND d.state = 'succeeded' AND d.pruned_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM previews v WHERE v.id = d.preview_id AND v.closed_at IS NOT NULL)
ORDER BY d.number DESC LIMIT 1000;

-- name: PreviewsOfBranches :batchmany
-- Returns the open previews of pipelines' branches.
SELECT v.* FROM previews v WHERE v.pipeline_id = ANY(@pipeline_ids::uuid[]) AND v.closed_at IS NULL AND v.kind = 'branch' LIMIT 10000;
