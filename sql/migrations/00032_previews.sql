-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS "previews" (
    "id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "kind" text NOT NULL,
    "source" text NOT NULL,
    "label" text NOT NULL,
    "repository_id" text NULL,
    "number" bigint NULL,
    "branch" text NOT NULL DEFAULT '',
    "title" text NOT NULL DEFAULT '',
    "author" text NOT NULL DEFAULT '',
    "url" text NOT NULL DEFAULT '',
    "head_commit" text NULL,
    "trusted" boolean NOT NULL DEFAULT true,
    "approved_commit" text NULL,
    "approved_by" text NOT NULL DEFAULT '',
    "live_deployment_id" uuid NULL,
    "pinned" boolean NOT NULL DEFAULT false,
    "created_by" text NOT NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "updated_at" timestamptz NOT NULL DEFAULT now(),
    "pushed_at" timestamptz NOT NULL DEFAULT now(),
    "expires_at" timestamptz NOT NULL,
    "closed_at" timestamptz NULL,
    "closed_by" text NOT NULL DEFAULT '',
    "closed_cause" text NOT NULL DEFAULT '',
    "removed_at" timestamptz NULL,
    PRIMARY KEY ("id"),
    CONSTRAINT "previews_label_key" UNIQUE ("pipeline_id", "label"),
    CONSTRAINT "previews_source_key" UNIQUE ("pipeline_id", "kind", "source"),
    CONSTRAINT "previews_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE,
    CONSTRAINT "previews_kind_check" CHECK (kind = ANY (ARRAY['pull_request'::text, 'branch'::text, 'release'::text])),
    CONSTRAINT "previews_pull_request_check" CHECK ((kind = 'pull_request'::text) = ((repository_id IS NOT NULL) AND (number IS NOT NULL))),
    CONSTRAINT "previews_removed_check" CHECK ((removed_at IS NULL) OR (closed_at IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS "previews_open" ON "previews" ("pipeline_id", "pushed_at", "id") WHERE (closed_at IS NULL);
CREATE INDEX IF NOT EXISTS "previews_expire" ON "previews" ("expires_at") WHERE ((closed_at IS NULL) AND (NOT pinned));
CREATE INDEX IF NOT EXISTS "previews_unremoved" ON "previews" ("pipeline_id", "closed_at") WHERE ((closed_at IS NOT NULL) AND (removed_at IS NULL));
CREATE INDEX IF NOT EXISTS "previews_number" ON "previews" ("repository_id", "number") WHERE (kind = 'pull_request'::text);
ALTER TABLE "deployments" ADD COLUMN IF NOT EXISTS "preview_id" uuid NULL, ADD COLUMN IF NOT EXISTS "trusted" boolean NOT NULL DEFAULT true;
ALTER TABLE "deployments" DROP CONSTRAINT IF EXISTS "deployments_kind_check", ADD CONSTRAINT "deployments_kind_check" CHECK (kind = ANY (ARRAY['automated'::text, 'release'::text, 'rollback'::text, 'promotion'::text, 'preview'::text])) NOT VALID;
ALTER TABLE "deployments" VALIDATE CONSTRAINT "deployments_kind_check";
ALTER TABLE "deployments" DROP CONSTRAINT IF EXISTS "deployments_preview_check", ADD CONSTRAINT "deployments_preview_check" CHECK ((kind = 'preview'::text) = (preview_id IS NOT NULL)) NOT VALID;
ALTER TABLE "deployments" VALIDATE CONSTRAINT "deployments_preview_check";
ALTER TABLE "deployments" DROP CONSTRAINT IF EXISTS "deployments_preview_live_check", ADD CONSTRAINT "deployments_preview_live_check" CHECK ((preview_id IS NULL) OR ((sequence IS NULL) AND (live_at IS NULL))) NOT VALID;
ALTER TABLE "deployments" VALIDATE CONSTRAINT "deployments_preview_live_check";
DROP INDEX CONCURRENTLY IF EXISTS "deployments_one_live";
CREATE UNIQUE INDEX CONCURRENTLY "deployments_one_live" ON "deployments" ("pipeline_id") WHERE ((state = ANY (ARRAY['building'::text, 'publishing'::text])) AND (preview_id IS NULL));
DROP INDEX CONCURRENTLY IF EXISTS "deployments_one_running";
DROP INDEX CONCURRENTLY IF EXISTS "deployments_one_preview";
CREATE UNIQUE INDEX CONCURRENTLY "deployments_one_preview" ON "deployments" ("preview_id") WHERE ((state = ANY (ARRAY['building'::text, 'publishing'::text])) AND (preview_id IS NOT NULL));
DROP INDEX CONCURRENTLY IF EXISTS "deployments_preview";
CREATE INDEX CONCURRENTLY "deployments_preview" ON "deployments" ("preview_id", "number") WHERE (preview_id IS NOT NULL);
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION work_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind IN ('deployment:build', 'deployment:poll-build', 'forge:report') OR NEW.kind LIKE 'preview:%' THEN
        SELECT d.pipeline_id INTO NEW.pipeline_id FROM deployments d WHERE d.id = NEW.subject_id;
        IF NEW.pipeline_id IS NULL THEN
            SELECT s.pipeline_id INTO NEW.pipeline_id FROM skips s WHERE s.id = NEW.subject_id;
        END IF;
        IF NEW.pipeline_id IS NULL THEN
            SELECT v.pipeline_id INTO NEW.pipeline_id FROM previews v WHERE v.id = NEW.subject_id;
        END IF;
    ELSE
        NEW.pipeline_id := NEW.subject_id;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose Down
DELETE FROM "deployments" WHERE "kind" = 'preview';
DELETE FROM "work" WHERE "kind" LIKE 'preview:%';
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
DROP INDEX CONCURRENTLY IF EXISTS "deployments_preview";
DROP INDEX CONCURRENTLY IF EXISTS "deployments_one_preview";
DROP INDEX CONCURRENTLY IF EXISTS "deployments_one_running";
CREATE UNIQUE INDEX CONCURRENTLY "deployments_one_running" ON "deployments" ("pipeline_id") WHERE (state = ANY (ARRAY['building'::text, 'publishing'::text]));
DROP INDEX CONCURRENTLY IF EXISTS "deployments_one_live";
ALTER TABLE "deployments" DROP CONSTRAINT IF EXISTS "deployments_preview_live_check", DROP CONSTRAINT IF EXISTS "deployments_preview_check";
ALTER TABLE "deployments" DROP CONSTRAINT IF EXISTS "deployments_kind_check", ADD CONSTRAINT "deployments_kind_check" CHECK (kind = ANY (ARRAY['automated'::text, 'release'::text, 'rollback'::text, 'promotion'::text])) NOT VALID;
ALTER TABLE "deployments" VALIDATE CONSTRAINT "deployments_kind_check";
ALTER TABLE "deployments" DROP COLUMN IF EXISTS "preview_id", DROP COLUMN IF EXISTS "trusted";
DROP TABLE IF EXISTS "previews";
