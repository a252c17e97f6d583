-- +goose Up
ALTER TABLE "deliveries" ADD COLUMN "body_sha256" bytea NULL;
CREATE TABLE "installations" (
    "provider" text NOT NULL,
    "id" text NOT NULL,
    "account" text NOT NULL DEFAULT '',
    "state" text NOT NULL DEFAULT 'active',
    "credentials" bytea NULL,
    "changed_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("provider", "id"),
    CONSTRAINT "installations_state_check" CHECK (state = ANY (ARRAY['active'::text, 'suspended'::text, 'deleted'::text]))
);
CREATE TABLE "repositories" (
    "provider" text NOT NULL,
    "id" text NOT NULL,
    "full_name" text NOT NULL,
    "default_branch" text NOT NULL DEFAULT '',
    "installation_id" text NULL,
    "changed_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("provider", "id")
);
CREATE INDEX "repositories_installation" ON "repositories" ("provider", "installation_id");
CREATE TABLE "builds" (
    "deployment_id" uuid NOT NULL,
    "attempt" integer NOT NULL DEFAULT 0,
    "log_cursor" text NOT NULL DEFAULT '',
    "phases" jsonb NOT NULL DEFAULT '[]',
    "rule" text NOT NULL DEFAULT '',
    "log_bytes" bigint NOT NULL DEFAULT 0,
    "log" bytea NULL,
    "started_at" timestamptz NOT NULL DEFAULT now(),
    "finished_at" timestamptz NULL,
    PRIMARY KEY ("deployment_id"),
    CONSTRAINT "builds_deployment_id_fkey" FOREIGN KEY ("deployment_id") REFERENCES "deployments" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE TABLE "build_log" (
    "deployment_id" uuid NOT NULL,
    "position" bigint NOT NULL,
    "bytes" bytea NOT NULL,
    PRIMARY KEY ("deployment_id", "position"),
    CONSTRAINT "build_log_deployment_id_fkey" FOREIGN KEY ("deployment_id") REFERENCES "builds" ("deployment_id") ON UPDATE NO ACTION ON DELETE CASCADE
);
ALTER TABLE "pipelines" ADD COLUMN "repository_id" text NULL, ADD COLUMN "watch_paths" text[] NOT NULL DEFAULT '{}', ADD COLUMN "source_problem" text NOT NULL DEFAULT '', ADD COLUMN "head_commit" text NULL, ADD COLUMN "cancel_running" boolean NOT NULL DEFAULT false, ADD COLUMN "build_settings" jsonb NOT NULL DEFAULT '{}';
CREATE TABLE "variables" (
    "pipeline_id" uuid NOT NULL,
    "name" text NOT NULL,
    "value" bytea NOT NULL,
    "secret" boolean NOT NULL DEFAULT true,
    "changed_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id", "name"),
    CONSTRAINT "variables_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);

-- +goose Down
ALTER TABLE "deliveries" DROP COLUMN "body_sha256";
ALTER TABLE "pipelines" DROP COLUMN "repository_id", DROP COLUMN "watch_paths", DROP COLUMN "source_problem", DROP COLUMN "head_commit", DROP COLUMN "cancel_running", DROP COLUMN "build_settings";
DROP TABLE "build_log";
DROP TABLE "installations";
DROP TABLE "repositories";
DROP TABLE "variables";
DROP TABLE "builds";
