-- +goose Up
ALTER TABLE "notifiers" ADD CONSTRAINT "notifiers_earlier_check" CHECK ((earlier_keys IS NULL) = (earlier_until IS NULL)), ADD COLUMN "earlier_keys" bytea NULL, ADD COLUMN "earlier_until" timestamptz NULL;
CREATE INDEX "notifiers_earlier" ON "notifiers" ("earlier_until") WHERE (earlier_until IS NOT NULL);

-- +goose Down
DROP INDEX "notifiers_earlier";
ALTER TABLE "notifiers" DROP CONSTRAINT "notifiers_earlier_check", DROP COLUMN "earlier_keys", DROP COLUMN "earlier_until";
