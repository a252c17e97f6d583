-- +goose Up
ALTER TABLE "pipelines" ADD COLUMN "workspace" text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE "pipelines" DROP COLUMN "workspace";
