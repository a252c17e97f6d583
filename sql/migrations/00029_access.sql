-- +goose Up
CREATE TABLE "access" (
    "pipeline_id" uuid NOT NULL,
    "scope" text NOT NULL DEFAULT 'site',
    "networks" text[] NOT NULL DEFAULT '{}',
    "salt" bytea NOT NULL,
    "generation" bigint NOT NULL DEFAULT 1,
    "applied" bigint NOT NULL DEFAULT 0,
    "changed_at" timestamptz NOT NULL DEFAULT now(),
    "applied_at" timestamptz NULL,
    PRIMARY KEY ("pipeline_id"),
    CONSTRAINT "access_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE,
    CONSTRAINT "access_scope_check" CHECK (scope = ANY (ARRAY['site'::text, 'previews'::text]))
);
CREATE INDEX "access_unapplied" ON "access" ("pipeline_id") WHERE (applied < generation);
CREATE TABLE "access_passwords" (
    "pipeline_id" uuid NOT NULL,
    "name" text NOT NULL,
    "id" uuid NOT NULL,
    "secret" bytea NOT NULL,
    "changed_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id", "name"),
    CONSTRAINT "access_passwords_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "access" ("pipeline_id") ON UPDATE NO ACTION ON DELETE CASCADE
);

-- +goose Down
DROP TABLE "access_passwords";
DROP TABLE "access";
