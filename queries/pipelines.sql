-- name: PipelineGet :one
SELECT * FROM pipelines WHERE id = @id;

-- name: PipelinesKnown :many
-- Returns those of the ids that belong to pipelines.
SELECT id FROM pipelines WHERE id = ANY(@ids::uuid[]);

-- name: PipelineGetBySlug :one
SELECT * FROM pipelines WHERE slug = @slug;

-- name: PipelineGetByApp :one
SELECT * FROM pipelines
WHERE app_id = @app_id::text AND status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete');

-- name: PipelineList :many
-- Returns the newest first. The page ends before the pipeline with the id
-- in before.
SELECT * FROM pipelines WHERE id < @before::uuid ORDER BY id DESC LIMIT @page_limit;

-- name: PipelineListOfStatus :many
SELECT * FROM pipelines WHERE status || '' = @status::text AND id < @before::uuid ORDER BY id DESC LIMIT @page_limit;

-- name: PipelineListOf :many
-- Returns those with the ids, of one status or of all.
SELECT * FROM pipelines
WHERE id = ANY(@ids::uuid[]) AND id < @before::uuid AND (sqlc.narg('status')::text IS NULL OR status = sqlc.narg('status'))
ORDER BY id DESC LIMIT @page_limit;

-- name: PipelineHost :one
SELECT host FROM domains WHERE pipeline_id = @pipeline_id AND kind = 'site';

-- name: PipelineLocks :batchone
-- Locks a pipeline for the rest of the transaction. Later statements see
-- everything that was committed before the lock was acquired.
SELECT * FROM pipelines WHERE id = @id FOR UPDATE;

-- name: PipelineCreate :one
-- Creates a pipeline in Pre Provisioned.
WITH created AS (
    INSERT INTO pipelines (id, app_id, name, slug, repository_provider, repository_full_name, repository_branch, repository_root)
    VALUES (@id, sqlc.narg('app_id'), @name, @slug, sqlc.narg('repository_provider'), sqlc.narg('repository_full_name'),
            sqlc.narg('repository_branch'), sqlc.narg('repository_root'))
    RETURNING *
), domain AS (
    INSERT INTO domains (host, pipeline_id, kind) SELECT @host, created.id, 'site' FROM created
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT created.id, 1, created.slug, NULL, 'pre_provisioned', @cause, @actor FROM created
)
SELECT id FROM created;

-- name: PipelineConfigure :exec
-- Records the source and the build settings of a pipeline, and forgets what of
-- its workspace does not concern the site, which depends on them. The caller
-- has locked the row.
UPDATE pipelines
SET repository_provider = sqlc.narg('repository_provider'), repository_full_name = sqlc.narg('repository_full_name'),
    repository_branch = sqlc.narg('repository_branch'), repository_root = sqlc.narg('repository_root'),
    repository_id = sqlc.narg('repository_id'), head_commit = sqlc.narg('head_commit'), source_problem = @source_problem,
    held_push = CASE WHEN sqlc.narg('head_commit')::text IS NULL THEN NULL ELSE held_push END,
    watch_paths = @watch_paths, cancel_running = @cancel_running, build_settings = @build_settings, unwatched = '{}', updated_at = now()
WHERE id = @id;

-- name: PipelineSetLock :exec
-- The caller has locked the row.
UPDATE pipelines SET locked_at = now(), locked_by = @locked_by, lock_reason = @lock_reason, updated_at = now() WHERE id = @id;

-- name: PipelineHold :exec
-- Records the newest push that the lock held back.
UPDATE pipelines SET held_push = @held_push WHERE id = @id AND locked_at IS NOT NULL;

-- name: PipelineAsk :exec
-- Records the newest push about which the forge is asked.
UPDATE pipelines SET asked_commit = @asked_commit, asked_by = @asked_by WHERE id = @id;

-- name: PipelineRemoveLock :exec
-- Removes the lock. The caller has locked the row and deploys the push that
-- was held back. If there is a source problem the caller can't deploy it.
-- The statement then clears the head commit, so that the next check of the
-- branch finds the push.
UPDATE pipelines
SET locked_at = NULL, locked_by = '', lock_reason = '', held_push = NULL, updated_at = now(),
    head_commit = CASE WHEN held_push IS NOT NULL AND source_problem <> '' THEN NULL ELSE head_commit END
WHERE id = @id;

-- name: PipelineRequestProvision :one
-- Moves a pipeline from Pre Provisioned or Failed to Provision to Provision
-- Request.
WITH before AS (
    SELECT p.id, p.status FROM pipelines p
    WHERE p.id = @id AND p.status IN ('pre_provisioned', 'failed_to_provision') FOR UPDATE
), moved AS (
    UPDATE pipelines p
    SET status = 'provision_request', cause = '', version = p.version + 1, updated_at = now()
    FROM before WHERE p.id = before.id
    RETURNING p.*, before.status AS was
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, was, 'provision_request', @cause, @actor FROM moved
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:provision', moved.id FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;

-- name: PipelineMarkProvisioning :one
-- Moves a pipeline from Provision Request to Provisioning, under the claim
-- on pipeline:provision.
WITH before AS (
    SELECT p.id FROM pipelines p WHERE p.id = @id AND p.status = 'provision_request' FOR UPDATE
), held AS (
    SELECT w.subject_id FROM work w, before
    WHERE w.kind = 'pipeline:provision' AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), moved AS (
    UPDATE pipelines p
    SET status = 'provisioning', version = p.version + 1, updated_at = now()
    FROM held WHERE p.id = held.subject_id
    RETURNING p.*
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, 'provision_request', 'provisioning', @cause, @actor FROM moved
)
SELECT id FROM moved;

-- name: PipelineRecordDistribution :execrows
-- Records the distribution in every status, guarded only by the claim.
UPDATE pipelines p
SET distribution_id = @distribution_id, distribution_domain = @distribution_domain, updated_at = now()
WHERE p.id = @id
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = @kind AND w.subject_id = p.id AND w.epoch = @epoch);

-- name: PipelineRecordHost :execrows
UPDATE pipelines p
SET record_host = @record_host::text, updated_at = now()
WHERE p.id = @id
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = @kind AND w.subject_id = p.id AND w.epoch = @epoch);

-- name: PipelineMarkReady :one
-- Moves a pipeline from Provisioning to Ready for Deployment, and on to
-- Queued if a deployment waits.
WITH before AS (
    SELECT p.id, EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'waiting' AND d.preview_id IS NULL) AS waits
    FROM pipelines p WHERE p.id = @id AND p.status = 'provisioning' FOR UPDATE OF p
), held AS (
    SELECT w.subject_id, before.waits FROM work w, before
    WHERE w.kind = 'pipeline:provision' AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), moved AS (
    UPDATE pipelines p
    SET status = CASE WHEN held.waits THEN 'queued' ELSE 'ready_for_deployment' END,
        cause = '', version = p.version + CASE WHEN held.waits THEN 2 ELSE 1 END, updated_at = now()
    FROM held WHERE p.id = held.subject_id
    RETURNING p.*, held.waits
), ready AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version - CASE WHEN waits THEN 1 ELSE 0 END, moved.slug, 'provisioning', 'ready_for_deployment', @cause, @actor FROM moved
), queued AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, 'ready_for_deployment', 'queued', 'a deployment was waiting for provisioning', @actor FROM moved WHERE waits
), done AS (
    DELETE FROM work w USING held WHERE w.kind = 'pipeline:provision' AND w.subject_id = held.subject_id
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:deploy', moved.id FROM moved WHERE waits
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;

-- name: PipelineFailProvision :one
-- Moves a pipeline from Provision Request or Provisioning to Failed to
-- Provision.
WITH before AS (
    SELECT p.id, p.status FROM pipelines p
    WHERE p.id = @id AND p.status IN ('provision_request', 'provisioning') FOR UPDATE
), held AS (
    SELECT w.subject_id, before.status FROM work w, before
    WHERE w.kind = 'pipeline:provision' AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), moved AS (
    UPDATE pipelines p
    SET status = 'failed_to_provision', cause = @cause, version = p.version + 1, updated_at = now()
    FROM held WHERE p.id = held.subject_id
    RETURNING p.*, held.status AS was
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, was, 'failed_to_provision', @cause, @actor FROM moved
), done AS (
    DELETE FROM work w USING held WHERE w.kind = 'pipeline:provision' AND w.subject_id = held.subject_id
)
SELECT id FROM moved;

-- name: PipelineScheduleDeletion :one
-- Moves a pipeline from any status before deletion, or from Failed to
-- Delete, to Scheduled for Deletion. The deletion begins after the grace
-- period, at once from Failed to Delete. Deletes the pipeline's work rows
-- that no worker holds, except those that protect its site, which is served
-- for a while longer. A worker that holds one keeps its lease and finds
-- that the status has changed. Cancels unfinished deployments.
WITH before AS (
    SELECT p.id, p.status, p.cause,
           CASE WHEN @grace_seconds::float8 > 0 AND p.status <> 'failed_to_delete' THEN now() + make_interval(secs => @grace_seconds::float8) END AS due_at
    FROM pipelines p
    WHERE p.id = @id AND p.status NOT IN ('scheduled_for_deletion', 'deleting') FOR UPDATE
), moved AS (
    UPDATE pipelines p
    SET status = 'scheduled_for_deletion', cause = '', version = p.version + 1, updated_at = now(),
        delete_due_at = before.due_at, delete_asked_at = now(), delete_asked_by = @actor,
        restore_cause = CASE WHEN before.status IN ('provisioning', 'queued', 'deploying') THEN '' ELSE before.cause END,
        restore_status = CASE
            WHEN before.status = 'provisioning' THEN 'provision_request'
            WHEN before.status IN ('queued', 'deploying') AND p.live_deployment_id IS NULL THEN 'ready_for_deployment'
            WHEN before.status IN ('queued', 'deploying') THEN 'deployed'
            ELSE before.status END
    FROM before WHERE p.id = before.id
    RETURNING p.*, before.status AS was
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, was, 'scheduled_for_deletion', @cause, @actor FROM moved
), cancelled AS (
    UPDATE deployments d
    SET state = 'cancelled', finished_at = now(), cause = 'the pipeline is being deleted'
    FROM moved, deployments was
    WHERE d.pipeline_id = moved.id AND was.id = d.id AND d.state IN ('waiting', 'building', 'publishing')
    RETURNING d.id, d.kind, was.state AS was, moved.delete_due_at IS NOT NULL AS undoable
), unasked AS (
    DELETE FROM work w USING cancelled
    WHERE w.subject_id = cancelled.id AND (w.kind LIKE 'deployment:%' AND (w.kind = 'deployment:build' OR NOT cancelled.undoable) OR w.kind LIKE 'preview:%')
), stopped AS (
    -- Stops its build, wherever it runs, and removes the build's files. Without
    -- a grace period, teardown does that.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', cancelled.id FROM cancelled WHERE cancelled.was = 'building' AND cancelled.undoable
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), report AS (
    INSERT INTO work (kind, subject_id) SELECT 'forge:report', cancelled.id FROM cancelled WHERE cancelled.kind = 'automated'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), dropped AS (
    DELETE FROM work w USING moved
    WHERE w.subject_id = moved.id AND w.kind NOT IN ('pipeline:teardown-start', 'access')
      AND (w.lease_until IS NULL OR w.lease_until <= now())
), asked AS (
    INSERT INTO work (kind, subject_id, due_at, since)
    SELECT 'pipeline:teardown-start', moved.id, coalesce(moved.delete_due_at, now()), coalesce(moved.delete_due_at, now()) FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = excluded.due_at, since = excluded.since, requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;

-- name: PipelineDeleteNow :one
-- Ends the grace period of a pipeline that is Scheduled for Deletion. The
-- deletion can't be undone any more. The caller has locked the row.
WITH ended AS (
    UPDATE pipelines p SET delete_due_at = NULL, updated_at = now()
    WHERE p.id = @id AND p.status = 'scheduled_for_deletion' AND p.delete_due_at IS NOT NULL
    RETURNING p.id
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:teardown-start', ended.id FROM ended
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM ended;

-- name: PipelinesDeleteDue :many
-- Returns an app's pipelines whose deletion can still be undone.
SELECT * FROM pipelines WHERE app_id = @app_id::text AND delete_due_at IS NOT NULL ORDER BY id LIMIT 100;

-- name: PipelineBeginDeletion :one
-- Returns the seconds until the deletion of a pipeline is due. If it is due,
-- returns 0 and ends the grace period, so that the deletion can't be undone
-- any more. The claim is on pipeline:teardown-start.
WITH before AS (
    SELECT p.id, p.delete_due_at FROM pipelines p WHERE p.id = @id AND p.status = 'scheduled_for_deletion' FOR UPDATE
), held AS (
    SELECT w.subject_id, greatest(date_part('epoch', before.delete_due_at - clock_timestamp()), 0)::float8 AS seconds FROM work w, before
    WHERE w.kind = 'pipeline:teardown-start' AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), begun AS (
    UPDATE pipelines p SET delete_due_at = NULL FROM held WHERE p.id = held.subject_id AND held.seconds = 0
)
SELECT seconds FROM held;

-- name: PipelineRestore :one
-- Moves a pipeline from Scheduled for Deletion back, before its deletion
-- begins: to the status that it had, to Provision Request from
-- Provisioning, and from Queued and Deploying to the status at rest. The
-- caller has locked the row and requests the cancelled deployments again.
WITH moved AS (
    UPDATE pipelines p
    SET status = p.restore_status, cause = p.restore_cause, version = p.version + 1, updated_at = now(),
        delete_due_at = NULL, delete_asked_at = NULL, delete_asked_by = '', restore_status = '', restore_cause = ''
    WHERE p.id = @id AND p.status = 'scheduled_for_deletion' AND p.delete_due_at > clock_timestamp()
    RETURNING p.*
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, 'scheduled_for_deletion', moved.status, @cause, @actor FROM moved
), dropped AS (
    DELETE FROM work w USING moved WHERE w.subject_id = moved.id AND w.kind = 'pipeline:teardown-start'
), asked AS (
    INSERT INTO work (kind, subject_id)
    SELECT 'pipeline:provision', moved.id FROM moved WHERE moved.status = 'provision_request'
    UNION ALL SELECT 'retention', moved.id FROM moved
    UNION ALL SELECT 'pipeline:thumbnail', moved.id FROM moved WHERE moved.live_deployment_id IS NOT NULL
    UNION ALL SELECT 'forge:catch-up', moved.id FROM moved WHERE moved.repository_full_name IS NOT NULL
    UNION ALL SELECT 'purge', moved.id FROM moved WHERE EXISTS (SELECT 1 FROM purges g WHERE g.pipeline_id = moved.id AND g.done_at IS NULL)
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;

-- name: DeploymentsCancelledAt :many
-- Returns the deployments of a pipeline that its deletion cancelled, oldest
-- first.
SELECT * FROM deployments
WHERE pipeline_id = @pipeline_id AND state = 'cancelled' AND finished_at = @finished_at::timestamptz
ORDER BY number LIMIT 1000;

-- name: PipelineMarkDeleting :one
-- Moves a pipeline from Scheduled for Deletion to Deleting, under the claim
-- that found the distribution disabled.
WITH before AS (
    SELECT p.id FROM pipelines p WHERE p.id = @id AND p.status = 'scheduled_for_deletion' FOR UPDATE
), held AS (
    SELECT w.subject_id FROM work w, before
    WHERE w.kind = @kind AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), moved AS (
    UPDATE pipelines p
    SET status = 'deleting', version = p.version + 1, updated_at = now()
    FROM held WHERE p.id = held.subject_id
    RETURNING p.*
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, 'scheduled_for_deletion', 'deleting', @cause, @actor FROM moved
), done AS (
    DELETE FROM work w USING held WHERE w.kind = @kind AND w.subject_id = held.subject_id
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:teardown', moved.id FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;

-- name: PipelineFailDelete :one
-- Moves a pipeline from Scheduled for Deletion or Deleting to Failed to
-- Delete.
WITH before AS (
    SELECT p.id, p.status FROM pipelines p
    WHERE p.id = @id AND p.status IN ('scheduled_for_deletion', 'deleting') FOR UPDATE
), held AS (
    SELECT w.subject_id, before.status FROM work w, before
    WHERE w.kind = @kind AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), moved AS (
    UPDATE pipelines p
    SET status = 'failed_to_delete', cause = @cause, version = p.version + 1, updated_at = now()
    FROM held WHERE p.id = held.subject_id
    RETURNING p.*, held.status AS was
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, was, 'failed_to_delete', @cause, @actor FROM moved
), done AS (
    DELETE FROM work w USING held WHERE w.kind = @kind AND w.subject_id = held.subject_id
)
SELECT id FROM moved;

-- name: PipelineMarkDeleted :one
-- Moves a pipeline from Deleting to Deleted: the row is deleted, the events
-- stay. Uploads that were running can still end later, so retention checks
-- once more after they have expired. Work that another worker holds stays: its
-- worker finds no pipeline and ends it.
WITH before AS (
    SELECT p.id, p.slug, p.version FROM pipelines p WHERE p.id = @id AND p.status = 'deleting' FOR UPDATE
), held AS (
    SELECT before.* FROM work w, before
    WHERE w.kind = 'pipeline:teardown' AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT held.id, held.version + 1, held.slug, 'deleting', 'deleted', @cause, @actor FROM held
), done AS (
    DELETE FROM work w USING held
    WHERE w.subject_id = held.id AND w.kind <> 'retention' AND (w.kind = 'pipeline:teardown' OR w.lease_until IS NULL OR w.lease_until <= now())
), later AS (
    INSERT INTO work (kind, subject_id, due_at)
    SELECT 'retention', held.id, now() + make_interval(secs => @look_again_seconds::float8) FROM held
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = excluded.due_at, since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
), gone AS (
    DELETE FROM pipelines p USING held WHERE p.id = held.id
    RETURNING p.id, p.version
)
SELECT id FROM gone;
