-- name: RepositorySeen :exec
-- Records what a forge reports about a repository. What it does not report
-- stays as it is.
INSERT INTO repositories (provider, id, full_name, default_branch, installation_id)
VALUES (@provider, @id, @full_name, @default_branch, sqlc.narg('installation_id'))
ON CONFLICT (provider, id) DO UPDATE
SET full_name = excluded.full_name,
    default_branch = CASE WHEN excluded.default_branch = '' THEN repositories.default_branch ELSE excluded.default_branch END,
    installation_id = coalesce(excluded.installation_id, repositories.installation_id),
    changed_at = now();

-- name: RepositoryGet :one
SELECT * FROM repositories WHERE provider = @provider AND id = @id;

-- name: RepositoryLeft :exec
-- Records that an installation no longer has access to a repository.
UPDATE repositories SET installation_id = NULL, changed_at = now()
WHERE provider = @provider AND id = @id AND installation_id = @installation_id::text;

-- name: InstallationSeen :exec
INSERT INTO installations (provider, id, account, state) VALUES (@provider, @id, @account, @state)
ON CONFLICT (provider, id) DO UPDATE
SET account = CASE WHEN excluded.account = '' THEN installations.account ELSE excluded.account END,
    state = excluded.state, changed_at = now();

-- name: InstallationKnown :exec
-- Records an installation that a delivery named, if it is not known yet.
INSERT INTO installations (provider, id) VALUES (@provider, @id) ON CONFLICT DO NOTHING;

-- name: InstallationGet :one
SELECT * FROM installations WHERE provider = @provider AND id = @id;

-- name: PipelinesOfRepository :many
-- Returns the pipelines of a repository, by its id or, while the id is not
-- known, by its name.
SELECT * FROM pipelines
WHERE repository_provider = @provider::text
  AND (repository_id = @repository_id::text
       OR (repository_id IS NULL AND lower(repository_full_name) = lower(@full_name::text)))
ORDER BY id;

-- name: PipelineBindRepository :exec
-- Records the id and the current name of a pipeline's repository.
UPDATE pipelines SET repository_id = @repository_id::text, repository_full_name = @full_name::text, updated_at = now()
WHERE id = @id AND (repository_id IS DISTINCT FROM @repository_id OR repository_full_name IS DISTINCT FROM @full_name);

-- name: PipelineSawHead :exec
UPDATE pipelines SET head_commit = @head_commit::text WHERE id = @id;

-- name: PipelinesSourceProblem :execrows
-- Records for all pipelines of a repository why pushes are not built, or
-- clears the reason.
UPDATE pipelines SET source_problem = @problem, updated_at = now()
WHERE repository_provider = @provider::text AND repository_id = @repository_id::text AND source_problem <> @problem;

-- name: PipelineBranchProblem :execrows
-- Records that the branch of a pipeline is missing, or clears that. A
-- problem of another kind stays.
UPDATE pipelines SET source_problem = @problem, updated_at = now()
WHERE id = @id AND source_problem <> @problem AND (source_problem = '' OR source_problem LIKE 'the branch %');

-- name: PipelinesOfInstallationProblem :execrows
UPDATE pipelines p SET source_problem = @problem, updated_at = now()
FROM repositories r
WHERE r.provider = @provider AND r.installation_id = @installation_id::text
  AND p.repository_provider = r.provider AND p.repository_id = r.id AND p.source_problem <> @problem;

-- name: PushRecords :batchmany
-- Records a push in one statement: the delivery, its installation and what
-- it reports about the repository. Returns the pipelines of the repository,
-- by its id or, while the id is not known, by its name. Returns no rows if
-- the delivery is a duplicate, and one row without a pipeline if the
-- repository has none.
WITH delivery AS (
    INSERT INTO deliveries (source, id, type, body_sha256)
    VALUES (@provider::text, @delivery_id, @type, sqlc.narg('body_sha256'))
    ON CONFLICT DO NOTHING
    RETURNING source
), installation AS (
    INSERT INTO installations (provider, id)
    SELECT delivery.source, sqlc.narg('installation_id')::text FROM delivery WHERE sqlc.narg('installation_id')::text IS NOT NULL
    ON CONFLICT DO NOTHING
), repository AS (
    INSERT INTO repositories (provider, id, full_name, default_branch, installation_id)
    SELECT delivery.source, @repository_id::text, @full_name::text, @default_branch::text, sqlc.narg('installation_id')::text FROM delivery
    ON CONFLICT (provider, id) DO UPDATE
    SET full_name = excluded.full_name,
        default_branch = CASE WHEN excluded.default_branch = '' THEN repositories.default_branch ELSE excluded.default_branch END,
        installation_id = coalesce(excluded.installation_id, repositories.installation_id),
        changed_at = now()
    RETURNING default_branch
), bound AS (
    SELECT p.id FROM pipelines p, delivery
    WHERE p.repository_provider = @provider::text
      AND (p.repository_id = @repository_id::text
           OR (p.repository_id IS NULL AND lower(p.repository_full_name) = lower(@full_name::text)))
), named AS (
    UPDATE pipelines p SET repository_id = @repository_id::text, repository_full_name = @full_name::text, updated_at = now()
    FROM bound
    WHERE p.id = bound.id AND (p.repository_id IS DISTINCT FROM @repository_id OR p.repository_full_name IS DISTINCT FROM @full_name)
)
SELECT repository.default_branch, bound.id AS pipeline_id
FROM repository LEFT JOIN bound ON true
ORDER BY bound.id;
