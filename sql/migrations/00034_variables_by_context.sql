-- +goose Up
CREATE TABLE "variables_by_context" (
    "pipeline_id" uuid NOT NULL,
    "name" text NOT NULL,
    "context" text NOT NULL,
    "value" bytea NOT NULL,
    "secret" boolean NOT NULL,
    "changed_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id", "name", "context"),
    CONSTRAINT "variables_by_context_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
ALTER TABLE "previews" ADD COLUMN "commented" boolean NOT NULL DEFAULT true;
-- +goose StatementBegin
CREATE FUNCTION variable_context() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM variables_by_context c
    WHERE c.pipeline_id = NEW.pipeline_id AND c.name = NEW.name AND c.context = CASE WHEN NEW.secret THEN 'production' ELSE 'all' END;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER variable_context AFTER INSERT OR UPDATE OF secret ON variables FOR EACH ROW EXECUTE FUNCTION variable_context();

-- +goose Down
DROP TRIGGER variable_context ON "variables";
DROP FUNCTION variable_context();
ALTER TABLE "previews" DROP COLUMN "commented";
DROP TABLE "variables_by_context";
