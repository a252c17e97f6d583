-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS "pull_requests" (
    "id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "repository_id" text NOT NULL,
    "number" bigint NOT NULL,
    "title" text NOT NULL,
    "url" text NOT NULL,
    "head" text NOT NULL,
    "head_commit" text NOT NULL,
    "head_repository" text NOT NULL,
    "head_full_name" text NOT NULL,
    "base" text NOT NULL,
    "draft" boolean NOT NULL,
    "open" boolean NOT NULL,
    "author_id" text NOT NULL,
    "author" text NOT NULL,
    "changed_at" timestamptz NOT NULL,
    "head_at" timestamptz NOT NULL,
    "version" bigint NOT NULL DEFAULT 1,
    "build" boolean NOT NULL,
    "wanted" boolean NOT NULL,
    "decision" text NOT NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "updated_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("id"),
    CONSTRAINT "pull_requests_number_key" UNIQUE ("pipeline_id", "repository_id", "number"),
    CONSTRAINT "pull_requests_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "pull_requests_open" ON "pull_requests" ("pipeline_id", "number") WHERE open;
CREATE INDEX IF NOT EXISTS "pull_requests_undecided" ON "pull_requests" ("updated_at") WHERE build;
CREATE TABLE IF NOT EXISTS "pull_request_commands" (
    "id" uuid NOT NULL,
    "pull_request_id" uuid NOT NULL,
    "author_id" text NOT NULL,
    "author" text NOT NULL,
    "commit_sha" text NOT NULL,
    "written_at" timestamptz NOT NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("id"),
    CONSTRAINT "pull_request_commands_pull_request_id_fkey" FOREIGN KEY ("pull_request_id") REFERENCES "pull_requests" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "pull_request_commands_subject" ON "pull_request_commands" ("pull_request_id", "id");
ALTER TABLE "previews" ADD COLUMN IF NOT EXISTS "retracted_at" timestamptz NULL;
DROP INDEX CONCURRENTLY IF EXISTS "previews_unretracted";
CREATE INDEX CONCURRENTLY "previews_unretracted" ON "previews" ("closed_at") WHERE ((closed_at IS NOT NULL) AND (retracted_at IS NULL));
DROP INDEX CONCURRENTLY IF EXISTS "deployments_preview_unreported";
CREATE INDEX CONCURRENTLY "deployments_preview_unreported" ON "deployments" ("preview_id") WHERE ((preview_id IS NOT NULL) AND (state <> 'publishing'::text) AND (commit_sha IS NOT NULL) AND (reported_state IS NOT NULL) AND (NULLIF(state, reported_state) = state));
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION preview_report() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO work (kind, subject_id) VALUES ('preview:report', NEW.preview_id)
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION preview_retract() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.closed_at IS NULL THEN
        NEW.retracted_at := NULL;
    ELSE
        INSERT INTO work (kind, subject_id) VALUES ('preview:report', NEW.id)
        ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE OR REPLACE TRIGGER preview_report AFTER INSERT OR UPDATE OF state ON deployments FOR EACH ROW
    WHEN (NEW.preview_id IS NOT NULL AND NEW.commit_sha IS NOT NULL) EXECUTE FUNCTION preview_report();
CREATE OR REPLACE TRIGGER preview_retract BEFORE UPDATE OF closed_at ON previews FOR EACH ROW
    WHEN ((OLD.closed_at IS NULL) <> (NEW.closed_at IS NULL)) EXECUTE FUNCTION preview_retract();
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
    ELSIF NEW.kind = 'forge:pull-request' THEN
        SELECT r.pipeline_id INTO NEW.pipeline_id FROM pull_requests r WHERE r.id = NEW.subject_id;
    ELSE
        NEW.pipeline_id := NEW.subject_id;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose Down
DELETE FROM "work" WHERE "kind" IN ('forge:pull-request', 'preview:report');
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
DROP TRIGGER IF EXISTS preview_retract ON "previews";
DROP TRIGGER IF EXISTS preview_report ON "deployments";
DROP FUNCTION IF EXISTS preview_retract();
DROP FUNCTION IF EXISTS preview_report();
DROP INDEX CONCURRENTLY IF EXISTS "deployments_preview_unreported";
DROP INDEX CONCURRENTLY IF EXISTS "previews_unretracted";
ALTER TABLE "previews" DROP COLUMN IF EXISTS "retracted_at";
DROP TABLE IF EXISTS "pull_request_commands";
DROP TABLE IF EXISTS "pull_requests";
