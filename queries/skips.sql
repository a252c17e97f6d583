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
-- Reports whether a skipped commit has reports of its own all the same: those of a
-- deployment of the site or, if it is skipped as a preview's, of a preview, which
-- may also wait for an approval.
SELECT (EXISTS (
    SELECT FROM deployments d WHERE d.pipeline_id = s.pipeline_id AND d.commit_sha = s.commit_sha
    AND d.kind = CASE WHEN s.preview THEN 'preview' ELSE 'automated' END
) OR s.preview AND EXISTS (
    SELECT FROM previews v WHERE v.pipeline_id = s.pipeline_id AND v.head_commit = s.commit_sha AND v.closed_at IS NULL
))::bool AS built FROM skips s WHERE s.id = @id;

-- name: SkipForget :exec
-- Deletes a skipped commit after it was reported.
DELETE FROM skips WHERE id = @id;
