-- +goose Up
CREATE TABLE "requests" (
    "token_id" uuid NOT NULL,
    "key" text NOT NULL,
    "digest" bytea NOT NULL,
    "subject_id" uuid NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("token_id", "key"),
    CONSTRAINT "requests_token_id_fkey" FOREIGN KEY ("token_id") REFERENCES "tokens" ("id") ON DELETE CASCADE
);
CREATE INDEX "requests_created" ON "requests" ("created_at");
ALTER TABLE "tokens" ADD COLUMN "created_by" text NOT NULL DEFAULT '', ADD COLUMN "last_used_at" timestamptz NULL;

-- +goose Down
ALTER TABLE "tokens" DROP COLUMN "last_used_at", DROP COLUMN "created_by";
DROP TABLE "requests";
