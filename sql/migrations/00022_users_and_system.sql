-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS users (
    token_id     uuid PRIMARY KEY REFERENCES tokens (id) ON DELETE CASCADE,
    issuer       text        NOT NULL,
    subject      text        NOT NULL,
    full_name    text        NOT NULL DEFAULT '',
    email        text        NOT NULL DEFAULT '',
    groups       text[]      NOT NULL DEFAULT '{}',
    signed_in_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_subject_key UNIQUE (issuer, subject)
);
CREATE INDEX IF NOT EXISTS users_signed_in ON users (signed_in_at, token_id);
CREATE TABLE IF NOT EXISTS sign_ins (
    hash       bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS sign_ins_expires ON sign_ins (expires_at);
CREATE TABLE IF NOT EXISTS workers (
    id          uuid PRIMARY KEY,
    host        text        NOT NULL,
    pid         bigint      NOT NULL,
    version     text        NOT NULL,
    slots       integer     NOT NULL,
    build_slots integer     NOT NULL,
    running     jsonb       NOT NULL DEFAULT '[]',
    started_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);
DROP INDEX CONCURRENTLY IF EXISTS tokens_created;
CREATE INDEX CONCURRENTLY tokens_created ON tokens (created_at, id);
CREATE TABLE IF NOT EXISTS storage (
    pipeline_id uuid PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    deployments bigint NOT NULL,
    files       bigint NOT NULL,
    bytes       bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS storage_bytes ON storage (bytes, pipeline_id);
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION storage_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO storage AS s (pipeline_id, deployments, files, bytes)
    SELECT n.pipeline_id, count(*), sum(n.files), sum(n.bytes) FROM made n
    WHERE n.sealed_at IS NOT NULL AND n.pruned_at IS NULL AND n.tree_id = n.id GROUP BY n.pipeline_id ORDER BY n.pipeline_id
    ON CONFLICT (pipeline_id) DO UPDATE
        SET deployments = s.deployments + excluded.deployments, files = s.files + excluded.files, bytes = s.bytes + excluded.bytes;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION storage_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was integer := (OLD.sealed_at IS NOT NULL AND OLD.pruned_at IS NULL AND OLD.tree_id = OLD.id)::integer;
    now integer := (NEW.sealed_at IS NOT NULL AND NEW.pruned_at IS NULL AND NEW.tree_id = NEW.id)::integer;
BEGIN
    INSERT INTO storage AS s (pipeline_id, deployments, files, bytes)
    VALUES (NEW.pipeline_id, now - was, now * NEW.files - was * OLD.files, now * NEW.bytes - was * OLD.bytes)
    ON CONFLICT (pipeline_id) DO UPDATE
        SET deployments = s.deployments + excluded.deployments, files = s.files + excluded.files, bytes = s.bytes + excluded.bytes;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
-- The first count and the triggers appear at the same time: no deployment changes
-- in between.
-- +goose StatementBegin
DO $$
BEGIN
    LOCK TABLE deployments IN SHARE ROW EXCLUSIVE MODE;
    TRUNCATE storage;
    INSERT INTO storage (pipeline_id, deployments, files, bytes)
    SELECT pipeline_id, count(*), sum(files), sum(bytes) FROM deployments
    WHERE sealed_at IS NOT NULL AND pruned_at IS NULL AND tree_id = id GROUP BY pipeline_id;
    CREATE OR REPLACE TRIGGER storage_insert AFTER INSERT ON deployments REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION storage_insert();
    CREATE OR REPLACE TRIGGER storage_update AFTER UPDATE ON deployments FOR EACH ROW
        WHEN (NEW.tree_id = NEW.id AND (OLD.sealed_at, OLD.pruned_at, OLD.files, OLD.bytes) IS DISTINCT FROM (NEW.sealed_at, NEW.pruned_at, NEW.files, NEW.bytes))
        EXECUTE FUNCTION storage_update();
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER IF EXISTS storage_update ON deployments;
DROP TRIGGER IF EXISTS storage_insert ON deployments;
DROP FUNCTION IF EXISTS storage_update();
DROP FUNCTION IF EXISTS storage_insert();
DROP TABLE IF EXISTS storage;
DROP INDEX CONCURRENTLY IF EXISTS tokens_created;
DROP TABLE IF EXISTS workers;
DROP TABLE IF EXISTS sign_ins;
DROP TABLE IF EXISTS users;
