-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE "pipelines" ADD COLUMN IF NOT EXISTS "locked_at" timestamptz NULL, ADD COLUMN IF NOT EXISTS "locked_by" text NOT NULL DEFAULT '', ADD COLUMN IF NOT EXISTS "lock_reason" text NOT NULL DEFAULT '', ADD COLUMN IF NOT EXISTS "held_push" jsonb NULL;
ALTER TABLE "bell" ADD COLUMN IF NOT EXISTS "reconciled_at" timestamptz NOT NULL DEFAULT now();
-- What is there already counts as reported and emptied.
ALTER TABLE "deployments" ADD COLUMN IF NOT EXISTS "reported_state" text NULL;
ALTER TABLE "deployments" ALTER COLUMN "reported_state" SET DEFAULT '';
ALTER TABLE "builds" ADD COLUMN IF NOT EXISTS "emptied" boolean NOT NULL DEFAULT true;
ALTER TABLE "builds" ALTER COLUMN "emptied" SET DEFAULT false;
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_unfinished";
CREATE INDEX CONCURRENTLY "pipelines_unfinished" ON "pipelines" ("id") WHERE status = ANY (ARRAY['provision_request'::text, 'provisioning'::text, 'queued'::text, 'deploying'::text, 'scheduled_for_deletion'::text, 'deleting'::text]);
DROP INDEX CONCURRENTLY IF EXISTS "deployments_unreported";
CREATE INDEX CONCURRENTLY "deployments_unreported" ON "deployments" ("pipeline_id") WHERE kind = 'automated'::text AND state <> 'publishing'::text AND reported_state IS NOT NULL AND NULLIF(state, reported_state) = state;
DROP INDEX CONCURRENTLY IF EXISTS "builds_unemptied";
CREATE INDEX CONCURRENTLY "builds_unemptied" ON "builds" ("deployment_id") WHERE NOT emptied;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "builds_unemptied";
DROP INDEX CONCURRENTLY IF EXISTS "deployments_unreported";
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_unfinished";
ALTER TABLE "builds" DROP COLUMN IF EXISTS "emptied";
ALTER TABLE "deployments" DROP COLUMN IF EXISTS "reported_state";
ALTER TABLE "bell" DROP COLUMN IF EXISTS "reconciled_at";
ALTER TABLE "pipelines" DROP COLUMN IF EXISTS "held_push", DROP COLUMN IF EXISTS "lock_reason", DROP COLUMN IF EXISTS "locked_by", DROP COLUMN IF EXISTS "locked_at";
