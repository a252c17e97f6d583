-- name: SkipCreates :batchexec
-- Notes a commit that is not built, and asks for the report that says so.
WITH noted AS (
    INSERT INTO skips (id, pipeline_id, commit_sha, reason) VALUES (@id, @pipeline_id, @commit_sha, @reason)
    RETURNING id
)
INSERT INTO work (kind, subject_id) SELECT 'forge:report', noted.id FROM noted;

-- name: SkipGet :one
SELECT * FROM skips WHERE id = @id;

-- name: SkipForget :exec
-- Forgets a skipped commit, once nothing is left to report.
DELETE FROM skips WHERE id = @id;
