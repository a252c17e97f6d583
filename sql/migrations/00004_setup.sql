-- +goose Up
CREATE TABLE "forge_apps" (
    "provider" text NOT NULL,
    "app_id" text NOT NULL,
    "name" text NOT NULL,
    "url" text NOT NULL,
    "credentials" bytea NOT NULL,
    "actor" text NOT NULL,
    "changed_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("provider")
);
CREATE TABLE "setup_states" (
    "hash" bytea NOT NULL,
    "provider" text NOT NULL,
    "actor" text NOT NULL,
    "app_key" text NULL,
    "client_key" text NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "expires_at" timestamptz NOT NULL,
    "used_at" timestamptz NULL,
    PRIMARY KEY ("hash"),
    CONSTRAINT "setup_states_bound_check" CHECK ((client_key IS NULL) OR (used_at IS NOT NULL)),
    CONSTRAINT "setup_states_provider_check" CHECK (provider = ANY (ARRAY['github'::text, 'bitbucket'::text]))
);

-- +goose Down
DROP TABLE "forge_apps";
DROP TABLE "setup_states";
