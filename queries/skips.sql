-- name: SkipCreates :batchexec
-- Records a commit that is not built, and requests the report about it.
WITH noted AS (
    INSERT INTO skips (id, pipeline_id, commit_sha, reason, preview) VALUES (@id, @pipeline_id, @commit_sha, @reason, @preview)
    RETURNING id
)
INSERT INTO work (kind, subject_id) SELECT 'forge:report', noted.id FROM noted;

-- name: SkipGet :one
SELECT * FROM skips WHERE id = @id;

-- name: SkipBuilt :one
-- Reports whether a skipped commit has a deployment of its own all the same, for
-- the site or, if it is skipped as a preview's, for a preview.
SELECT EXISTS (
    SELECT FROM deployments d WHERE d.pipeline_id = s.pipeline_id AND d.commit_sha = s.commit_sha
    AND d.kind = CASE WHEN s.preview THEN 'preview' ELSE 'automated' END
) FROM skips s WHERE s.id = @id;

-- name: SkipForget :exec
-- Deletes a skipped commit after it was reported.
DELETE FROM skips WHERE id = @id;
