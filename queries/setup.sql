-- name: ForgeAppGet :one
SELECT * FROM forge_apps WHERE provider = @provider;

-- name: ForgeAppPut :exec
-- Stores an app and replaces the previous one.
WITH entry AS (
    INSERT INTO audit (actor, action, subject, detail) VALUES (@actor, 'app.setup', @name, @url)
)
INSERT INTO forge_apps (provider, app_id, name, url, credentials, actor)
VALUES (@provider, @app_id, @name, @url, @credentials, @actor)
ON CONFLICT (provider) DO UPDATE
SET app_id = excluded.app_id, name = excluded.name, url = excluded.url, credentials = excluded.credentials,
    actor = excluded.actor, changed_at = clock_timestamp();

-- name: SetupStateIssue :exec
-- Begins a set-up, and deletes expired ones that were not finished.
WITH forgotten AS (
    DELETE FROM setup_states WHERE client_key IS NULL AND expires_at < now()
)
INSERT INTO setup_states (hash, provider, actor, app_key, client_key, expires_at, used_at)
VALUES (@hash, @provider, @actor, sqlc.narg('app_key'), sqlc.narg('client_key'),
        now() + make_interval(secs => @valid_seconds::float8), CASE WHEN sqlc.narg('client_key')::text IS NOT NULL THEN now() END);

-- name: SetupStateUse :one
-- Ends a set-up that this actor began. Returns no row the second time, or
-- after it has expired.
UPDATE setup_states SET used_at = now()
WHERE hash = @hash AND provider = @provider AND actor = @actor AND used_at IS NULL AND expires_at > now()
RETURNING *;

-- name: ConnectStateGet :one
-- Returns the state in a Connect app's address, if it is still good for a
-- first installation or is bound to one.
SELECT * FROM setup_states
WHERE hash = @hash AND provider = 'bitbucket' AND (client_key IS NOT NULL OR (used_at IS NULL AND expires_at > now()));

-- name: ConnectStateLock :one
-- Makes installations at one address take turns.
SELECT * FROM setup_states
WHERE hash = @hash AND provider = 'bitbucket' AND (client_key IS NOT NULL OR (used_at IS NULL AND expires_at > now()))
FOR UPDATE;

-- name: ConnectStateBind :exec
UPDATE setup_states SET used_at = now(), client_key = @client_key::text WHERE hash = @hash AND client_key IS NULL;

-- name: InstallationLock :one
SELECT * FROM installations WHERE provider = @provider AND id = @id FOR UPDATE;

-- name: InstallationSeal :exec
-- Records an installation with its sealed credentials.
UPDATE installations SET account = @account, state = 'active', credentials = @credentials, changed_at = now()
WHERE provider = @provider AND id = @id;

-- name: InstallationList :many
SELECT * FROM installations WHERE provider = @provider ORDER BY id LIMIT 1000;
