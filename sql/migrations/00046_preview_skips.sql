-- +goose Up
ALTER TABLE "skips" ADD COLUMN "preview" boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE "skips" DROP COLUMN "preview";
