-- name: SessionCreate :exec
INSERT INTO sessions (hash, token_id, once, expires_at, user_agent)
VALUES (@hash, @token_id, @once, now() + make_interval(secs => @valid_seconds::float8), @user_agent);

-- name: SessionGet :one
-- The holder of a session that has neither ended nor been idle for too long,
-- whose token stands.
SELECT t.id, t.name, t.role, t.pipelines, (u.token_id IS NOT NULL)::bool AS person, (s.last_seen_at < now() - interval '1 minute')::bool AS stale
FROM sessions s JOIN tokens t ON t.id = s.token_id LEFT JOIN users u ON u.token_id = t.id
WHERE s.hash = @hash AND NOT s.once AND s.expires_at > now()
  AND s.last_seen_at > now() - make_interval(secs => @idle_seconds::float8)
  AND (t.expires_at IS NULL OR t.expires_at > now());

-- name: SessionSeen :exec
-- Notes that a session is in use, once a minute: not every request may write.
UPDATE sessions SET last_seen_at = now() WHERE hash = @hash AND last_seen_at < now() - interval '1 minute';

-- name: SessionRedeem :one
-- Uses up a sign-in link.
WITH used AS (DELETE FROM sessions d WHERE d.hash = @hash AND d.once AND d.expires_at > now() RETURNING d.token_id)
SELECT t.id, t.name, t.role, t.pipelines FROM used JOIN tokens t ON t.id = used.token_id WHERE t.expires_at IS NULL OR t.expires_at > now();

-- name: SessionList :many
-- Lists sessions that stand, the newest first. The page ends before the session
-- with this time and hash.
SELECT s.hash, t.id, t.name, t.role, t.pipelines, (u.token_id IS NOT NULL)::bool AS person, s.created_at, s.last_seen_at, s.expires_at, s.user_agent
FROM sessions s JOIN tokens t ON t.id = s.token_id LEFT JOIN users u ON u.token_id = t.id
WHERE NOT s.once AND s.expires_at > now() AND s.last_seen_at > now() - make_interval(secs => @idle_seconds::float8)
  AND (t.expires_at IS NULL OR t.expires_at > now())
  AND (s.created_at, s.hash) < (@before_time::timestamptz, @before_hash::bytea)
ORDER BY s.created_at DESC, s.hash DESC LIMIT @page_limit;

-- name: SessionListOf :many
-- Is SessionList for one token.
SELECT s.hash, t.id, t.name, t.role, t.pipelines, (u.token_id IS NOT NULL)::bool AS person, s.created_at, s.last_seen_at, s.expires_at, s.user_agent
FROM sessions s JOIN tokens t ON t.id = s.token_id LEFT JOIN users u ON u.token_id = t.id
WHERE s.token_id = @token_id AND NOT s.once AND s.expires_at > now() AND s.last_seen_at > now() - make_interval(secs => @idle_seconds::float8)
  AND (t.expires_at IS NULL OR t.expires_at > now())
  AND (s.created_at, s.hash) < (@before_time::timestamptz, @before_hash::bytea)
ORDER BY s.created_at DESC, s.hash DESC LIMIT @page_limit;

-- name: SessionEnd :one
-- Ends a session, of any token or of one.
WITH ended AS (
    DELETE FROM sessions d WHERE d.hash = @hash AND (sqlc.narg('token_id')::uuid IS NULL OR d.token_id = sqlc.narg('token_id'))
    RETURNING d.token_id, d.created_at, d.user_agent
)
SELECT t.id, t.name, t.role, t.pipelines, (u.token_id IS NOT NULL)::bool AS person, ended.created_at, ended.user_agent
FROM ended JOIN tokens t ON t.id = ended.token_id LEFT JOIN users u ON u.token_id = t.id;

-- name: SessionsTidy :exec
-- Removes sessions that have expired, and of a token's all but the newest 50.
WITH expired AS (
    DELETE FROM sessions old WHERE old.expires_at <= now()
)
DELETE FROM sessions WHERE hash = ANY(ARRAY(
    SELECT s.hash FROM sessions s WHERE s.token_id = @token_id ORDER BY s.created_at DESC, s.hash OFFSET 50));
