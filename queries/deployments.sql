-- name: DeploymentGet :one
SELECT * FROM deployments WHERE id = @id;

-- name: DeploymentList :many
-- Returns the newest first. The page ends before the deployment with the
-- number in before.
SELECT * FROM deployments
WHERE pipeline_id = @pipeline_id AND (sqlc.narg('before')::bigint IS NULL OR number < sqlc.narg('before'))
ORDER BY number DESC LIMIT @page_limit;

-- name: DeploymentRunning :one
-- Returns the one that is to go live. The others of the pipeline are previews.
SELECT * FROM deployments WHERE pipeline_id = @pipeline_id AND state IN ('building', 'publishing') AND preview_id IS NULL;

-- name: DeploymentLive :one
-- Returns the one that is live.
SELECT d.* FROM pipelines p JOIN deployments d ON d.id = p.live_deployment_id WHERE p.id = @pipeline_id;

-- name: DeploymentsUnpublished :many
-- Returns the automated deployments that are waiting or building, newest
-- first.
SELECT * FROM deployments
WHERE pipeline_id = @pipeline_id AND kind = 'automated' AND state IN ('waiting', 'building') ORDER BY number DESC;

-- name: DeploymentNextWaiting :one
SELECT * FROM deployments WHERE pipeline_id = @pipeline_id AND state = 'waiting' AND preview_id IS NULL ORDER BY number LIMIT 1;

-- name: DeploymentOnItsWay :one
-- Returns the newest deployment above a number that waits or runs.
SELECT * FROM deployments
WHERE pipeline_id = @pipeline_id AND number > @above AND state IN ('waiting', 'building', 'publishing') AND preview_id IS NULL
ORDER BY number DESC LIMIT 1;

-- name: DeploymentBeforeLive :one
-- Returns the deployment that was live before the live one: the newest that
-- went live earlier, has other files, and still has them.
SELECT d.* FROM deployments d
JOIN pipelines p ON p.id = d.pipeline_id
JOIN deployments live ON live.id = p.live_deployment_id
WHERE d.pipeline_id = @pipeline_id AND d.live_at < live.live_at AND d.tree_id <> live.tree_id AND d.pruned_at IS NULL
ORDER BY d.live_at DESC LIMIT 1;

-- name: DeploymentBefore :one
-- Returns what the site had before a deployment: the newest one with a lower
-- number that went live and still has its files.
SELECT * FROM deployments
WHERE pipeline_id = @pipeline_id AND number < @number AND live_at IS NOT NULL AND pruned_at IS NULL
ORDER BY number DESC LIMIT 1;

-- name: DeploymentCreates :batchone
-- Accepts a deployment. If the pipeline is at rest, it becomes Queued. If
-- another deployment runs, or provisioning is still to come, the deployment
-- waits. If a head commit is given, it is recorded. An automated deployment
-- supersedes older automated ones that wait. The tree of an earlier deployment
-- is complete already. In the deletion statuses nothing happens and no row is
-- returned.
WITH before AS (
    SELECT p.id, p.status FROM pipelines p
    WHERE p.id = @pipeline_id AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete') FOR UPDATE
), moved AS (
    UPDATE pipelines p
    SET status = CASE WHEN before.status IN ('ready_for_deployment', 'deployed', 'failed_to_deploy') THEN 'queued' ELSE before.status END,
        version = p.version + CASE WHEN before.status IN ('ready_for_deployment', 'deployed', 'failed_to_deploy') THEN 1 ELSE 0 END,
        cause = CASE WHEN before.status = 'failed_to_deploy' THEN '' ELSE p.cause END,
        head_commit = coalesce(sqlc.narg('head_commit')::text, p.head_commit),
        last_number = p.last_number + 1, updated_at = now()
    FROM before WHERE p.id = before.id
    RETURNING p.*, before.status AS was
), created AS (
    INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, source_deployment_id, commit_sha, branch, author,
                             message, actor, manifest_digest, files, bytes, expect_live, sealed_at)
    SELECT @id, moved.id, moved.last_number, @kind, 'waiting', @tree_id, sqlc.narg('source_deployment_id'), sqlc.narg('commit_sha'),
           sqlc.narg('branch'), sqlc.narg('author'), @message, @actor, sqlc.narg('manifest_digest'), @files, @bytes, sqlc.narg('expect_live'),
           (SELECT o.sealed_at FROM deployments o WHERE o.id = @tree_id)
    FROM moved
    RETURNING *
), superseded AS (
    UPDATE deployments d
    SET state = 'superseded', finished_at = now(), cause = 'a newer commit took its place'
    FROM created WHERE created.kind = 'automated' AND d.pipeline_id = @pipeline_id
      AND d.kind = 'automated' AND d.state = 'waiting' AND d.number < created.number
    RETURNING d.id, d.kind
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
    SELECT moved.id, moved.version, moved.slug, was, 'queued', @cause, @actor, @id FROM moved WHERE status <> was
), unasked AS (
    DELETE FROM work w USING superseded s
    WHERE w.kind = 'deployment:build' AND w.subject_id = s.id
      AND (w.lease_until IS NULL OR w.lease_until <= now())
), asked AS (
    -- If nothing runs, the build is requested at once; otherwise
    -- pipeline:deploy chooses the next deployment.
    INSERT INTO work (kind, subject_id)
    SELECT CASE WHEN builds THEN 'deployment:build' ELSE 'pipeline:deploy' END,
           CASE WHEN builds THEN next.deployment_id ELSE next.pipeline_id END
    FROM (SELECT moved.id AS pipeline_id, created.id AS deployment_id,
                 created.kind = 'automated' AND moved.status <> moved.was AS builds
          FROM moved, created WHERE moved.status IN ('queued', 'deploying')) next
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
), report AS (
    INSERT INTO work (kind, subject_id)
    SELECT 'forge:report', told.id FROM (
        SELECT created.id FROM created WHERE created.kind = 'automated' UNION ALL SELECT superseded.id FROM superseded) told
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM created;

-- name: DeploymentCreateUnpublished :one
-- Records a release that was uploaded completely and is not to be published
-- yet.
WITH moved AS (
    UPDATE pipelines p SET last_number = p.last_number + 1, updated_at = now()
    WHERE p.id = @pipeline_id AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
    RETURNING p.id, p.last_number
)
INSERT INTO deployments (id, pipeline_id, number, kind, state, tree_id, message, actor, manifest_digest, files, bytes, finished_at)
SELECT @id, moved.id, moved.last_number, 'release', 'succeeded', @id, @message, @actor, @manifest_digest, @files, @bytes, now() FROM moved
RETURNING *;

-- name: DeploymentStart :one
-- Moves a pipeline from Queued to Deploying and its deployment to
-- publishing, under the claim on pipeline:deploy. Assigns the sequence of
-- the deployment's pointer.
WITH before AS (
    SELECT p.id FROM pipelines p WHERE p.id = @pipeline_id AND p.status = 'queued' FOR UPDATE
), held AS (
    SELECT w.subject_id FROM work w, before
    WHERE w.kind = 'pipeline:deploy' AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), started AS (
    UPDATE deployments d
    SET state = 'publishing', started_at = now(), sequence = (SELECT p.last_sequence + 1 FROM pipelines p WHERE p.id = d.pipeline_id)
    FROM held WHERE d.pipeline_id = @pipeline_id AND d.id = @id AND d.state = 'waiting'
    RETURNING d.*
), moved AS (
    UPDATE pipelines p
    SET status = 'deploying', version = p.version + 1, last_sequence = p.last_sequence + 1, updated_at = now()
    FROM started WHERE p.id = started.pipeline_id
    RETURNING p.*
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
    SELECT moved.id, moved.version, moved.slug, 'queued', 'deploying', @cause, @actor, @id FROM moved
)
SELECT id FROM started;

-- name: DeploymentSucceed :one
-- Moves a pipeline from Deploying to Deployed with the deployment live, and
-- on to Queued if another one waits.
WITH before AS (
    SELECT p.id, EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'waiting' AND d.preview_id IS NULL) AS waits
    FROM pipelines p WHERE p.id = @pipeline_id AND p.status = 'deploying' FOR UPDATE OF p
), held AS (
    SELECT w.subject_id, before.waits FROM work w, before
    WHERE w.kind = 'pipeline:deploy' AND w.subject_id = before.id AND w.epoch = @epoch FOR UPDATE OF w
), ended AS (
    UPDATE deployments d
    SET state = 'succeeded', live_at = now(), finished_at = now()
    FROM held WHERE d.pipeline_id = held.subject_id AND d.id = @id AND d.state = 'publishing'
    RETURNING d.id, d.pipeline_id, d.kind, held.waits
), moved AS (
    UPDATE pipelines p
    SET status = CASE WHEN ended.waits THEN 'queued' ELSE 'deployed' END, cause = '', live_deployment_id = ended.id,
        version = p.version + CASE WHEN ended.waits THEN 2 ELSE 1 END, updated_at = now()
    FROM ended WHERE p.id = ended.pipeline_id
    RETURNING p.*, ended.waits
), deployed AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
    SELECT moved.id, moved.version - CASE WHEN waits THEN 1 ELSE 0 END, moved.slug, 'deploying', 'deployed', @cause, @actor, @id FROM moved
), queued AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, 'deployed', 'queued', 'another deployment was waiting', @actor FROM moved WHERE waits
), done AS (
    DELETE FROM work w USING moved WHERE w.kind = 'pipeline:deploy' AND w.subject_id = moved.id AND NOT moved.waits
), again AS (
    -- The claim ends here. Otherwise the worker's own WorkFinish, under the same
    -- epoch, would delete the row that the next deployment needs.
    UPDATE work w
    SET lease_until = NULL, due_at = now(), since = now(), attempt = 0, cause = '', epoch = nextval('work_epochs')
    FROM moved WHERE w.kind = 'pipeline:deploy' AND w.subject_id = moved.id AND moved.waits
), tidy AS (
    INSERT INTO work (kind, subject_id, due_at)
    SELECT 'retention', moved.id, now() + make_interval(secs => @retention_seconds::float8) FROM moved
    UNION ALL SELECT 'pipeline:thumbnail', moved.id, now() FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = least(work.due_at, excluded.due_at), requested = work.requested + 1, ring_id = NULL
), report AS (
    INSERT INTO work (kind, subject_id) SELECT 'forge:report', ended.id FROM ended WHERE ended.kind = 'automated'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM moved;

-- name: DeploymentFail :one
-- Moves a pipeline from Queued or Deploying to Failed to Deploy, and on to
-- Queued if another deployment waits. The claim is on pipeline:deploy
-- (whose subject is the pipeline) or on the deployment's build. What was
-- live stays live.
WITH before AS (
    SELECT p.id, p.status,
           EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'waiting' AND d.preview_id IS NULL AND d.id <> @id) AS waits
    FROM pipelines p WHERE p.id = @pipeline_id AND p.status IN ('queued', 'deploying') FOR UPDATE OF p
), held AS (
    SELECT before.id, before.status, before.waits FROM work w, before
    WHERE w.kind = @kind AND w.subject_id = @subject_id AND w.epoch = @epoch FOR UPDATE OF w
), ended AS (
    UPDATE deployments d
    SET state = 'failed', cause = @cause, finished_at = now()
    FROM held WHERE d.pipeline_id = held.id AND d.id = @id
      AND d.state = ANY(CASE held.status WHEN 'queued' THEN '{waiting}' ELSE '{building,publishing}' END::text[])
    RETURNING d.id, d.pipeline_id, d.kind, held.status, held.waits
), moved AS (
    UPDATE pipelines p
    SET status = CASE WHEN ended.waits THEN 'queued' ELSE 'failed_to_deploy' END,
        cause = CASE WHEN ended.waits THEN '' ELSE @cause END,
        version = p.version + CASE WHEN ended.waits THEN 2 ELSE 1 END, updated_at = now()
    FROM ended WHERE p.id = ended.pipeline_id
    RETURNING p.*, ended.status AS was, ended.waits
), failed AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
    SELECT moved.id, moved.version - CASE WHEN waits THEN 1 ELSE 0 END, moved.slug, was, 'failed_to_deploy', @cause, @actor, @id FROM moved
), queued AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, 'failed_to_deploy', 'queued', 'another deployment was waiting', @actor FROM moved WHERE waits
), kept AS (
    -- The claim's row has work again: for a pipeline, the waiting deployment;
    -- for poll-build, the build to stop.
    SELECT moved.id FROM moved WHERE (moved.waits AND @subject_id = moved.id) OR @kind = 'deployment:poll-build'
), done AS (
    DELETE FROM work w USING moved
    WHERE w.kind = @kind AND w.subject_id = @subject_id AND NOT EXISTS (SELECT 1 FROM kept)
), again AS (
    UPDATE work w
    SET lease_until = NULL, due_at = now(), since = now(), attempt = 0, cause = '', epoch = nextval('work_epochs')
    FROM kept WHERE w.kind = @kind AND w.subject_id = @subject_id
), emptied AS (
    -- Stops its build, wherever it runs, and removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', ended.id FROM ended WHERE @kind = 'deployment:build'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:deploy', moved.id FROM moved WHERE moved.waits AND moved.id <> @subject_id
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
), report AS (
    INSERT INTO work (kind, subject_id) SELECT 'forge:report', ended.id FROM ended WHERE ended.kind = 'automated'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM moved;

-- name: DeploymentCancel :one
-- Ends a deployment that is waiting or building. If the pipeline was Queued
-- or Deploying for it, the pipeline becomes Deployed if something is live,
-- otherwise Ready for Deployment, and then Queued if another deployment
-- waits. A deployment that is publishing can't be cancelled.
WITH before AS (
    SELECT p.id, p.status,
           EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'waiting' AND d.preview_id IS NULL AND d.id <> @id) AS waits,
           CASE WHEN p.live_deployment_id IS NULL THEN 'ready_for_deployment' ELSE 'deployed' END AS rest
    FROM pipelines p
    WHERE p.id = @pipeline_id AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete') FOR UPDATE OF p
), ended AS (
    UPDATE deployments d
    SET state = 'cancelled', cause = @cause, finished_at = now()
    FROM before, deployments was
    WHERE d.id = @id AND was.id = d.id AND d.pipeline_id = before.id AND d.state IN ('waiting', 'building') AND d.preview_id IS NULL
    RETURNING d.id, d.pipeline_id, d.kind, was.state AS was, before.status, before.waits, before.rest
), ends AS (
    -- The pipeline's status changes if its running deployment was stopped, or
    -- the last one that it was Queued for.
    SELECT *, (status = 'deploying' AND was = 'building') OR (status = 'queued' AND NOT waits) AS moves FROM ended
), moved AS (
    UPDATE pipelines p
    SET status = CASE WHEN ends.waits THEN 'queued' ELSE ends.rest END,
        version = p.version + CASE WHEN ends.waits THEN 2 ELSE 1 END, updated_at = now()
    FROM ends WHERE p.id = ends.pipeline_id AND ends.moves
    RETURNING p.*, ends.status AS was, ends.waits, ends.rest
), rested AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
    SELECT moved.id, moved.version - CASE WHEN waits THEN 1 ELSE 0 END, moved.slug, was, rest, @cause, @actor, @id FROM moved
), queued AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, rest, 'queued', 'another deployment was waiting', @actor FROM moved WHERE waits
), unasked AS (
    DELETE FROM work w USING ended WHERE w.subject_id = ended.id AND w.kind = 'deployment:build'
), stopped AS (
    -- Stops its build, wherever it runs, and removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', ended.id FROM ended WHERE ended.was = 'building'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), dropped AS (
    DELETE FROM work w USING moved
    WHERE w.kind = 'pipeline:deploy' AND w.subject_id = moved.id AND NOT moved.waits
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:deploy', moved.id FROM moved WHERE moved.waits
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
), report AS (
    INSERT INTO work (kind, subject_id) SELECT 'forge:report', ended.id FROM ended WHERE ended.kind = 'automated'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM ended;

-- name: DeploymentSupersede :one
-- Moves a pipeline from Deploying to Queued, because a newer commit
-- replaces the one that is being built.
WITH before AS (
    SELECT p.id FROM pipelines p WHERE p.id = @pipeline_id AND p.status = 'deploying' FOR UPDATE
), ended AS (
    UPDATE deployments d
    SET state = 'superseded', cause = @cause, finished_at = now()
    FROM before
    WHERE d.id = @id AND d.pipeline_id = @pipeline_id AND d.kind = 'automated' AND d.state = 'building'
      AND EXISTS (SELECT 1 FROM deployments n WHERE n.pipeline_id = @pipeline_id AND n.kind = 'automated' AND n.state = 'waiting')
    RETURNING d.id, d.pipeline_id, d.kind
), moved AS (
    UPDATE pipelines p
    SET status = 'queued', version = p.version + 1, updated_at = now()
    FROM ended WHERE p.id = ended.pipeline_id
    RETURNING p.*
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
    SELECT moved.id, moved.version, moved.slug, 'deploying', 'queued', @cause, @actor, @id FROM moved
), unasked AS (
    DELETE FROM work w USING ended WHERE w.subject_id = ended.id AND w.kind = 'deployment:build'
), stopped AS (
    -- Stops its build, wherever it runs, and removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', ended.id FROM ended
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:deploy', moved.id FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
), report AS (
    INSERT INTO work (kind, subject_id) SELECT 'forge:report', ended.id FROM ended WHERE ended.kind = 'automated'
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT id FROM ended;

-- name: DeploymentReported :exec
-- Records which state was reported to the forge, under the claim on
-- forge:report.
UPDATE deployments d SET reported_state = @state::text
WHERE d.id = @id
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'forge:report' AND w.subject_id = d.id AND w.epoch = @epoch);

-- name: DeploymentRecordSealed :execrows
-- Records that the tree is complete and durable. From here on the pointer
-- may have flipped.
UPDATE deployments d
SET sealed_at = coalesce(d.sealed_at, now())
WHERE d.id = @id AND d.state = 'publishing'
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'pipeline:deploy' AND w.subject_id = d.pipeline_id AND w.epoch = @epoch);

-- name: PipelineNextSequence :one
-- Assigns a sequence for a pointer that restores what was live.
UPDATE pipelines p
SET last_sequence = p.last_sequence + 1
WHERE p.id = @id
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'pipeline:deploy' AND w.subject_id = p.id AND w.epoch = @epoch)
RETURNING p.last_sequence;

-- name: DeploymentResequence :one
-- Continues the pipeline's sequences above the current pointer's. This
-- database did not assign that sequence, so it was restored from an older
-- backup.
WITH numbered AS (
    UPDATE pipelines p SET last_sequence = greatest(p.last_sequence, @in_force::bigint) + 1
    WHERE p.id = @pipeline_id
      AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'pipeline:deploy' AND w.subject_id = p.id AND w.epoch = @epoch)
    RETURNING p.id, p.last_sequence
)
UPDATE deployments d SET sequence = numbered.last_sequence
FROM numbered WHERE d.id = @id AND d.pipeline_id = numbered.id AND d.state = 'publishing'
RETURNING d.sequence::bigint;

-- name: DeploymentsPrune :many
-- Gives up the trees that retention does not keep. Retention keeps the live
-- one, those of running deployments, those that open previews show, and the
-- newest ones, of previews those of open ones. The rows stay. Returns what was
-- given up within a day, so that a failed removal can be repeated.
WITH kept AS (
    SELECT d.tree_id FROM deployments d
    JOIN pipelines p ON p.id = d.pipeline_id
    WHERE d.pipeline_id = @pipeline_id
      AND (d.id = p.live_deployment_id OR d.state IN ('waiting', 'building', 'publishing'))
    UNION
    SELECT d.tree_id FROM previews v JOIN deployments d ON d.id = v.live_deployment_id
    WHERE v.pipeline_id = @pipeline_id AND v.closed_at IS NULL
    UNION
    -- A promoted preview's tree is one of the site's own.
    (SELECT d.tree_id FROM deployments d
     WHERE d.pipeline_id = @pipeline_id AND d.state = 'succeeded' AND d.pruned_at IS NULL AND d.preview_id IS NULL
       AND (d.tree_id = d.id OR EXISTS (SELECT 1 FROM deployments o WHERE o.id = d.tree_id AND o.preview_id IS NOT NULL))
     ORDER BY d.number DESC LIMIT @keep_newest)
    UNION
    (SELECT d.tree_id FROM deployments d JOIN previews v ON v.id = d.preview_id AND v.closed_at IS NULL
     WHERE d.pipeline_id = @pipeline_id AND d.state = 'succeeded' AND d.pruned_at IS NULL AND d.tree_id = d.id
     ORDER BY d.number DESC LIMIT @keep_newest)
), given_up AS (
    UPDATE deployments d
    SET pruned_at = now()
    WHERE d.pipeline_id = @pipeline_id AND d.pruned_at IS NULL AND d.state NOT IN ('waiting', 'building', 'publishing')
      AND d.tree_id NOT IN (SELECT kept.tree_id FROM kept)
    RETURNING d.tree_id, d.number
)
SELECT given_up.tree_id, given_up.number FROM given_up
UNION
SELECT d.tree_id, d.number FROM deployments d
WHERE d.pipeline_id = @pipeline_id AND d.pruned_at > now() - interval '1 day'
  AND d.tree_id NOT IN (SELECT kept.tree_id FROM kept);

-- name: DeploymentsPrunable :many
-- Returns the deployments whose trees DeploymentsPrune would give up.
WITH kept AS (
    SELECT d.tree_id FROM deployments d
    JOIN pipelines p ON p.id = d.pipeline_id
    WHERE d.pipeline_id = @pipeline_id
      AND (d.id = p.live_deployment_id OR d.state IN ('waiting', 'building', 'publishing'))
    UNION
    SELECT d.tree_id FROM previews v JOIN deployments d ON d.id = v.live_deployment_id
    WHERE v.pipeline_id = @pipeline_id AND v.closed_at IS NULL
    UNION
    -- A promoted preview's tree is one of the site's own.
    (SELECT d.tree_id FROM deployments d
     WHERE d.pipeline_id = @pipeline_id AND d.state = 'succeeded' AND d.pruned_at IS NULL AND d.preview_id IS NULL
       AND (d.tree_id = d.id OR EXISTS (SELECT 1 FROM deployments o WHERE o.id = d.tree_id AND o.preview_id IS NOT NULL))
     ORDER BY d.number DESC LIMIT @keep_newest)
    UNION
    (SELECT d.tree_id FROM deployments d JOIN previews v ON v.id = d.preview_id AND v.closed_at IS NULL
     WHERE d.pipeline_id = @pipeline_id AND d.state = 'succeeded' AND d.pruned_at IS NULL AND d.tree_id = d.id
     ORDER BY d.number DESC LIMIT @keep_newest)
)
SELECT d.id, d.tree_id, d.number, d.kind, d.state, d.files, d.bytes, d.message, d.created_at, (d.manifest_digest IS NOT NULL)::bool AS has_files
FROM deployments d
WHERE d.pipeline_id = @pipeline_id AND d.pruned_at IS NULL AND d.state NOT IN ('waiting', 'building', 'publishing')
  AND d.tree_id NOT IN (SELECT kept.tree_id FROM kept)
ORDER BY d.number DESC;

-- name: DeploymentsGiveUp :exec
-- Gives up the trees of these deployments, as DeploymentsPrune does.
UPDATE deployments SET pruned_at = now()
WHERE pipeline_id = @pipeline_id AND id = ANY(@ids::uuid[]) AND pruned_at IS NULL AND state NOT IN ('waiting', 'building', 'publishing');

-- name: DeploymentsBrief :many
-- Returns for each pipeline the live deployment, the one that is running and the
-- one that has waited the longest.
SELECT d.id, d.pipeline_id, d.number, d.kind, d.state, d.commit_sha, d.branch, d.author, d.message, d.actor, d.created_at, d.started_at, d.live_at, true AS live
FROM pipelines p JOIN deployments d ON d.id = p.live_deployment_id
WHERE p.id = ANY(@pipeline_ids::uuid[])
UNION ALL
SELECT d.id, d.pipeline_id, d.number, d.kind, d.state, d.commit_sha, d.branch, d.author, d.message, d.actor, d.created_at, d.started_at, d.live_at, false AS live
FROM deployments d
WHERE d.pipeline_id = ANY(@pipeline_ids::uuid[]) AND d.state IN ('building', 'publishing') AND d.preview_id IS NULL
UNION ALL
SELECT d.id, d.pipeline_id, d.number, d.kind, d.state, d.commit_sha, d.branch, d.author, d.message, d.actor, d.created_at, d.started_at, d.live_at, false AS live
FROM unnest(@pipeline_ids::uuid[]) AS o (id) CROSS JOIN LATERAL (
    SELECT w.* FROM deployments w WHERE w.pipeline_id = o.id AND w.state = 'waiting' AND w.preview_id IS NULL ORDER BY w.number LIMIT 1
) d
ORDER BY pipeline_id, number;
