-- The custom domains of pipelines' sites. Those who change them have locked the
-- pipeline.

-- name: CustomDomainList :many
-- Lists a pipeline's domains, except for those that are being removed.
SELECT * FROM custom_domains WHERE pipeline_id = @pipeline_id AND removed_at IS NULL ORDER BY host;

-- name: CustomDomainsOf :many
-- Lists all of a pipeline's domains.
SELECT * FROM custom_domains WHERE pipeline_id = @pipeline_id ORDER BY host;

-- name: CustomDomainGet :one
SELECT * FROM custom_domains WHERE host = @host;

-- name: CustomDomainHolders :many
-- Returns which pipelines have one of the hosts.
SELECT c.host, c.pipeline_id, p.slug, p.distribution_id, (c.removed_at IS NOT NULL)::bool AS removed
FROM custom_domains c JOIN pipelines p ON p.id = c.pipeline_id WHERE c.host = ANY(@hosts::text[]) ORDER BY c.host;

-- name: CustomDomainAdd :exec
-- Adds a domain to a pipeline, or moves it from another one. What it was before
-- is forgotten, except for the distributions that may still serve it.
INSERT INTO custom_domains (host, pipeline_id, redirect, main, created_by) VALUES (@host, @pipeline_id, @redirect, @main, @created_by)
ON CONFLICT (host) DO UPDATE
SET pipeline_id = excluded.pipeline_id, state = 'waiting_for_dns', reason = '', redirect = excluded.redirect, main = excluded.main, report = NULL,
    certificate = '', not_after = NULL, next_try = NULL, checks = 0, created_at = now(), created_by = excluded.created_by, since = now(),
    requested_at = now(), checked_at = NULL, next_check_at = now(), active_at = NULL, removed_at = NULL,
    detach_from = CASE WHEN custom_domains.pipeline_id = excluded.pipeline_id THEN custom_domains.detach_from
        ELSE array_remove(custom_domains.detach_from, @own::text) || @detach_from::text[] END;

-- name: CustomDomainRemove :exec
-- Marks a domain as removed. The worker deletes the row after the cloud has
-- stopped to serve the domain.
UPDATE custom_domains SET removed_at = now(), main = false, redirect = '', next_check_at = now()
WHERE host = @host AND pipeline_id = @pipeline_id AND removed_at IS NULL;

-- name: CustomDomainGone :exec
-- Deletes a removed domain that the cloud no longer serves.
DELETE FROM custom_domains WHERE host = @host AND pipeline_id = @pipeline_id AND removed_at IS NOT NULL;

-- name: CustomDomainUnmain :exec
UPDATE custom_domains SET main = false WHERE pipeline_id = @pipeline_id AND main;

-- name: CustomDomainPoint :exec
-- Makes a domain serve the site or redirect, and the site's address or not.
UPDATE custom_domains SET redirect = @redirect, main = @main, next_check_at = now(), checks = 0, requested_at = now()
WHERE host = @host AND pipeline_id = @pipeline_id;

-- name: CustomDomainVerify :execrows
-- Makes a domain's check due at once, or those of all of a pipeline's domains.
-- Name servers are not asked again within five seconds.
UPDATE custom_domains
SET next_check_at = greatest(now(), coalesce(checked_at, '-infinity') + interval '5 seconds'), checks = 0, requested_at = now()
WHERE pipeline_id = @pipeline_id AND removed_at IS NULL AND (@host::text = '' OR host = @host);

-- name: CustomDomainsDue :many
-- Lists the domains of a pipeline whose check is due, those that wait the
-- longest first.
SELECT * FROM custom_domains WHERE pipeline_id = @pipeline_id AND next_check_at <= now() ORDER BY next_check_at, host LIMIT @page_limit;

-- name: CustomDomainNextCheck :one
-- Returns the seconds until the next check of one of a pipeline's domains, or -1
-- if it has no domain.
SELECT coalesce(date_part('epoch', min(next_check_at) - now()), -1)::float8 AS seconds,
       count(*) AS domains
FROM custom_domains WHERE pipeline_id = @pipeline_id;

-- name: CustomDomainRecord :one
-- Records a check, if the worker still holds the work and no one has changed the
-- domain since the check began. A change of the state is in the audit trail.
WITH before AS (
    SELECT c.host, c.state FROM custom_domains c
    WHERE c.host = @host AND c.pipeline_id = @pipeline_id AND c.requested_at = @requested_at AND c.removed_at IS NULL
      AND EXISTS (SELECT 1 FROM work w WHERE w.subject_id = c.pipeline_id AND w.kind = 'domain:check' AND w.epoch = @epoch AND w.lease_until IS NOT NULL)
    FOR UPDATE OF c
), recorded AS (
    UPDATE custom_domains c
    SET state = @state, reason = @reason, report = coalesce(sqlc.narg('report')::jsonb, c.report), certificate = @certificate,
        not_after = sqlc.narg('not_after'), next_try = sqlc.narg('next_try'), checked_at = now(),
        next_check_at = now() + make_interval(secs => @delay_seconds::float8),
        checks = CASE WHEN c.state = @state THEN c.checks + 1 ELSE 0 END,
        since = CASE WHEN c.state = @state THEN c.since ELSE now() END,
        active_at = CASE WHEN @state = 'active' THEN coalesce(c.active_at, now()) ELSE c.active_at END
    FROM before WHERE c.host = before.host
    RETURNING c.host, c.pipeline_id, c.state, before.state AS was
), event AS (
    INSERT INTO audit (actor, action, subject, detail, pipeline_id, slug)
    SELECT @actor, 'domain.state', r.host, @detail, r.pipeline_id, p.slug
    FROM recorded r JOIN pipelines p ON p.id = r.pipeline_id WHERE r.was <> r.state
)
SELECT (recorded.was <> recorded.state)::bool AS changed FROM recorded;

-- name: CustomDomainPostpone :exec
-- Postpones the next check of a domain that could not be detached.
UPDATE custom_domains SET next_check_at = now() + make_interval(secs => @delay_seconds::float8), checks = checks + 1
WHERE host = @host AND pipeline_id = @pipeline_id;

-- name: CustomDomainDetached :exec
-- Records that other pipelines' distributions no longer serve a domain.
UPDATE custom_domains SET detach_from = '{}' WHERE host = @host AND pipeline_id = @pipeline_id AND detach_from = @detached::text[];

-- name: CustomDomainMoved :exec
-- Records that a pipeline's distribution may serve a domain that another
-- pipeline has, and makes the domain's check due.
WITH moved AS (
    UPDATE custom_domains c
    SET detach_from = array_remove(c.detach_from, @distribution::text) || @distribution::text, next_check_at = now(), requested_at = now()
    WHERE c.host = @host AND c.pipeline_id <> @pipeline_id
    RETURNING c.pipeline_id AS subject_id
)
INSERT INTO work (kind, subject_id) SELECT 'domain:check', moved.subject_id FROM moved
ON CONFLICT (kind, subject_id) DO UPDATE
SET due_at = least(work.due_at, excluded.due_at), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;

-- name: PipelineAddresses :many
-- Returns the host at which people reach each pipeline's site: its primary
-- custom domain while that is Active, otherwise the site's own host.
SELECT d.pipeline_id, d.host AS own, coalesce((SELECT c.host FROM custom_domains c WHERE c.pipeline_id = d.pipeline_id AND c.main AND c.state = 'active'), d.host)::text AS host
FROM domains d WHERE d.pipeline_id = ANY(@pipeline_ids::uuid[]) AND d.kind = 'site';

-- name: PipelineAddress :one
SELECT coalesce((SELECT c.host FROM custom_domains c WHERE c.pipeline_id = d.pipeline_id AND c.main AND c.state = 'active'), d.host)::text AS host
FROM domains d WHERE d.pipeline_id = @pipeline_id AND d.kind = 'site';
