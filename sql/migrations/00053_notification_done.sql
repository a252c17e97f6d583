-- +goose Up
ALTER TABLE "notifications" ADD COLUMN "done" text[] NOT NULL DEFAULT '{}';

-- +goose Down
ALTER TABLE "notifications" DROP COLUMN "done";
