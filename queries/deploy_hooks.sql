-- Addresses that start a deployment.

-- name: DeployHookAdd :one
-- Returns no row if the pipeline has a hook of the name.
INSERT INTO deploy_hooks (id, pipeline_id, name, branch, hash, created_by)
VALUES (@id, @pipeline_id, @name, @branch, @hash, @created_by)
ON CONFLICT ON CONSTRAINT deploy_hooks_name_key DO NOTHING
RETURNING *;

-- name: DeployHookOfHash :one
SELECT * FROM deploy_hooks WHERE hash = @hash;

-- name: DeployHookList :many
-- Lists the hooks of a pipeline, the oldest first. They are few.
SELECT * FROM deploy_hooks WHERE pipeline_id = @pipeline_id ORDER BY created_at, id;

-- name: DeployHookUsed :execrows
-- Records a call. It affects no row if the hook was deleted meanwhile.
UPDATE deploy_hooks SET last_used_at = now() WHERE id = @id;

-- name: DeployHookRemove :one
DELETE FROM deploy_hooks WHERE id = @id AND pipeline_id = @pipeline_id RETURNING *;
