-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS "audit" (
    "id" uuid NOT NULL DEFAULT gen_random_uuid(),
    "time" timestamptz NOT NULL DEFAULT now(),
    "actor" text NOT NULL,
    "action" text NOT NULL,
    "subject" text NOT NULL,
    "detail" text NOT NULL DEFAULT '',
    "pipeline_id" uuid NULL,
    "slug" text NOT NULL DEFAULT '',
    "deployment_id" uuid NULL,
    "remote" text NOT NULL DEFAULT '',
    PRIMARY KEY ("id")
);
CREATE INDEX IF NOT EXISTS "audit_time" ON "audit" ("time", "id");
CREATE INDEX IF NOT EXISTS "audit_pipeline" ON "audit" ("pipeline_id", "time");
DROP INDEX CONCURRENTLY IF EXISTS "events_time";
CREATE INDEX CONCURRENTLY "events_time" ON "events" ("time", "pipeline_id", "version");

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "events_time";
DROP TABLE IF EXISTS "audit";
