-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION retention_request() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.commit_sha IS NOT NULL AND (NEW.manifest_digest IS NOT NULL OR EXISTS (SELECT FROM counted_trees c WHERE c.tree_id = NEW.id))
       OR EXISTS (SELECT FROM sources s WHERE s.deployment_id = NEW.id) THEN
        INSERT INTO work (kind, subject_id, due_at) VALUES ('retention', NEW.pipeline_id, now() + interval '5 minutes')
        ON CONFLICT (kind, subject_id) DO UPDATE
        SET due_at = least(work.due_at, excluded.due_at), requested = work.requested + 1, ring_id = NULL;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER retention_request AFTER UPDATE OF state ON deployments FOR EACH ROW
    WHEN (NEW.tree_id = NEW.id AND NEW.state IN ('failed', 'cancelled', 'superseded') AND OLD.state IN ('waiting', 'building', 'publishing'))
    EXECUTE FUNCTION retention_request();

-- +goose Down
DROP TRIGGER retention_request ON deployments;
DROP FUNCTION retention_request();
