-- People who sign in with OpenID Connect.

-- name: SignInUse :execrows
-- Uses up the state of a sign-in. No row means that it was used before.
INSERT INTO sign_ins (hash, expires_at) VALUES (@hash, now() + make_interval(secs => @valid_seconds::float8)) ON CONFLICT DO NOTHING;

-- name: SignInUseUntil :execrows
-- Uses up a token of CI. No row means that it was exchanged before.
INSERT INTO sign_ins (hash, expires_at) VALUES (@hash, @expires_at) ON CONFLICT DO NOTHING;

-- name: SignInsExpire :exec
DELETE FROM sign_ins WHERE expires_at < now();

-- name: UserSignIn :one
-- Records what a person may do according to a sign-in, from which the id is
-- derived. The hash belongs to no token's text.
WITH holder AS (
    INSERT INTO tokens AS t (id, name, role, hash, pipelines, expires_at, created_by, last_used_at)
    VALUES (@id, @name, @role, @hash, sqlc.narg('pipelines')::uuid[], now() + make_interval(secs => @valid_seconds::float8), @issuer, now())
    ON CONFLICT (id) DO UPDATE
        SET name = excluded.name, role = excluded.role, pipelines = excluded.pipelines, expires_at = excluded.expires_at, last_used_at = excluded.last_used_at
    RETURNING t.id
)
INSERT INTO users AS u (token_id, issuer, subject, full_name, email, groups)
SELECT holder.id, @issuer, @subject, @full_name, @email, @groups::text[] FROM holder
ON CONFLICT (token_id) DO UPDATE
    SET full_name = excluded.full_name, email = excluded.email, groups = excluded.groups, signed_in_at = now()
RETURNING u.token_id;

-- name: UserForget :one
-- Ends what a person may do, and all sessions of the person.
DELETE FROM tokens t USING users u WHERE u.token_id = t.id AND t.id = @id RETURNING t.name, t.role, t.pipelines;

-- name: UserList :many
-- Lists people, the last sign-in first. The page ends before the person with
-- this time and id.
SELECT t.id, t.name, t.role, t.pipelines, u.full_name, u.email, u.groups, u.signed_in_at, (t.expires_at <= now())::bool AS expired,
       (SELECT coalesce(array_agg(p.slug ORDER BY p.slug), '{}') FROM pipelines p WHERE p.id = ANY(t.pipelines))::text[] AS slugs
FROM users u JOIN tokens t ON t.id = u.token_id
WHERE (u.signed_in_at, u.token_id) < (@before_time::timestamptz, @before_id::uuid)
ORDER BY u.signed_in_at DESC, u.token_id DESC LIMIT @page_limit;

-- name: PipelineIDs :many
-- Finds the pipelines with these slugs.
SELECT id FROM pipelines WHERE slug = ANY(@slugs::text[]) ORDER BY id;
