-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS "deliveries_body";
CREATE UNIQUE INDEX CONCURRENTLY "deliveries_body" ON "deliveries" ("source", "body_sha256");
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_repository";
CREATE INDEX CONCURRENTLY "pipelines_repository" ON "pipelines" ("repository_provider", "repository_id");

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "deliveries_body";
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_repository";
