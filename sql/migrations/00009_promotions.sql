-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE "deployments" DROP CONSTRAINT IF EXISTS "deployments_kind_check", ADD CONSTRAINT "deployments_kind_check" CHECK (kind = ANY (ARRAY['automated'::text, 'release'::text, 'rollback'::text, 'promotion'::text])) NOT VALID;
ALTER TABLE "deployments" VALIDATE CONSTRAINT "deployments_kind_check";

-- +goose Down
UPDATE "deployments" SET "kind" = 'rollback' WHERE "kind" = 'promotion';
ALTER TABLE "deployments" DROP CONSTRAINT IF EXISTS "deployments_kind_check", ADD CONSTRAINT "deployments_kind_check" CHECK (kind = ANY (ARRAY['automated'::text, 'release'::text, 'rollback'::text])) NOT VALID;
ALTER TABLE "deployments" VALIDATE CONSTRAINT "deployments_kind_check";
