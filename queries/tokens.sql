-- name: TokenCreate :one
INSERT INTO tokens (id, name, role, hash, pipelines, expires_at, created_by, trust_id, previews_only)
VALUES (@id, @name, @role, @hash, sqlc.narg('pipelines')::uuid[], sqlc.narg('expires_at'), @created_by, sqlc.narg('trust_id'), @previews_only)
RETURNING *;

-- name: TokenGetByHash :one
SELECT *, (last_used_at IS NULL OR last_used_at < now() - interval '1 hour')::bool AS stale
FROM tokens WHERE hash = @hash AND (expires_at IS NULL OR expires_at > now());

-- name: TokenGet :one
SELECT t.id, t.name, t.role, t.pipelines, t.created_at, t.expires_at, t.created_by,
       (SELECT coalesce(array_agg(p.slug ORDER BY p.slug), '{}') FROM pipelines p WHERE p.id = ANY(t.pipelines))::text[] AS slugs
FROM tokens t WHERE t.id = @id;

-- name: TokenStands :one
-- Reports whether a token is neither revoked nor expired.
SELECT EXISTS (SELECT 1 FROM tokens WHERE id = @id AND (expires_at IS NULL OR expires_at > now()));

-- name: TokenUsed :exec
-- Records that a token is in use, at most once an hour, to avoid a write on
-- every request.
UPDATE tokens SET last_used_at = now()
WHERE id = @id AND (last_used_at IS NULL OR last_used_at < now() - interval '1 hour');

-- name: TokenList :many
-- Lists tokens, newest first, including expired ones. The page ends before the
-- token with this time and id. What people may do who sign in without a token is
-- not listed.
SELECT t.id, t.name, t.role, t.pipelines, t.created_at, t.expires_at, t.created_by, t.last_used_at, t.previews_only,
       (t.expires_at IS NOT NULL AND t.expires_at <= now())::bool AS expired,
       (SELECT coalesce(array_agg(p.slug ORDER BY p.slug), '{}') FROM pipelines p WHERE p.id = ANY(t.pipelines))::text[] AS slugs
FROM tokens t
WHERE (t.created_at, t.id) < (@before_time::timestamptz, @before_id::uuid) AND NOT EXISTS (SELECT 1 FROM users u WHERE u.token_id = t.id)
ORDER BY t.created_at DESC, t.id DESC LIMIT @page_limit;

-- name: TokenRevoke :one
-- Deletes a token, which is refused from then on. Its Idempotency-Keys are
-- deleted with it.
DELETE FROM tokens t WHERE t.id = @id AND NOT EXISTS (SELECT 1 FROM users u WHERE u.token_id = t.id) RETURNING t.name;
