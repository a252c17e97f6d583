-- +goose Up
ALTER TABLE "pipelines" ADD COLUMN "unwatched" text[] NOT NULL DEFAULT '{}';
ALTER TABLE "builds" ADD COLUMN "advice" text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE "builds" DROP COLUMN "advice";
ALTER TABLE "pipelines" DROP COLUMN "unwatched";
