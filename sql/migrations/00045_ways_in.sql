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

-- +goose Down
DROP TABLE "deploy_hooks";
