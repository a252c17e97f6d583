-- +goose Up
ALTER TABLE "access" ADD COLUMN "preview_key" bytea NULL;

-- +goose Down
ALTER TABLE "access" DROP COLUMN "preview_key";
