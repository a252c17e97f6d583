-- name: ThumbnailSet :execrows
-- Stores the picture of a pipeline's site, under the claim on
-- pipeline:thumbnail.
INSERT INTO thumbnails (pipeline_id, deployment_id, image, version)
SELECT w.subject_id, @deployment_id, @image, @version FROM work w
WHERE w.kind = 'pipeline:thumbnail' AND w.subject_id = @pipeline_id AND w.epoch = @epoch
ON CONFLICT (pipeline_id) DO UPDATE
SET deployment_id = excluded.deployment_id, image = excluded.image, version = excluded.version, taken_at = now();

-- name: ThumbnailGet :one
SELECT * FROM thumbnails WHERE pipeline_id = @pipeline_id;

-- name: ThumbnailVersions :many
SELECT pipeline_id, version FROM thumbnails WHERE pipeline_id = ANY(@pipeline_ids::uuid[]);
