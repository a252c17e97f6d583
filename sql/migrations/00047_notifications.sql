-- +goose Up
ALTER TABLE "storage" ADD COLUMN "quota_near" boolean NOT NULL DEFAULT false;
CREATE TABLE notifiers (
    id              uuid PRIMARY KEY,
    pipeline_id     uuid REFERENCES pipelines (id) ON DELETE CASCADE,
    kind            text        NOT NULL CONSTRAINT notifiers_kind_check CHECK (kind IN ('webhook', 'slack', 'discord', 'teams', 'email')),
    label           text        NOT NULL,
    target          bytea       NOT NULL,
    events          text[]      NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    created_by      text        NOT NULL,
    failures        integer     NOT NULL DEFAULT 0,
    retry_at        timestamptz,
    disabled_at     timestamptz,
    disabled_reason text        NOT NULL DEFAULT ''
);

CREATE INDEX notifiers_pipeline ON notifiers (pipeline_id);
CREATE TABLE notifications (
    id          uuid PRIMARY KEY,
    notifier_id uuid        NOT NULL REFERENCES notifiers (id) ON DELETE CASCADE,
    pipeline_id uuid,
    event       text        NOT NULL,
    details     jsonb       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    tried_at    timestamptz,
    status      integer     NOT NULL DEFAULT 0,
    answer      text        NOT NULL DEFAULT '',
    ended_at    timestamptz,
    delivered   boolean     NOT NULL DEFAULT false
);

CREATE INDEX notifications_notifier ON notifications (notifier_id, created_at, id);
CREATE INDEX notifications_created ON notifications (created_at);
CREATE INDEX notifications_open ON notifications (created_at) WHERE ended_at IS NULL;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION notify_about(pipeline uuid, about text[], what jsonb) RETURNS bigint LANGUAGE sql AS $$
WITH told AS (
    INSERT INTO notifications (id, notifier_id, pipeline_id, event, details)
    SELECT gen_random_uuid(), n.id, pipeline, wanted.event, what || coalesce((
        SELECT jsonb_build_object('pipeline', jsonb_build_object('id', p.id, 'slug', p.slug, 'name', p.name)) FROM pipelines p WHERE p.id = pipeline), '{}')
    FROM notifiers n CROSS JOIN LATERAL (
        SELECT a.event FROM unnest(about) WITH ORDINALITY AS a (event, place) WHERE a.event = ANY(n.events) ORDER BY a.place LIMIT 1
    ) wanted
    WHERE n.disabled_at IS NULL AND (n.pipeline_id IS NULL OR n.pipeline_id = pipeline)
    RETURNING id
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'notify', told.id FROM told RETURNING 1
)
SELECT count(*) FROM asked
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION notify_deployment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about text[] := '{deployment.failed}';
BEGIN
    IF NEW.state = 'succeeded' THEN
        about := '{deployment.live}';
        IF (SELECT d.state FROM deployments d
            WHERE d.pipeline_id = NEW.pipeline_id AND d.number < NEW.number AND d.preview_id IS NULL AND d.state IN ('succeeded', 'failed')
            ORDER BY d.number DESC LIMIT 1) = 'failed' THEN
            about := '{deployment.recovered,deployment.live}';
        END IF;
    END IF;
    PERFORM notify_about(NEW.pipeline_id, about, jsonb_build_object('deployment', jsonb_build_object(
        'id', NEW.id, 'number', NEW.number, 'kind', NEW.kind, 'commit', coalesce(NEW.commit_sha, ''), 'branch', coalesce(NEW.branch, ''),
        'author', coalesce(NEW.author, ''), 'message', left(NEW.message, 500), 'actor', NEW.actor, 'cause', left(NEW.cause, 500))));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER notify_deployment AFTER UPDATE OF state ON deployments FOR EACH ROW
    WHEN (NEW.preview_id IS NULL AND NEW.state IN ('succeeded', 'failed') AND OLD.state NOT IN ('succeeded', 'failed')) EXECUTE FUNCTION notify_deployment();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION notify_preview() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM notify_about(NEW.pipeline_id, '{preview.waiting}', jsonb_build_object('preview', jsonb_build_object(
        'label', NEW.label, 'number', NEW.number, 'commit', NEW.head_commit, 'branch', NEW.branch, 'author', NEW.author,
        'title', left(NEW.title, 500), 'url', NEW.url)));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER notify_preview AFTER UPDATE OF head_commit ON previews FOR EACH ROW
    WHEN (NOT NEW.trusted AND NEW.closed_at IS NULL AND NEW.head_commit IS DISTINCT FROM OLD.head_commit AND NEW.head_commit IS DISTINCT FROM NEW.approved_commit)
    EXECUTE FUNCTION notify_preview();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION notify_domain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM notify_about(NEW.pipeline_id, '{domain.failing}', jsonb_build_object('domain', jsonb_build_object(
        'host', NEW.host, 'reason', left(NEW.reason, 500))));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER notify_domain AFTER UPDATE OF state ON custom_domains FOR EACH ROW
    WHEN (NEW.state = 'failing' AND OLD.state <> 'failing') EXECUTE FUNCTION notify_domain();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION notify_disabled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM notify_about(NEW.pipeline_id, '{notifier.disabled}', jsonb_build_object('notifier', jsonb_build_object(
        'id', NEW.id, 'kind', NEW.kind, 'label', NEW.label, 'reason', NEW.disabled_reason)));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER notify_disabled AFTER UPDATE OF disabled_at ON notifiers FOR EACH ROW
    WHEN (OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL) EXECUTE FUNCTION notify_disabled();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION work_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind IN ('deployment:build', 'deployment:poll-build', 'forge:report') OR NEW.kind LIKE 'preview:%' THEN
        SELECT d.pipeline_id INTO NEW.pipeline_id FROM deployments d WHERE d.id = NEW.subject_id;
        IF NEW.pipeline_id IS NULL THEN
            SELECT s.pipeline_id INTO NEW.pipeline_id FROM skips s WHERE s.id = NEW.subject_id;
        END IF;
        IF NEW.pipeline_id IS NULL THEN
            SELECT v.pipeline_id INTO NEW.pipeline_id FROM previews v WHERE v.id = NEW.subject_id;
        END IF;
    ELSIF NEW.kind = 'forge:pull-request' THEN
        SELECT r.pipeline_id INTO NEW.pipeline_id FROM pull_requests r WHERE r.id = NEW.subject_id;
    ELSIF NEW.kind = 'notify' THEN
        SELECT n.pipeline_id INTO NEW.pipeline_id FROM notifications n WHERE n.id = NEW.subject_id;
    ELSE
        NEW.pipeline_id := NEW.subject_id;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION work_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.kind IN ('deployment:build', 'deployment:poll-build', 'forge:report') OR NEW.kind LIKE 'preview:%' THEN
        SELECT d.pipeline_id INTO NEW.pipeline_id FROM deployments d WHERE d.id = NEW.subject_id;
        IF NEW.pipeline_id IS NULL THEN
            SELECT s.pipeline_id INTO NEW.pipeline_id FROM skips s WHERE s.id = NEW.subject_id;
        END IF;
        IF NEW.pipeline_id IS NULL THEN
            SELECT v.pipeline_id INTO NEW.pipeline_id FROM previews v WHERE v.id = NEW.subject_id;
        END IF;
    ELSIF NEW.kind = 'forge:pull-request' THEN
        SELECT r.pipeline_id INTO NEW.pipeline_id FROM pull_requests r WHERE r.id = NEW.subject_id;
    ELSE
        NEW.pipeline_id := NEW.subject_id;
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
DROP TRIGGER notify_deployment ON deployments;
DROP TRIGGER notify_preview ON previews;
DROP TRIGGER notify_domain ON custom_domains;
DROP TRIGGER notify_disabled ON notifiers;
DROP FUNCTION notify_deployment();
DROP FUNCTION notify_preview();
DROP FUNCTION notify_domain();
DROP FUNCTION notify_disabled();
DROP FUNCTION notify_about(uuid, text[], jsonb);
DELETE FROM work WHERE kind = 'notify';
DROP TABLE notifications;
DROP TABLE notifiers;
ALTER TABLE "storage" DROP COLUMN "quota_near";
