-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE "work" ADD COLUMN IF NOT EXISTS "pipeline_id" uuid NULL;
ALTER TABLE "work" ADD COLUMN IF NOT EXISTS "worker" text NOT NULL DEFAULT '';
ALTER TABLE "work" ADD COLUMN IF NOT EXISTS "claimed_at" timestamptz NULL;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION work_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind IN ('deployment:build', 'deployment:poll-build', 'forge:report') THEN
        SELECT d.pipeline_id INTO NEW.pipeline_id FROM deployments d WHERE d.id = NEW.subject_id;
        IF NEW.pipeline_id IS NULL THEN
            SELECT s.pipeline_id INTO NEW.pipeline_id FROM skips s WHERE s.id = NEW.subject_id;
        END IF;
    ELSE
        NEW.pipeline_id := NEW.subject_id;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE OR REPLACE TRIGGER work_pipeline BEFORE INSERT ON "work" FOR EACH ROW EXECUTE FUNCTION work_pipeline();
UPDATE "work" w SET pipeline_id = CASE WHEN w.kind NOT IN ('deployment:build', 'deployment:poll-build', 'forge:report') THEN w.subject_id
    ELSE coalesce((SELECT d.pipeline_id FROM deployments d WHERE d.id = w.subject_id), (SELECT s.pipeline_id FROM skips s WHERE s.id = w.subject_id)) END
WHERE w.pipeline_id IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS "work_pipeline";
CREATE INDEX CONCURRENTLY "work_pipeline" ON "work" ("pipeline_id", "due_at", "subject_id", "kind") INCLUDE ("lease_until", "attempt", "cause");
DROP INDEX CONCURRENTLY IF EXISTS "work_failing";
CREATE INDEX CONCURRENTLY "work_failing" ON "work" ("due_at", "subject_id", "kind") WHERE attempt > 0 AND cause <> '';
CREATE TABLE IF NOT EXISTS "pauses" (
    "queue" text NOT NULL,
    "actor" text NOT NULL,
    "reason" text NOT NULL,
    "at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("queue")
);
DROP INDEX CONCURRENTLY IF EXISTS "events_actor";
CREATE INDEX CONCURRENTLY "events_actor" ON "events" ("actor", "time", "pipeline_id", "version");
DROP INDEX CONCURRENTLY IF EXISTS "audit_actor";
CREATE INDEX CONCURRENTLY "audit_actor" ON "audit" ("actor", "time", "id");
DROP INDEX CONCURRENTLY IF EXISTS "deployments_finished";
CREATE INDEX CONCURRENTLY "deployments_finished" ON "deployments" ("finished_at") INCLUDE ("state", "kind", "started_at") WHERE finished_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS "days" (
    "day" timestamptz NOT NULL,
    "succeeded" bigint NOT NULL,
    "failed" bigint NOT NULL,
    "cancelled" bigint NOT NULL,
    "superseded" bigint NOT NULL,
    "build_p50" double precision NULL,
    "build_p95" double precision NULL,
    PRIMARY KEY ("day")
);

-- +goose Down
DROP TABLE IF EXISTS "days";
DROP INDEX CONCURRENTLY IF EXISTS "deployments_finished";
DROP INDEX CONCURRENTLY IF EXISTS "audit_actor";
DROP INDEX CONCURRENTLY IF EXISTS "events_actor";
DROP TABLE IF EXISTS "pauses";
DROP INDEX CONCURRENTLY IF EXISTS "work_failing";
DROP INDEX CONCURRENTLY IF EXISTS "work_pipeline";
DROP TRIGGER IF EXISTS work_pipeline ON "work";
DROP FUNCTION IF EXISTS work_pipeline();
ALTER TABLE "work" DROP COLUMN IF EXISTS "claimed_at";
ALTER TABLE "work" DROP COLUMN IF EXISTS "worker";
ALTER TABLE "work" DROP COLUMN IF EXISTS "pipeline_id";
