-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_status_id";
CREATE INDEX CONCURRENTLY "pipelines_status_id" ON "pipelines" ((status || ''), "id");
DROP INDEX CONCURRENTLY IF EXISTS "sessions_created";
CREATE INDEX CONCURRENTLY "sessions_created" ON "sessions" ("created_at", "hash");
DROP INDEX CONCURRENTLY IF EXISTS "setup_states_expires";
CREATE INDEX CONCURRENTLY "setup_states_expires" ON "setup_states" ("expires_at") WHERE client_key IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS "events_pipeline_time";
CREATE INDEX CONCURRENTLY "events_pipeline_time" ON "events" ("pipeline_id", "time", "version");
DROP INDEX CONCURRENTLY IF EXISTS "installations_account";
CREATE INDEX CONCURRENTLY "installations_account" ON "installations" ("provider", "account", "id") WHERE state <> 'deleted';

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "installations_account";
DROP INDEX CONCURRENTLY IF EXISTS "events_pipeline_time";
DROP INDEX CONCURRENTLY IF EXISTS "setup_states_expires";
DROP INDEX CONCURRENTLY IF EXISTS "sessions_created";
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_status_id";
