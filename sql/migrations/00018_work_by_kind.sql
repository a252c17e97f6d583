-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS "work_due";
CREATE INDEX CONCURRENTLY "work_due" ON "work" ("kind", "due_at") WHERE ring_id IS NULL AND lease_until IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS "work_ringing";
CREATE INDEX CONCURRENTLY "work_ringing" ON "work" ("kind", "due_at") WHERE ring_id IS NOT NULL;
-- The version before finds a build by its queue, which is no longer written.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION work_builds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.queue := 'builds';
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE OR REPLACE TRIGGER work_builds BEFORE INSERT ON "work" FOR EACH ROW WHEN (NEW.kind = 'deployment:build') EXECUTE FUNCTION work_builds();

-- +goose Down
DROP TRIGGER IF EXISTS work_builds ON "work";
DROP FUNCTION IF EXISTS work_builds();
DROP INDEX CONCURRENTLY IF EXISTS "work_due";
DROP INDEX CONCURRENTLY IF EXISTS "work_ringing";
