-- +goose Up
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
    FOR KEY SHARE OF n SKIP LOCKED
    RETURNING id
), asked AS (
    INSERT INTO work (kind, subject_id) SELECT 'notify', told.id FROM told RETURNING 1
)
SELECT count(*) FROM asked
$$;
-- +goose StatementEnd

-- +goose Down
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
