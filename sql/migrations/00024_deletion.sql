-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE "pipelines" ADD COLUMN IF NOT EXISTS "delete_due_at" timestamptz NULL,
    ADD COLUMN IF NOT EXISTS "delete_asked_at" timestamptz NULL,
    ADD COLUMN IF NOT EXISTS "delete_asked_by" text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS "restore_status" text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS "restore_cause" text NOT NULL DEFAULT '';
CREATE TABLE IF NOT EXISTS "thumbnails" (
    "pipeline_id" uuid NOT NULL,
    "deployment_id" uuid NOT NULL,
    "image" bytea NOT NULL,
    "version" text NOT NULL,
    "taken_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id"),
    CONSTRAINT "thumbnails_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON DELETE CASCADE
);
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_delete_due";
CREATE INDEX CONCURRENTLY "pipelines_delete_due" ON "pipelines" ("app_id") WHERE "delete_due_at" IS NOT NULL;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_delete_due";
DROP TABLE IF EXISTS "thumbnails";
ALTER TABLE "pipelines" DROP COLUMN IF EXISTS "delete_due_at",
    DROP COLUMN IF EXISTS "delete_asked_at",
    DROP COLUMN IF EXISTS "delete_asked_by",
    DROP COLUMN IF EXISTS "restore_status",
    DROP COLUMN IF EXISTS "restore_cause";
