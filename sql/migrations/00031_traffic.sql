-- +goose Up
CREATE TABLE "traffic" (
    "pipeline_id" uuid NOT NULL,
    "day" date NOT NULL,
    "report" jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY ("pipeline_id", "day"),
    CONSTRAINT "traffic_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE INDEX "traffic_day" ON "traffic" ("day");
CREATE TABLE "log_files" (
    "key" text NOT NULL,
    "problem" text NOT NULL DEFAULT '',
    "expires_at" timestamptz NOT NULL DEFAULT (now() + '100 days'::interval),
    PRIMARY KEY ("key")
);
CREATE INDEX "log_files_expires" ON "log_files" ("expires_at");
CREATE INDEX "pipelines_distribution" ON "pipelines" ("distribution_id") WHERE (distribution_id IS NOT NULL);

-- +goose Down
DROP INDEX "pipelines_distribution";
DROP TABLE "log_files";
DROP TABLE "traffic";
