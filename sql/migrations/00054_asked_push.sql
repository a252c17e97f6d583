-- +goose Up
ALTER TABLE "pipelines" ADD COLUMN "asked_commit" text NOT NULL DEFAULT '', ADD COLUMN "asked_by" text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE "pipelines" DROP COLUMN "asked_commit", DROP COLUMN "asked_by";
