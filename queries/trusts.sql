-- Rules by which jobs of CI get tokens of a pipeline.

-- name: TrustAdd :one
-- Returns no row if the pipeline has the rule.
INSERT INTO trusts (id, pipeline_id, provider, issuer, repository_id, owner_id, ref, environment, workflow, previews_only, created_by)
VALUES (@id, @pipeline_id, @provider, @issuer, @repository_id, @owner_id, @ref, @environment, @workflow, @previews_only, @created_by)
ON CONFLICT DO NOTHING
RETURNING *;

-- name: TrustGet :one
SELECT * FROM trusts WHERE id = @id;

-- name: TrustList :many
-- Lists the rules of a pipeline, the oldest first. They are few.
SELECT * FROM trusts WHERE pipeline_id = @pipeline_id ORDER BY created_at, id;

-- name: TrustRemove :one
-- Deletes a rule, and with it the tokens that jobs got by it.
DELETE FROM trusts WHERE id = @id AND pipeline_id = @pipeline_id RETURNING *;

-- name: TrustLock :one
-- Keeps a rule from being deleted until the transaction ends.
SELECT id FROM trusts WHERE id = @id FOR KEY SHARE;

-- name: TokensExpire :execrows
-- Deletes the oldest expired tokens that jobs got, a few at a time.
DELETE FROM tokens WHERE id = ANY(ARRAY(
    SELECT t.id FROM tokens t
    WHERE t.trust_id IS NOT NULL AND t.expires_at < now()
    ORDER BY t.expires_at LIMIT 500
    FOR UPDATE SKIP LOCKED));
