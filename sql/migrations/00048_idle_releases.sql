-- +goose Up
ALTER TABLE "releases" ADD COLUMN "touched_at" timestamptz NOT NULL DEFAULT now();

-- +goose Down
ALTER TABLE "releases" DROP COLUMN "touched_at";
