-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE "storage"
    ADD COLUMN IF NOT EXISTS "used_files" bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS "used_bytes" bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS "used_changes" bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS "counted_at" timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00+00';
ALTER TABLE "storage" ALTER COLUMN "counted_at" SET DEFAULT now();
DROP INDEX CONCURRENTLY IF EXISTS "storage_used";
CREATE INDEX CONCURRENTLY "storage_used" ON "storage" ("used_bytes", "pipeline_id");
DROP INDEX CONCURRENTLY IF EXISTS "storage_counted";
CREATE INDEX CONCURRENTLY "storage_counted" ON "storage" ("counted_at");
CREATE TABLE IF NOT EXISTS "counted_trees" (
    "tree_id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    PRIMARY KEY ("tree_id"),
    CONSTRAINT "counted_trees_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "counted_trees_pipeline" ON "counted_trees" ("pipeline_id");
CREATE TABLE IF NOT EXISTS "quotas" (
    "pipeline_id" uuid NOT NULL,
    "bytes" bigint NULL,
    "files" bigint NULL,
    "open_releases" bigint NULL,
    "set_by" text NOT NULL,
    "set_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id"),
    CONSTRAINT "quotas_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE,
    CONSTRAINT "quotas_bytes_check" CHECK (bytes >= 0),
    CONSTRAINT "quotas_files_check" CHECK (files >= 0),
    CONSTRAINT "quotas_open_releases_check" CHECK (open_releases >= 0)
);
ALTER TABLE "releases" ADD COLUMN IF NOT EXISTS "given_up_at" timestamptz NULL;

-- +goose Down
ALTER TABLE "releases" DROP COLUMN IF EXISTS "given_up_at";
DROP TABLE IF EXISTS "quotas";
DROP TABLE IF EXISTS "counted_trees";
DROP INDEX CONCURRENTLY IF EXISTS "storage_counted";
DROP INDEX CONCURRENTLY IF EXISTS "storage_used";
ALTER TABLE "storage" DROP COLUMN IF EXISTS "used_files", DROP COLUMN IF EXISTS "used_bytes", DROP COLUMN IF EXISTS "used_changes", DROP COLUMN IF EXISTS "counted_at";
