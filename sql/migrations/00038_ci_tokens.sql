-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS "trusts" (
    "id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "provider" text NOT NULL,
    "issuer" text NOT NULL,
    "repository_id" text NOT NULL,
    "owner_id" text NOT NULL,
    "ref" text NOT NULL DEFAULT '',
    "environment" text NOT NULL DEFAULT '',
    "workflow" text NOT NULL DEFAULT '',
    "previews_only" boolean NOT NULL DEFAULT false,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "created_by" text NOT NULL,
    PRIMARY KEY ("id"),
    CONSTRAINT "trusts_rule_key" UNIQUE ("pipeline_id", "issuer", "repository_id", "owner_id", "ref", "environment", "workflow"),
    CONSTRAINT "trusts_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE,
    CONSTRAINT "trusts_provider_check" CHECK (provider = ANY (ARRAY['github'::text, 'gitlab'::text, 'bitbucket'::text]))
);
ALTER TABLE "tokens" ADD COLUMN IF NOT EXISTS "previews_only" boolean NOT NULL DEFAULT false;
ALTER TABLE "tokens" ADD COLUMN IF NOT EXISTS "trust_id" uuid NULL
    CONSTRAINT "tokens_trust_id_fkey" REFERENCES "trusts" ("id") ON UPDATE NO ACTION ON DELETE CASCADE;
DROP INDEX CONCURRENTLY IF EXISTS "tokens_exchanged";
CREATE INDEX CONCURRENTLY "tokens_exchanged" ON "tokens" ("expires_at") WHERE (trust_id IS NOT NULL);
DROP INDEX CONCURRENTLY IF EXISTS "tokens_trust";
CREATE INDEX CONCURRENTLY "tokens_trust" ON "tokens" ("trust_id");

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "tokens_trust";
DROP INDEX CONCURRENTLY IF EXISTS "tokens_exchanged";
ALTER TABLE "tokens" DROP COLUMN IF EXISTS "trust_id", DROP COLUMN IF EXISTS "previews_only";
DROP TABLE IF EXISTS "trusts";
