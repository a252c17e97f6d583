-- name: BuildRead :one
-- Returns a deployment with its pipeline and what its build needs of other rows:
-- the release of an uploaded source, what is known of the repository, and the
-- site's host.
SELECT sqlc.embed(d), sqlc.embed(p), s.release_id AS source_id, r.installation_id, coalesce(r.default_branch, '')::text AS default_branch,
    coalesce((SELECT coalesce((SELECT c.host FROM custom_domains c WHERE c.pipeline_id = o.pipeline_id AND c.main AND c.state = 'active'), o.host)
              FROM domains o WHERE o.pipeline_id = p.id AND o.kind = 'site'), '')::text AS host
FROM deployments d
JOIN pipelines p ON p.id = d.pipeline_id
LEFT JOIN sources s ON s.deployment_id = d.id
LEFT JOIN repositories r ON r.provider = p.repository_provider AND r.id = p.repository_id
WHERE d.id = @id;

-- name: BuildStart :one
-- Moves a pipeline from Queued to Deploying and its deployment to building,
-- under the claim on deployment:build. It does not wait for the disk: if Postgres
-- crashes and loses it, the claim was lost before, and the build starts again.
WITH prompt AS (
    SELECT set_config('synchronous_commit', 'off', true)
), before AS (
    SELECT p.id FROM pipelines p WHERE p.id = @pipeline_id AND p.status = 'queued' FOR UPDATE
), held AS (
    SELECT before.id FROM work w, before
    WHERE w.kind = 'deployment:build' AND w.subject_id = @id AND w.epoch = @epoch FOR UPDATE OF w
), started AS (
    UPDATE deployments d
    SET state = 'building', started_at = now()
    FROM held WHERE d.pipeline_id = @pipeline_id AND d.id = @id AND d.state = 'waiting' AND d.kind = 'automated'
    RETURNING d.*
), moved AS (
    UPDATE pipelines p
    SET status = 'deploying', version = p.version + 1, updated_at = now()
    FROM started WHERE p.id = started.pipeline_id
    RETURNING p.*
), event AS (
    INSERT INTO events (pipeline_id, version, slug, from_status, to_status, cause, actor, deployment_id)
    SELECT moved.id, moved.version, moved.slug, 'queued', 'deploying', @cause, @actor, @id FROM moved
), built AS (
    INSERT INTO builds (deployment_id) SELECT started.id FROM started ON CONFLICT DO NOTHING
), report AS (
    INSERT INTO work (kind, subject_id) SELECT 'forge:report', started.id FROM started
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
)
SELECT started.id FROM started, prompt;

-- name: BuildPublish :one
-- Moves a deployment from building to publishing, after its build has ended
-- and its files are stored. The pipeline stays Deploying.
WITH before AS (
    SELECT p.id FROM pipelines p WHERE p.id = @pipeline_id AND p.status = 'deploying' FOR UPDATE
), held AS (
    SELECT before.id FROM work w, before
    WHERE w.kind = @kind AND w.subject_id = @id AND w.epoch = @epoch FOR UPDATE OF w
), numbered AS (
    UPDATE pipelines p SET last_sequence = p.last_sequence + 1, updated_at = now()
    FROM held WHERE p.id = held.id
    RETURNING p.id, p.last_sequence
), moved AS (
    UPDATE deployments d
    SET state = 'publishing', sequence = numbered.last_sequence,
        manifest_digest = @manifest_digest, files = @files, bytes = @bytes
    FROM numbered WHERE d.pipeline_id = numbered.id AND d.id = @id AND d.state = 'building'
    RETURNING d.id, d.pipeline_id
), done AS (
    DELETE FROM work w USING moved WHERE w.kind = @kind AND w.subject_id = moved.id
), emptied AS (
    -- Removes the build's files.
    INSERT INTO work (kind, subject_id) SELECT 'deployment:poll-build', moved.id FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), requested = work.requested + 1, ring_id = NULL
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'pipeline:deploy', moved.pipeline_id FROM moved
    ON CONFLICT (kind, subject_id) DO UPDATE
    SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL
)
SELECT id FROM moved;

-- name: BuildHandOver :execrows
-- Ends the claim on pipeline:deploy and requests the build of the
-- deployment that is next, unless the work was requested again: another
-- deployment may be next by now.
WITH held AS (
    DELETE FROM work d
    WHERE d.kind = 'pipeline:deploy' AND d.subject_id = @pipeline_id AND d.epoch = @epoch AND d.requested = @requested
    RETURNING d.subject_id
)
INSERT INTO work (kind, subject_id) SELECT 'deployment:build', @id FROM held
ON CONFLICT (kind, subject_id) DO UPDATE
SET due_at = now(), requested = work.requested + 1, ring_id = NULL;

-- name: BuildGet :one
SELECT deployment_id, attempt, log_cursor, phases, rule, log_bytes, started_at, finished_at, warnings, tail, advice FROM builds WHERE deployment_id = @deployment_id;

-- name: BuildBegin :one
-- Counts a start of the builder. It does not wait for the disk: if Postgres
-- crashes and loses it, the row lacks the time of a start until the next one.
UPDATE builds SET attempt = attempt + 1, started_at = now(), finished_at = NULL, phases = '[]', warnings = '{}', advice = '', emptied = false
WHERE deployment_id = @deployment_id
RETURNING attempt, set_config('synchronous_commit', 'off', true)::text AS synchronous_commit;

-- name: BuildRestart :exec
-- Forgets how much of the builder's log is stored. The new log is appended
-- to what is stored.
UPDATE builds SET log_cursor = '' WHERE deployment_id = @deployment_id;

-- name: BuildEmptied :exec
-- Records that the builder's files of a build are removed, or that their
-- removal was given up.
UPDATE builds SET emptied = true WHERE deployment_id = @deployment_id;

-- name: BuildProgress :exec
UPDATE builds SET phases = @phases, rule = @rule WHERE deployment_id = @deployment_id;

-- name: PipelineSawWorkspace :exec
-- Records the folder of the workspace in which a build found the pipeline's
-- root folder, and what of it does not concern the site. The latter is kept
-- only for the newest known commit and the root folder of the settings,
-- because another commit may use other packages. A preview's build says
-- nothing about the site's branch.
UPDATE pipelines p
SET workspace = @workspace,
    unwatched = CASE WHEN coalesce(p.repository_root, '') = @root::text AND (p.head_commit IS NULL OR p.head_commit = d.commit_sha)
                     THEN @unwatched::text[] ELSE p.unwatched END
FROM deployments d
WHERE d.id = @deployment_id AND d.preview_id IS NULL AND p.id = d.pipeline_id
  AND (p.workspace, p.unwatched) IS DISTINCT FROM (@workspace, @unwatched::text[]);

-- name: BuildLogAppend :one
-- Appends to the log, records how much of the builder's log is stored now,
-- and returns the log's length.
WITH place AS (
    UPDATE builds b SET log_bytes = b.log_bytes + length(@bytes::bytea), log_cursor = @log_cursor
    WHERE b.deployment_id = @deployment_id
    RETURNING b.deployment_id, b.log_bytes
), added AS (
    INSERT INTO build_log (deployment_id, position, bytes)
    SELECT place.deployment_id, place.log_bytes - length(@bytes), @bytes FROM place
)
SELECT log_bytes FROM place;

-- name: BuildLogFrom :many
-- Returns the pieces of a running build's log that reach past a position, a
-- few at a time.
SELECT position, bytes FROM build_log
WHERE deployment_id = @deployment_id AND position + length(bytes) > @position::bigint
ORDER BY position LIMIT 64;

-- name: BuildFinish :exec
-- Ends a build's record and replaces the pieces of the log by the whole
-- log. If there are no pieces, the stored log stays.
WITH finished AS (
    UPDATE builds b
    SET finished_at = now(), phases = coalesce(sqlc.narg('phases')::jsonb, b.phases),
        warnings = coalesce(sqlc.narg('warnings')::text[], b.warnings),
        log = CASE WHEN b.log IS NULL OR EXISTS (SELECT 1 FROM build_log l WHERE l.deployment_id = b.deployment_id)
                   THEN @log::bytea ELSE b.log END,
        tail = CASE WHEN b.log IS NULL OR EXISTS (SELECT 1 FROM build_log l WHERE l.deployment_id = b.deployment_id)
                    THEN @tail::text ELSE b.tail END,
        advice = CASE WHEN b.log IS NULL OR EXISTS (SELECT 1 FROM build_log l WHERE l.deployment_id = b.deployment_id)
                      THEN @advice::text ELSE b.advice END
    WHERE b.deployment_id = @deployment_id RETURNING b.deployment_id
)
DELETE FROM build_log l USING finished WHERE l.deployment_id = finished.deployment_id;

-- name: DeploymentSetCommit :exec
-- Records the commit of a deployment that was requested for the head of a
-- branch.
UPDATE deployments SET commit_sha = @commit_sha::text, message = @message, author = @author::text WHERE id = @id AND commit_sha IS NULL;

-- name: DeploymentNewerCommit :one
-- Returns the newest later deployment that has another commit and is live,
-- or may become live.
SELECT n.number FROM deployments d
JOIN deployments n ON n.pipeline_id = d.pipeline_id AND n.number > d.number AND n.kind = 'automated' AND n.commit_sha IS DISTINCT FROM d.commit_sha
JOIN pipelines p ON p.id = d.pipeline_id
WHERE d.pipeline_id = @pipeline_id AND d.id = @id
  AND (n.state IN ('waiting', 'building', 'publishing') OR n.id = p.live_deployment_id)
ORDER BY n.number DESC LIMIT 1;

-- name: DeploymentOfCommit :one
-- Returns the newest automated deployment of a commit.
SELECT * FROM deployments WHERE pipeline_id = @pipeline_id AND commit_sha = @commit_sha::text AND kind = 'automated'
ORDER BY number DESC LIMIT 1;
