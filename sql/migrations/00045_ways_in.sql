-- +goose Up
CREATE TABLE "deploy_hooks" (
    "id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "name" text NOT NULL,
    "branch" text NOT NULL DEFAULT '',
    "hash" bytea NOT NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "created_by" text NOT NULL,
    "last_used_at" timestamptz NULL,
    PRIMARY KEY ("id"),
    CONSTRAINT "deploy_hooks_hash_key" UNIQUE ("hash"),
    CONSTRAINT "deploy_hooks_name_key" UNIQUE ("pipeline_id", "name"),
    CONSTRAINT "deploy_hooks_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE TABLE "schedules" (
    "pipeline_id" uuid NOT NULL,
    "cron" text NOT NULL,
    "zone" text NOT NULL,
    "next_at" timestamptz NOT NULL,
    "last_at" timestamptz NULL,
    "problem" text NOT NULL DEFAULT '',
    "set_by" text NOT NULL,
    "set_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id"),
    CONSTRAINT "schedules_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE INDEX "schedules_next" ON "schedules" ("next_at");
CREATE TABLE "sources" (
    "deployment_id" uuid NOT NULL,
    "release_id" uuid NOT NULL,
    PRIMARY KEY ("deployment_id"),
    CONSTRAINT "sources_release_key" UNIQUE ("release_id"),
    CONSTRAINT "sources_deployment_id_fkey" FOREIGN KEY ("deployment_id") REFERENCES "deployments" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);

-- +goose Down
DROP TABLE "sources";
DROP TABLE "schedules";
DROP TABLE "deploy_hooks";
