-- +goose Up
CREATE TABLE "site_rules" (
    "tree_id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "config" jsonb NOT NULL DEFAULT '[]',
    "strict" boolean NOT NULL DEFAULT false,
    "report" jsonb,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("tree_id"),
    CONSTRAINT "site_rules_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON DELETE CASCADE
);
CREATE INDEX "site_rules_pipeline" ON "site_rules" ("pipeline_id");

-- +goose Down
DROP TABLE "site_rules";
