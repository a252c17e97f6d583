-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS "sessions" (
    "hash" bytea NOT NULL,
    "token_id" uuid NOT NULL,
    "once" boolean NOT NULL DEFAULT false,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "last_seen_at" timestamptz NOT NULL DEFAULT now(),
    "expires_at" timestamptz NOT NULL,
    "user_agent" text NOT NULL DEFAULT '',
    PRIMARY KEY ("hash"),
    CONSTRAINT "sessions_token_id_fkey" FOREIGN KEY ("token_id") REFERENCES "tokens" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "sessions_token" ON "sessions" ("token_id", "created_at");
CREATE INDEX IF NOT EXISTS "sessions_expires" ON "sessions" ("expires_at");
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_updated";
CREATE INDEX CONCURRENTLY "pipelines_updated" ON "pipelines" ("updated_at", "id");
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_status_updated";
CREATE INDEX CONCURRENTLY "pipelines_status_updated" ON "pipelines" ((status || ''), "updated_at", "id");
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_status_slug";
CREATE INDEX CONCURRENTLY "pipelines_status_slug" ON "pipelines" ((status || ''), "slug");
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_words";
CREATE INDEX CONCURRENTLY "pipelines_words" ON "pipelines" USING gin (to_tsvector('simple'::regconfig,
    translate(name || ' ' || slug || ' ' || coalesce(repository_full_name, ''), '-_/.', '    ')));

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_words";
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_status_slug";
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_status_updated";
DROP INDEX CONCURRENTLY IF EXISTS "pipelines_updated";
DROP TABLE IF EXISTS "sessions";
