-- +goose Up
ALTER TABLE "deployments" DROP CONSTRAINT "deployments_kind_check", ADD CONSTRAINT "deployments_kind_check" CHECK (kind = ANY (ARRAY['automated'::text, 'release'::text, 'rollback'::text, 'promotion'::text]));

-- +goose Down
UPDATE "deployments" SET "kind" = 'rollback' WHERE "kind" = 'promotion';
ALTER TABLE "deployments" DROP CONSTRAINT "deployments_kind_check", ADD CONSTRAINT "deployments_kind_check" CHECK (kind = ANY (ARRAY['automated'::text, 'release'::text, 'rollback'::text]));
