-- name: SkipCreates :batchexec
-- Records a commit that is not built, and requests the report about it.
WITH noted AS (
    INSERT INTO skips (id, pipeline_id, commit_sha, reason) VALUES (@id, @pipeline_id, @commit_sha, @reason)
    RETURNING id
)
INSERT INTO work (kind, subject_id) SELECT 'forge:report', noted.id FROM noted;

-- name: SkipGet :one
SELECT * FROM skips WHERE id = @id;

-- name: SkipForget :exec
-- Deletes a skipped commit after it was reported.
DELETE FROM skips WHERE id = @id;
