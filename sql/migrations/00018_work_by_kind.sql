-- +goose NO TRANSACTION
-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS "work_due";
CREATE INDEX CONCURRENTLY "work_due" ON "work" ("kind", "due_at") WHERE ring_id IS NULL AND lease_until IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS "work_ringing";
CREATE INDEX CONCURRENTLY "work_ringing" ON "work" ("kind", "due_at") WHERE ring_id IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS "work_waiting";
DROP INDEX CONCURRENTLY IF EXISTS "work_rung";

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS "work_waiting";
CREATE INDEX CONCURRENTLY "work_waiting" ON "work" ("queue", "due_at") WHERE ring_id IS NULL AND lease_until IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS "work_rung";
CREATE INDEX CONCURRENTLY "work_rung" ON "work" ("queue", "due_at") WHERE ring_id IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS "work_due";
DROP INDEX CONCURRENTLY IF EXISTS "work_ringing";
