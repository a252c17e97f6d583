-- The uploads that deployments are built from.

-- name: SourceAdd :exec
-- Makes an upload the source of a deployment, and keeps it while the deployment
-- may wait and be built.
WITH kept AS (
    UPDATE releases SET expires_at = now() + interval '2 days' WHERE id = @release_id
)
INSERT INTO sources (deployment_id, release_id) VALUES (@deployment_id, @release_id);

-- name: SourceGet :one
SELECT * FROM sources WHERE deployment_id = @deployment_id;

-- name: SourceOfRelease :one
SELECT * FROM sources WHERE release_id = @release_id;
