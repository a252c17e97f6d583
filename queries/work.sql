-- Claims, rings and the sweep. All kinds of work use the same queries.

-- name: WorkRequest :exec
-- Asks for work, now or after a delay. Asking for what is asked for already
-- makes it due at once; a holder is told by the higher count.
INSERT INTO work (kind, subject_id, due_at)
VALUES (@kind, @subject_id, now() + make_interval(secs => @delay_seconds::float8))
ON CONFLICT (kind, subject_id) DO UPDATE
SET due_at = least(work.due_at, excluded.due_at), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;

-- name: WorkClaim :one
UPDATE work
SET epoch = nextval('work_epochs'), attempt = attempt + 1, ring_id = NULL, rings = 0,
    lease_until = now() + make_interval(secs => @lease_seconds::float8)
WHERE kind = @kind AND subject_id = @subject_id AND due_at <= now()
  AND (lease_until IS NULL OR lease_until <= now())
RETURNING work.epoch, work.attempt, work.requested, work.cause, CAST(date_part('epoch', now() - work.since) AS float8) AS age_seconds;

-- name: WorkHeartbeat :execrows
UPDATE work
SET lease_until = now() + make_interval(secs => @lease_seconds::float8)
WHERE kind = @kind AND subject_id = @subject_id AND epoch = @epoch AND lease_until IS NOT NULL;

-- name: WorkFinish :execrows
-- Ends a claim: the row goes, or is due at once if it was asked for again
-- meanwhile.
WITH gone AS (
    DELETE FROM work d
    WHERE d.kind = @kind AND d.subject_id = @subject_id AND d.epoch = @epoch AND d.requested = @requested
    RETURNING d.kind
)
UPDATE work w
SET lease_until = NULL, due_at = now(), since = now(), attempt = 0, cause = ''
WHERE w.kind = @kind AND w.subject_id = @subject_id AND w.epoch = @epoch AND NOT EXISTS (SELECT 1 FROM gone);

-- name: WorkAgain :execrows
-- Ends a claim with the row due again later (at once if it was asked for again
-- meanwhile). A failed attempt counts, and a fresh start forgets since when it
-- was asked for. A ring that is still to come, because asynq retries the same
-- task, is kept.
UPDATE work
SET lease_until = NULL, cause = @cause,
    attempt = CASE WHEN @failed::bool THEN attempt ELSE 0 END,
    since = CASE WHEN @fresh::bool THEN now() ELSE since END,
    due_at = CASE WHEN requested = @requested THEN now() + make_interval(secs => @delay_seconds::float8) ELSE now() END,
    ring_id = CASE WHEN requested = @requested THEN sqlc.narg('ring_id')::uuid END,
    ring_gen = coalesce((SELECT generation FROM bell), 1),
    ring_at = now() + make_interval(secs => sqlc.arg('delay_seconds')::float8 + 2)
WHERE kind = @kind AND subject_id = @subject_id AND epoch = @epoch;

-- name: WorkRelease :execrows
-- Hands a claim back unused: no attempt is counted.
UPDATE work
SET lease_until = NULL, due_at = now(), attempt = greatest(attempt - 1, 0), epoch = nextval('work_epochs')
WHERE kind = @kind AND subject_id = @subject_id AND epoch = @epoch;

-- name: WorkHandOver :execrows
-- Ends a claim by asking for work of another kind on the same subject, unless
-- it was asked for again meanwhile.
WITH held AS (
    DELETE FROM work d
    WHERE d.kind = @kind AND d.subject_id = @subject_id AND d.epoch = @epoch AND d.requested = @requested
    RETURNING d.subject_id
)
INSERT INTO work (kind, subject_id, due_at)
SELECT @to_kind, held.subject_id, now() + make_interval(secs => @delay_seconds::float8) FROM held
ON CONFLICT (kind, subject_id) DO UPDATE
SET due_at = least(work.due_at, excluded.due_at), requested = work.requested + 1, ring_id = NULL;

-- name: WorkGet :one
SELECT * FROM work WHERE kind = @kind AND subject_id = @subject_id;

-- name: WorkOf :many
SELECT * FROM work WHERE subject_id = @subject_id ORDER BY kind;

-- name: WorkHeldByOthers :one
-- How many claims of other kinds hold the subject.
SELECT count(*) FROM work
WHERE subject_id = @subject_id AND kind <> @kind AND lease_until > now();

-- name: WorkHurry :execrows
-- Makes work that nobody holds due at once, and ringable.
UPDATE work
SET due_at = least(due_at, now()), ring_id = NULL
WHERE kind = @kind AND subject_id = @subject_id AND (lease_until IS NULL OR lease_until <= now());

-- name: WorkSooner :execrows
-- Makes work due at once. A holder is told by the higher count, and looks
-- again.
UPDATE work
SET due_at = least(due_at, now()), requested = requested + 1, ring_id = NULL
WHERE kind = @kind AND subject_id = @subject_id;

-- name: WorkLockQueue :exec
-- Those who ring one queue take turns, so that its bound holds.
SELECT pg_advisory_xact_lock(hashtextextended('troy ring ' || @queue::text, 0));

-- name: WorkRingNext :many
-- Marks the waiting rows of a queue's kinds as rung, those due longest first,
-- while fewer than the bound are rung and due. Rows that are due within a minute
-- are rung with their time, apart from the bound; longer waits stay here. Each
-- kind is read by itself, in the order of the index.
-- The transaction began before it waited for its turn. By its now(), rows that
-- were asked for meanwhile would be due later.
WITH gen AS (
    SELECT coalesce((SELECT b.generation FROM bell b), 1)::bigint AS generation
), room AS (
    SELECT greatest(sqlc.arg('bound')::bigint - count(rung.subject_id), 0)::bigint AS places
    FROM (
        SELECT w.subject_id FROM work w, gen
        WHERE w.kind = ANY(@kinds::text[]) AND w.ring_id IS NOT NULL AND w.ring_gen = gen.generation AND w.due_at <= statement_timestamp()
        LIMIT sqlc.arg('bound')::bigint
    ) rung
), due AS (
    SELECT w.kind, w.subject_id FROM unnest(@kinds::text[]) AS k (kind) CROSS JOIN LATERAL (
        SELECT a.kind, a.subject_id, a.due_at FROM work a
        WHERE a.kind = k.kind AND a.ring_id IS NULL AND a.lease_until IS NULL AND a.due_at <= statement_timestamp()
        ORDER BY a.due_at LIMIT (SELECT room.places FROM room)
        FOR UPDATE SKIP LOCKED
    ) w
    ORDER BY w.due_at LIMIT (SELECT room.places FROM room)
), later AS (
    SELECT w.kind, w.subject_id FROM unnest(@kinds::text[]) AS k (kind) CROSS JOIN LATERAL (
        SELECT a.kind, a.subject_id FROM work a
        WHERE a.kind = k.kind AND a.ring_id IS NULL AND a.lease_until IS NULL
          AND a.due_at > statement_timestamp() AND a.due_at <= statement_timestamp() + interval '1 minute'
        ORDER BY a.due_at LIMIT 500
        FOR UPDATE SKIP LOCKED
    ) w
), chosen AS (
    SELECT kind, subject_id FROM due UNION ALL SELECT kind, subject_id FROM later
)
UPDATE work w
SET ring_id = gen_random_uuid(), ring_gen = gen.generation, ring_at = greatest(w.due_at, statement_timestamp()) + interval '2 seconds'
FROM gen
WHERE w.subject_id = ANY(ARRAY(SELECT chosen.subject_id FROM chosen)) -- by the primary key, whatever Postgres expects of chosen
  AND (w.kind, w.subject_id) IN (SELECT chosen.kind, chosen.subject_id FROM chosen)
RETURNING w.kind, w.subject_id, w.ring_id::uuid AS ring_id, greatest(date_part('epoch', w.due_at - statement_timestamp()), 0)::float8 AS delay_seconds;

-- name: WorkOverdue :many
-- The rung rows of the kinds that nobody claimed in time.
SELECT kind, subject_id, ring_id::uuid AS ring_id FROM work
WHERE ring_id IS NOT NULL AND ring_at <= now() AND kind = ANY(@kinds::text[])
ORDER BY ring_at LIMIT 500;

-- name: WorkUnring :execrows
-- The tasks with these ids are not in Redis any more: their rows wait again.
UPDATE work SET ring_id = NULL, rings = rings + 1 WHERE ring_id = ANY(@ring_ids::uuid[]) AND ring_at <= now();

-- name: WorkLookLater :execrows
-- The tasks with these ids still stand in line: look again later, 2 s doubling
-- to 60 s.
UPDATE work
SET rings = rings + 1, ring_at = now() + make_interval(secs => least(2 * 2 ^ least(rings, 5), 60))
WHERE ring_id = ANY(@ring_ids::uuid[]) AND ring_at <= now();

-- name: WorkExpire :execrows
-- Takes back the leases that ran out: their rows wait again.
UPDATE work SET lease_until = NULL
WHERE (kind, subject_id) IN (
    SELECT e.kind, e.subject_id FROM work e WHERE e.lease_until <= now() ORDER BY e.lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
);

-- name: WorkForgetRings :execrows
-- Redis is new: whatever was rung before waits again.
UPDATE work SET ring_id = NULL
WHERE ring_id IS NOT NULL AND ring_gen <> coalesce((SELECT generation FROM bell), 1);

-- name: WorkPositions :many
-- Returns the positions in their queues, from 1, of the due work of pipelines
-- and of their waiting deployments. Work that is held or due later has none.
-- The two lists say which queue each kind has.
WITH waiting AS (
    SELECT d.id, d.pipeline_id FROM deployments d WHERE d.state = 'waiting' AND d.pipeline_id = ANY(@pipeline_ids::uuid[])
), line AS (
    SELECT w.kind, w.subject_id, row_number() OVER (PARTITION BY (@queues::text[])[array_position(@kinds::text[], w.kind)] ORDER BY w.due_at, w.subject_id)::bigint AS position
    FROM work w WHERE w.lease_until IS NULL AND w.due_at <= now()
)
SELECT line.kind, coalesce(waiting.pipeline_id, line.subject_id)::uuid AS pipeline_id, line.position
FROM line
LEFT JOIN waiting ON waiting.id = line.subject_id
WHERE line.subject_id = ANY(@pipeline_ids::uuid[]) OR waiting.id IS NOT NULL;

-- name: BellLock :exec
-- Those who compare the generation with Redis take turns.
SELECT pg_advisory_xact_lock(hashtextextended('troy generation', 0));

-- name: BellGet :one
SELECT coalesce(max(generation), 1)::bigint AS generation,
       coalesce(date_part('epoch', now() - max(swept_at)), 1e9)::float8 AS swept_seconds_ago
FROM bell;

-- name: BellNextGeneration :one
INSERT INTO bell (generation) VALUES (2)
ON CONFLICT (one) DO UPDATE SET generation = bell.generation + 1
RETURNING generation;

-- name: BellSwept :exec
INSERT INTO bell DEFAULT VALUES
ON CONFLICT (one) DO UPDATE SET swept_at = now();

-- name: LockName :exec
-- What has to go one after another outside of Postgres, until the end of the
-- transaction.
SELECT pg_advisory_xact_lock(hashtextextended('troy ' || @name::text, 0));
