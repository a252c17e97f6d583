-- name: EventList :many
SELECT * FROM events WHERE pipeline_id = @pipeline_id AND version > @after ORDER BY version LIMIT @page_limit;

-- name: EventPipelineBySlug :one
-- Returns the last pipeline that had the slug, to find the events of a
-- deleted one.
SELECT pipeline_id FROM events WHERE slug = @slug ORDER BY time DESC LIMIT 1;

-- name: SlugFreedLately :one
-- Reports whether a pipeline with the slug was deleted within the given
-- time.
SELECT EXISTS (
    SELECT 1 FROM events
    WHERE slug = @slug AND time > now() - make_interval(secs => @within_seconds::float8) AND to_status = 'deleted'
) AS freed;
