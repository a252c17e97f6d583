-- name: ForgeAppGet :one
SELECT * FROM forge_apps WHERE provider = @provider;

-- name: ForgeAppPut :exec
-- Takes the place of the app that was there.
INSERT INTO forge_apps (provider, app_id, name, url, credentials, actor)
VALUES (@provider, @app_id, @name, @url, @credentials, @actor)
ON CONFLICT (provider) DO UPDATE
SET app_id = excluded.app_id, name = excluded.name, url = excluded.url, credentials = excluded.credentials,
    actor = excluded.actor, changed_at = clock_timestamp();

-- name: SetupStateIssue :exec
-- Begins a set-up, and forgets those that nobody ended.
WITH forgotten AS (
    DELETE FROM setup_states WHERE client_key IS NULL AND expires_at < now()
)
INSERT INTO setup_states (hash, provider, actor, app_key, client_key, expires_at, used_at)
VALUES (@hash, @provider, @actor, sqlc.narg('app_key'), sqlc.narg('client_key'),
        now() + make_interval(secs => @valid_seconds::float8), CASE WHEN sqlc.narg('client_key')::text IS NOT NULL THEN now() END);

-- name: SetupStateUse :one
-- Ends a set-up that this actor began; nothing is returned the second time, or
-- too late.
UPDATE setup_states SET used_at = now()
WHERE hash = @hash AND provider = @provider AND actor = @actor AND used_at IS NULL AND expires_at > now()
RETURNING *;

-- name: ConnectStateGet :one
-- The state of a Connect app's address: good for a first installation still, or
-- bound to one.
SELECT * FROM setup_states
WHERE hash = @hash AND provider = 'bitbucket' AND (client_key IS NOT NULL OR (used_at IS NULL AND expires_at > now()));

-- name: ConnectStateLock :one
-- Installations by one address take turns.
SELECT * FROM setup_states
WHERE hash = @hash AND provider = 'bitbucket' AND (client_key IS NOT NULL OR (used_at IS NULL AND expires_at > now()))
FOR UPDATE;

-- name: ConnectStateBind :exec
UPDATE setup_states SET used_at = now(), client_key = @client_key::text WHERE hash = @hash AND client_key IS NULL;

-- name: InstallationLock :one
SELECT * FROM installations WHERE provider = @provider AND id = @id FOR UPDATE;

-- name: InstallationSeal :exec
-- Writes down an installation with the credentials it gave.
UPDATE installations SET account = @account, state = 'active', credentials = @credentials, changed_at = now()
WHERE provider = @provider AND id = @id;

-- name: InstallationList :many
SELECT * FROM installations WHERE provider = @provider ORDER BY id LIMIT 1000;
