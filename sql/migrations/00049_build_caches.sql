-- +goose Up
ALTER TABLE "pipelines" ADD COLUMN "cache_epoch" bigint NOT NULL DEFAULT 0;
CREATE TABLE "build_caches" (
    "pipeline_id" uuid NOT NULL,
    "keeper" text NOT NULL,
    "scope" text NOT NULL,
    "manager" text NOT NULL,
    "bytes" bigint NOT NULL,
    "used_at" timestamptz NOT NULL,
    "reported_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id", "keeper", "scope", "manager"),
    CONSTRAINT "build_caches_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE INDEX "build_caches_keeper" ON "build_caches" ("keeper");
CREATE INDEX "build_caches_reported" ON "build_caches" ("reported_at");

-- +goose Down
ALTER TABLE "pipelines" DROP COLUMN "cache_epoch";
DROP TABLE "build_caches";
