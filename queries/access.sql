-- name: AccessGet :one
-- Returns who may see a pipeline's site, and whether a worker that tried to
-- apply it failed.
SELECT sqlc.embed(a), coalesce((SELECT w.cause FROM work w WHERE w.subject_id = a.pipeline_id AND w.kind = 'access'), '')::text AS cause
FROM access a WHERE a.pipeline_id = @pipeline_id;

-- name: AccessPasswordList :many
-- Lists the passwords without their secrets.
SELECT name, changed_at FROM access_passwords WHERE pipeline_id = @pipeline_id ORDER BY name;

-- name: AccessChange :one
-- Begins a change. The caller has locked the pipeline, and changes networks
-- or passwords in the same transaction. The first salt stays, so that all
-- passwords share it.
INSERT INTO access (pipeline_id, salt) VALUES (@pipeline_id, @salt)
ON CONFLICT (pipeline_id) DO UPDATE SET generation = access.generation + 1, changed_at = now(),
    salt = CASE WHEN access.salt = '' THEN excluded.salt ELSE access.salt END
RETURNING *;

-- name: AccessSetNetworks :exec
UPDATE access SET networks = @networks WHERE pipeline_id = @pipeline_id;

-- name: AccessSetScope :exec
UPDATE access SET scope = @scope WHERE pipeline_id = @pipeline_id;

-- name: AccessSetPreviewKey :exec
UPDATE access SET preview_key = sqlc.narg('preview_key'), scope = @scope WHERE pipeline_id = @pipeline_id;

-- name: AccessPasswordSet :exec
INSERT INTO access_passwords (pipeline_id, name, id, secret) VALUES (@pipeline_id, @name, @id, @secret)
ON CONFLICT (pipeline_id, name) DO UPDATE SET id = excluded.id, secret = excluded.secret, changed_at = now();

-- name: AccessPasswordRemove :execrows
DELETE FROM access_passwords WHERE pipeline_id = @pipeline_id AND name = @name;

-- name: AccessPasswordsClear :exec
DELETE FROM access_passwords WHERE pipeline_id = @pipeline_id;

-- name: AccessWanted :one
-- Returns the whole protection as of one moment. The arrays of the passwords
-- have the same order.
SELECT a.generation, a.applied, a.scope, a.networks, a.preview_key,
       ARRAY(SELECT p.name FROM access_passwords p WHERE p.pipeline_id = a.pipeline_id ORDER BY p.name)::text[] AS names,
       ARRAY(SELECT p.id FROM access_passwords p WHERE p.pipeline_id = a.pipeline_id ORDER BY p.name)::uuid[] AS ids,
       ARRAY(SELECT p.secret FROM access_passwords p WHERE p.pipeline_id = a.pipeline_id ORDER BY p.name)::bytea[] AS secrets
FROM access a WHERE a.pipeline_id = @pipeline_id;

-- name: AccessOfHost :one
-- Returns the pipeline whose site a host is.
SELECT d.pipeline_id FROM domains d WHERE d.host = @host AND d.kind = 'site';

-- name: AccessRecordApplied :exec
-- Records that a generation, or a later one, holds.
UPDATE access SET applied = greatest(applied, @generation), applied_at = now()
WHERE pipeline_id = @pipeline_id AND applied < @generation;

-- name: AccessResequence :one
-- Gives the protection a generation above the one in force, which this
-- database never issued.
UPDATE access SET generation = greatest(generation, @in_force::bigint) + 1
WHERE pipeline_id = @pipeline_id AND generation = @generation
RETURNING generation;
