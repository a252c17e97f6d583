-- +goose Up
CREATE TABLE "purges" (
  "pipeline_id" uuid NOT NULL,
  "path" text NOT NULL,
  "actor" text NOT NULL,
  "requested_at" timestamptz NOT NULL DEFAULT now(),
  "done_at" timestamptz NULL,
  PRIMARY KEY ("pipeline_id", "path"),
  CONSTRAINT "purges_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE INDEX "purges_open" ON "purges" ("pipeline_id") WHERE done_at IS NULL;

-- +goose Down
DROP TABLE "purges";
