-- name: TokenCreate :one
INSERT INTO tokens (id, name, role, hash, pipelines, expires_at)
VALUES (@id, @name, @role, @hash, sqlc.narg('pipelines')::uuid[], sqlc.narg('expires_at'))
RETURNING *;

-- name: TokenGetByHash :one
SELECT * FROM tokens WHERE hash = @hash AND (expires_at IS NULL OR expires_at > now());
