-- +goose Up
ALTER TABLE "builds" ADD COLUMN "warnings" text[] NOT NULL DEFAULT '{}', ADD COLUMN "tail" text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE "builds" DROP COLUMN "tail", DROP COLUMN "warnings";
