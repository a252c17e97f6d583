-- +goose Up
CREATE TABLE "skips" (
    "id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "commit_sha" text NOT NULL,
    "reason" text NOT NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("id"),
    CONSTRAINT "skips_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON DELETE CASCADE
);
CREATE INDEX "skips_pipeline" ON "skips" ("pipeline_id");

-- +goose Down
DROP TABLE "skips";
