-- The second net: finds rows that would otherwise never move. Its queries read
-- only unfinished rows, through partial indexes.

-- name: BellReconcile :execrows
-- Takes the turn to reconcile. Only one process has it in each interval. It
-- counts as a sweep if the last one was long ago, when there was nothing to do.
-- If Postgres crashes and loses the times, there is one more turn. A time in the
-- future does not count: the clock was set back.
WITH prompt AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO bell (one) SELECT true FROM prompt
ON CONFLICT (one) DO UPDATE
SET reconciled_at = now(), swept_at = CASE WHEN bell.swept_at <= now() - interval '8 seconds' OR bell.swept_at > now() + interval '8 seconds' THEN now() ELSE bell.swept_at END
WHERE bell.reconciled_at <= now() - make_interval(secs => @interval_seconds::float8) OR bell.reconciled_at > now() + make_interval(secs => @interval_seconds::float8);

-- name: WorkMissing :many
-- Returns the work that leads out of a transient state and that was not
-- requested, for all pipelines or for one. Every statement that writes such
-- a state requests the work in the same transaction. So a row that is found
-- under the pipeline's lock is a fault; without the lock, it may be one.
-- Work that does not keep a pipeline from its next state has the longer,
-- slow grace period.
WITH unfinished AS (
    SELECT p.id, p.status FROM pipelines p
    WHERE p.status IN ('provision_request', 'provisioning', 'queued', 'deploying', 'scheduled_for_deletion', 'deleting')
      AND p.updated_at <= now() - make_interval(secs => @grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR p.id = sqlc.narg('pipeline_id'))
), wanted AS (
    SELECT 'pipeline:provision'::text AS kind, u.id AS subject_id, u.id AS pipeline_id, u.status::text AS state,
           '{}'::text[] AS instead
    FROM unfinished u WHERE u.status IN ('provision_request', 'provisioning')
    UNION ALL
    SELECT 'pipeline:deploy', u.id, u.id, u.status, '{}'
    FROM unfinished u
    WHERE u.status = 'queued' AND EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = u.id AND d.state = 'waiting' AND d.preview_id IS NULL)
      AND NOT EXISTS (
        SELECT 1 FROM deployments d JOIN work w ON w.subject_id = d.id AND w.kind = 'deployment:build'
        WHERE d.pipeline_id = u.id AND d.state = 'waiting')
    UNION ALL
    SELECT 'pipeline:deploy', u.id, u.id, d.state, '{}'
    FROM unfinished u JOIN deployments d ON d.pipeline_id = u.id AND d.state = 'publishing' AND d.preview_id IS NULL
    WHERE u.status = 'deploying'
    UNION ALL
    SELECT 'deployment:build', d.id, u.id, d.state, '{deployment:poll-build}'
    FROM unfinished u JOIN deployments d ON d.pipeline_id = u.id AND d.state = 'building' AND d.preview_id IS NULL
    WHERE u.status = 'deploying'
    UNION ALL
    SELECT 'pipeline:teardown-start', u.id, u.id, u.status, '{pipeline:poll-distro-disabled}'
    FROM unfinished u WHERE u.status = 'scheduled_for_deletion'
    UNION ALL
    SELECT 'pipeline:teardown', u.id, u.id, u.status, '{}'
    FROM unfinished u WHERE u.status = 'deleting'
    UNION ALL
    SELECT CASE WHEN d.state = 'building' OR d.state = 'waiting' AND d.manifest_digest IS NULL THEN 'preview:build' ELSE 'preview:publish' END,
           d.id, d.pipeline_id, d.state, CASE WHEN d.state = 'building' THEN '{deployment:poll-build}' ELSE '{}' END::text[]
    FROM (
        -- By the kind, so that Postgres does not read the index of all previews.
        SELECT w.* FROM deployments w WHERE w.state = 'waiting' AND w.kind = 'preview'
        UNION ALL
        SELECT r.* FROM deployments r WHERE r.state IN ('building', 'publishing') AND r.preview_id IS NOT NULL
    ) d
    WHERE coalesce(d.started_at, d.created_at) <= now() - make_interval(secs => @grace_seconds)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR d.pipeline_id = sqlc.narg('pipeline_id'))
      AND (SELECT p.status FROM pipelines p WHERE p.id = d.pipeline_id AND p.distribution_id IS NOT NULL) NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
    UNION ALL
    SELECT 'preview:remove', v.id, v.pipeline_id, 'closed', '{}'
    FROM previews v
    WHERE v.closed_at IS NOT NULL AND v.removed_at IS NULL AND v.closed_at <= now() - make_interval(secs => @grace_seconds)
      AND (SELECT p.status FROM pipelines p WHERE p.id = v.pipeline_id) NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR v.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT DISTINCT 'preview:report', d.preview_id, d.pipeline_id, 'unreported deployment', '{}'::text[]
    FROM deployments d
    WHERE d.preview_id IS NOT NULL AND d.state <> 'publishing' AND d.commit_sha IS NOT NULL AND d.reported_state IS NOT NULL
      AND nullif(d.state, d.reported_state) = d.state
      AND coalesce(d.finished_at, d.started_at, d.created_at) <= now() - make_interval(secs => @slow_grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR d.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT 'preview:report', v.id, v.pipeline_id, 'closed preview with reports', '{}'
    FROM previews v
    WHERE v.closed_at IS NOT NULL AND v.retracted_at IS NULL
      AND v.closed_at <= now() - make_interval(secs => @slow_grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR v.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT 'forge:pull-request', r.id, r.pipeline_id, 'pull request without a decision', '{}'
    FROM pull_requests r
    WHERE r.build AND r.decision = '' AND r.updated_at <= now() - make_interval(secs => @slow_grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR r.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    -- The files of an ended build still have to be removed. Teardown removes
    -- those of all builds of a pipeline.
    SELECT 'deployment:poll-build', d.id, d.pipeline_id, d.state, '{}'
    FROM builds b
    JOIN deployments d ON d.id = b.deployment_id AND d.state NOT IN ('waiting', 'building')
    JOIN pipelines p ON p.id = d.pipeline_id AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
    WHERE NOT b.emptied AND coalesce(d.finished_at, p.updated_at) <= now() - make_interval(secs => @slow_grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR d.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT 'forge:report', d.id, d.pipeline_id, d.state, '{}'
    FROM deployments d
    WHERE d.kind = 'automated' AND d.state <> 'publishing' AND d.reported_state IS NOT NULL AND nullif(d.state, d.reported_state) = d.state
      AND coalesce(d.finished_at, d.started_at, d.created_at) <= now() - make_interval(secs => @slow_grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR d.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT 'forge:report', s.id, s.pipeline_id, 'skipped commit', '{}'
    FROM skips s
    WHERE s.created_at <= now() - make_interval(secs => @slow_grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR s.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT DISTINCT 'retention', r.pipeline_id, r.pipeline_id, 'expired upload', '{}'::text[]
    FROM releases r
    JOIN pipelines p ON p.id = r.pipeline_id AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
    WHERE r.finalized_at IS NULL AND r.expires_at <= now() - make_interval(secs => @slow_grace_seconds::float8)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR r.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT DISTINCT 'purge', g.pipeline_id, g.pipeline_id, 'open purge', '{}'::text[]
    FROM purges g
    WHERE (SELECT p.status FROM pipelines p WHERE p.id = g.pipeline_id) NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
      AND g.done_at IS NULL AND g.requested_at <= now() - make_interval(secs => @grace_seconds)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR g.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    -- Provisioning applies the protection of a new site before it is Ready.
    SELECT 'access', a.pipeline_id, a.pipeline_id, 'access that does not hold yet', '{pipeline:provision}'::text[]
    FROM access a
    WHERE (SELECT p.status FROM pipelines p WHERE p.id = a.pipeline_id AND p.distribution_id IS NOT NULL)
          NOT IN ('failed_to_provision', 'deleting', 'failed_to_delete')
      AND a.applied < a.generation AND a.changed_at <= now() - make_interval(secs => @grace_seconds)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR a.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT 'pipeline:schedule', s.pipeline_id, s.pipeline_id, 'schedule that is due', '{}'
    FROM schedules s
    WHERE (SELECT p.status FROM pipelines p WHERE p.id = s.pipeline_id) NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
      AND s.next_at <= now() - make_interval(secs => @grace_seconds)
      AND (sqlc.narg('pipeline_id')::uuid IS NULL OR s.pipeline_id = sqlc.narg('pipeline_id'))
    UNION ALL
    SELECT DISTINCT 'domain:check', m.pipeline_id, m.pipeline_id, 'custom domain to check', '{}'::text[]
    FROM (
        (SELECT c.pipeline_id FROM custom_domains c
         WHERE sqlc.narg('pipeline_id')::uuid IS NULL AND c.next_check_at <= now() - make_interval(secs => @grace_seconds)
         ORDER BY c.next_check_at LIMIT 500)
        UNION ALL
        SELECT c.pipeline_id FROM custom_domains c
        WHERE c.pipeline_id = sqlc.narg('pipeline_id') AND c.next_check_at <= now() - make_interval(secs => @grace_seconds)
    ) m
    WHERE (SELECT p.status FROM pipelines p WHERE p.id = m.pipeline_id) NOT IN ('deleting', 'failed_to_delete')
)
SELECT wanted.kind, wanted.subject_id, wanted.pipeline_id, wanted.state
FROM wanted
-- Counted, not joined: a join that expects many rows reads all work.
WHERE (SELECT count(*) FROM work w
       WHERE w.subject_id = wanted.subject_id AND (w.kind = wanted.kind OR w.kind = ANY(wanted.instead))) = 0
ORDER BY wanted.pipeline_id LIMIT 500;

-- name: CatchUpMissing :many
-- Returns the next pipelines in the order of their ids, and whether the
-- check of their branches is missing. These rows are at rest, so they are
-- checked a few at a time.
SELECT p.id, (p.repository_full_name IS NOT NULL
              AND p.status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete')
              AND (SELECT count(*) FROM work w WHERE w.subject_id = p.id AND w.kind = 'forge:catch-up') = 0)::bool AS missing
FROM pipelines p
WHERE p.id > @after ORDER BY p.id LIMIT 200;

-- name: WorkRestore :execrows
-- Requests work that was missing.
INSERT INTO work (kind, subject_id) VALUES (@kind, @subject_id) ON CONFLICT DO NOTHING;

-- name: PipelinesAstray :many
-- Returns the pipelines whose status contradicts their deployments: one
-- that has ended or is at rest while a deployment runs or waits for it, and
-- one that is Queued or Deploying without a deployment.
SELECT p.id FROM deployments d JOIN pipelines p ON p.id = d.pipeline_id
WHERE d.state IN ('building', 'publishing') AND d.preview_id IS NULL AND p.status <> 'deploying'
UNION
-- Not joined: for many that wait, Postgres would read all pipelines.
SELECT d.pipeline_id FROM deployments d
WHERE d.state = 'waiting' AND d.preview_id IS NULL
  AND (SELECT p.status FROM pipelines p WHERE p.id = d.pipeline_id) NOT IN ('pre_provisioned', 'provision_request', 'provisioning', 'failed_to_provision', 'queued', 'deploying')
UNION
SELECT p.id FROM pipelines p
WHERE p.status IN ('queued', 'deploying')
  AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'waiting' AND d.preview_id IS NULL AND p.status = 'queued')
  AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state IN ('building', 'publishing') AND d.preview_id IS NULL AND p.status = 'deploying')
LIMIT 500;

-- name: DeploymentsAbandon :many
-- Ends the deployments that contradict the pipeline's status: running ones
-- of a pipeline that is not Deploying, and all of a pipeline that is being
-- deleted.
WITH ended AS (
    UPDATE deployments d
    SET state = CASE WHEN p.status IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete') THEN 'cancelled' ELSE 'failed' END,
        finished_at = now(), cause = 'its pipeline went on without it'
    FROM pipelines p
    WHERE p.id = @pipeline_id AND d.pipeline_id = p.id
      AND (d.state IN ('building', 'publishing') AND d.preview_id IS NULL AND p.status <> 'deploying'
           OR d.state = 'waiting' AND p.status IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete'))
    RETURNING d.id, d.kind
), unasked AS (
    DELETE FROM work w USING ended WHERE w.subject_id = ended.id AND w.kind IN ('deployment:build', 'preview:build', 'preview:publish')
), told AS (
    INSERT INTO work (kind, subject_id) SELECT 'forge:report', ended.id FROM ended WHERE ended.kind = 'automated'
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT ended.id FROM ended;

-- name: PipelineMend :one
-- Moves a pipeline from Ready for Deployment, Queued, Deploying, Deployed
-- or Failed to Deploy to the status that fits its deployments: Queued if
-- one waits, otherwise the status at rest. Does not change a pipeline whose
-- deployment runs.
WITH before AS (
    SELECT p.id, p.status,
           EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state = 'waiting' AND d.preview_id IS NULL) AS waits,
           EXISTS (SELECT 1 FROM deployments d WHERE d.pipeline_id = p.id AND d.state IN ('building', 'publishing') AND d.preview_id IS NULL) AS runs,
           CASE WHEN p.live_deployment_id IS NULL THEN 'ready_for_deployment' ELSE 'deployed' END AS rest
    FROM pipelines p
    WHERE p.id = @id AND p.status IN ('ready_for_deployment', 'queued', 'deploying', 'deployed', 'failed_to_deploy') FOR UPDATE OF p
), moved AS (
    UPDATE pipelines p
    SET status = CASE WHEN before.waits THEN 'queued' ELSE before.rest END, version = p.version + 1, cause = '', updated_at = now()
    FROM before
    WHERE p.id = before.id AND NOT before.runs
      AND CASE WHEN before.waits THEN before.status <> 'queued' ELSE before.status IN ('queued', 'deploying') END
    RETURNING p.*, before.status AS was, before.waits
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor)
    SELECT moved.id, moved.version, moved.slug, was, moved.status, @cause, @actor FROM moved
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:deploy', moved.id FROM moved WHERE moved.waits
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;
