-- Pull requests, as the forge described them last. A worker decides about their
-- previews. Every statement that changes one runs behind the pipeline's lock.

-- name: PullRequestGet :one
SELECT * FROM pull_requests WHERE id = @id;

-- name: PullRequestOf :one
SELECT * FROM pull_requests WHERE pipeline_id = @pipeline_id AND repository_id = @repository_id AND number = @number;

-- name: PullRequestsOpen :many
-- Returns the pull requests of a pipeline that were open when the forge
-- described them last.
SELECT * FROM pull_requests WHERE pipeline_id = @pipeline_id AND open ORDER BY number LIMIT 2000;

-- name: PullRequestSee :one
-- Records what the forge says of a pull request, and whether its newest commit
-- is to be built.
INSERT INTO pull_requests AS r (id, pipeline_id, repository_id, number, title, url, head, head_commit, head_repository, head_full_name, base,
                                draft, open, author_id, author, changed_at, head_at, build, wanted, decision)
VALUES (@id, @pipeline_id, @repository_id, @number, @title, @url, @head, @head_commit, @head_repository, @head_full_name, @base,
        @draft, @open, @author_id, @author, @changed_at, @changed_at, @build, @wanted, @decision)
ON CONFLICT (pipeline_id, repository_id, number) DO UPDATE
SET title = excluded.title, url = excluded.url, head = excluded.head, head_commit = excluded.head_commit, head_repository = excluded.head_repository,
    head_full_name = excluded.head_full_name, base = excluded.base, draft = excluded.draft, open = excluded.open,
    author_id = excluded.author_id, author = excluded.author, changed_at = excluded.changed_at,
    head_at = CASE WHEN r.head_commit = excluded.head_commit THEN r.head_at ELSE excluded.head_at END,
    build = (r.build OR excluded.build) AND excluded.open AND excluded.wanted, wanted = excluded.wanted,
    decision = CASE WHEN excluded.build OR NOT excluded.wanted THEN excluded.decision ELSE r.decision END,
    version = r.version + 1, updated_at = now()
RETURNING *;

-- name: PullRequestDecide :execrows
-- Records a decision about what is known of a pull request. It changes nothing
-- if more is known by now.
UPDATE pull_requests SET build = @build, decision = @decision, updated_at = now() WHERE id = @id AND version = @version;

-- name: PullRequestCommandAdd :execrows
-- Records a command on a pull request, unless too many wait for an answer.
INSERT INTO pull_request_commands (id, pull_request_id, author_id, author, commit_sha, written_at)
SELECT @id, @pull_request_id, @author_id, @author, @commit_sha, @written_at
WHERE (SELECT count(*) FROM pull_request_commands c WHERE c.pull_request_id = @pull_request_id) < 100;

-- name: PullRequestCommands :many
SELECT * FROM pull_request_commands WHERE pull_request_id = @pull_request_id ORDER BY id LIMIT 100;

-- name: PullRequestCommandRemove :exec
DELETE FROM pull_request_commands WHERE id = @id;

-- name: PreviewDescribe :exec
-- Updates what is known of the pull request of an open preview.
UPDATE previews SET title = @title, author = @author, branch = @branch, url = @url, updated_at = now() WHERE id = @id AND closed_at IS NULL;

-- name: PreviewReports :many
-- Returns the deployments of a preview of which something may be at the forge,
-- oldest first.
SELECT * FROM deployments WHERE preview_id = @preview_id::uuid AND preview_id IS NOT NULL AND reported_state IS NOT NULL
ORDER BY number LIMIT 200;

-- name: PreviewReported :exec
-- Records which state of a preview's deployment the forge has; null means that
-- nothing will be reported any more. The claim is on preview:report.
UPDATE deployments d SET reported_state = sqlc.narg('state')::text
WHERE d.id = @id AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'preview:report' AND w.subject_id = d.preview_id AND w.epoch = @epoch);

-- name: PreviewRetracted :exec
-- Records that the forge has nothing of a closed preview any more.
UPDATE previews v SET retracted_at = now()
WHERE v.id = @id AND v.closed_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.preview_id = v.id AND d.preview_id IS NOT NULL AND d.reported_state IS NOT NULL)
  AND EXISTS (SELECT 1 FROM work w WHERE w.kind = 'preview:report' AND w.subject_id = v.id AND w.epoch = @epoch);

-- name: PreviewCommented :exec
-- Records whether a preview may have written the comment on its pull request.
UPDATE previews SET commented = @commented WHERE id = @id AND commented <> @commented;

-- name: PreviewsRequestReports :exec
-- Requests reports on the pull requests of a pipeline.
INSERT INTO work (kind, subject_id)
SELECT 'preview:report', v.id FROM previews v
WHERE v.pipeline_id = @pipeline_id AND v.closed_at IS NULL AND v.kind = 'pull_request' ORDER BY v.id LIMIT 1000
ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;

-- name: PreviewReportsOfPipeline :many
-- Returns the deployments of a pipeline's previews of which something may be at
-- the forge.
SELECT d.* FROM previews v
JOIN deployments d ON d.preview_id = v.id AND d.preview_id IS NOT NULL
WHERE v.pipeline_id = @pipeline_id AND d.commit_sha IS NOT NULL AND d.reported_state IS NOT NULL
ORDER BY d.number LIMIT 500;

-- name: PreviewReportsHeld :one
-- Reports whether a worker holds the report on a preview of a pipeline.
SELECT EXISTS (
    SELECT 1 FROM previews v JOIN work w ON w.subject_id = v.id AND w.kind = 'preview:report'
    WHERE v.pipeline_id = @pipeline_id AND w.lease_until > now()
);
