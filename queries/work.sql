-- Claims, rings and the sweep. All kinds of work use the same queries.

-- name: WorkRequest :exec
-- Requests work, now or after a delay. If the work is already requested, it
-- becomes due at once; a worker that holds it sees the higher count.
INSERT INTO work (kind, subject_id, due_at)
VALUES (@kind, @subject_id, now() + make_interval(secs => @delay_seconds::float8))
ON CONFLICT (kind, subject_id) DO UPDATE
SET due_at = least(work.due_at, excluded.due_at), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;

-- name: WorkClaim :one
-- Claims nothing of a paused queue, also if its task is still in Redis. A prompt
-- claim does not wait for the disk: if Postgres crashes and loses it, the row is
-- due again. Postgres then loses the values of sequences too, so the epoch is
-- random: no later claim has that of a lost one.
UPDATE work
SET epoch = (random() * 4503599627370496)::bigint, attempt = attempt + 1, ring_id = NULL, rings = 0,
    lease_until = now() + make_interval(secs => @lease_seconds::float8), worker = @worker, claimed_at = now()
WHERE kind = @kind AND subject_id = @subject_id AND due_at <= now()
  AND (lease_until IS NULL OR lease_until <= now())
  AND NOT EXISTS (SELECT 1 FROM pauses WHERE pauses.queue = @queue)
RETURNING work.epoch, work.attempt, work.requested, work.cause, coalesce(work.pipeline_id, '00000000-0000-0000-0000-000000000000')::uuid AS pipeline_id, CAST(date_part('epoch', now() - work.since) AS float8) AS age_seconds,
    set_config('synchronous_commit', CASE WHEN @prompt::bool THEN 'off' ELSE current_setting('synchronous_commit') END, true)::text AS synchronous_commit;

-- name: WorkHeartbeat :execrows
UPDATE work
SET lease_until = now() + make_interval(secs => @lease_seconds::float8)
WHERE kind = @kind AND subject_id = @subject_id AND epoch = @epoch AND lease_until IS NOT NULL;

-- name: WorkHeld :one
-- Returns whether a claim still has its row. It has it until the next claim, even
-- after its lease was taken back: until then the end of the claim deletes the row.
SELECT EXISTS (SELECT 1 FROM work WHERE kind = @kind AND subject_id = @subject_id AND epoch = @epoch)::bool AS held;

-- name: WorkFinish :execrows
-- Ends a claim. Deletes the row, or makes it due at once if the work was
-- requested again meanwhile.
WITH gone AS (
    DELETE FROM work d
    WHERE d.kind = @kind AND d.subject_id = @subject_id AND d.epoch = @epoch AND d.requested = @requested
    RETURNING d.kind
)
UPDATE work w
SET lease_until = NULL, due_at = now(), since = now(), attempt = 0, cause = ''
WHERE w.kind = @kind AND w.subject_id = @subject_id AND w.epoch = @epoch AND NOT EXISTS (SELECT 1 FROM gone);

-- name: WorkAgain :execrows
-- Ends a claim and makes the row due later, or at once if the work was
-- requested again meanwhile. A failed attempt counts. A wait does not, and ends
-- the row of failed attempts unless it keeps them. A fresh start counts as
-- requested when it is due, so that the wait does not use up the deadline. Keeps
-- a ring that is still to come because asynq retries the same task.
UPDATE work
SET lease_until = NULL, cause = @cause,
    attempt = CASE WHEN @failed::bool THEN attempt WHEN @keep::bool THEN greatest(attempt - 1, 0) ELSE 0 END,
    since = CASE WHEN NOT @fresh::bool THEN since
        WHEN requested = @requested THEN now() + make_interval(secs => @delay_seconds::float8) ELSE now() END,
    due_at = CASE WHEN requested = @requested THEN now() + make_interval(secs => @delay_seconds::float8) ELSE now() END,
    ring_id = CASE WHEN requested = @requested THEN sqlc.narg('ring_id')::uuid END,
    ring_gen = coalesce((SELECT generation FROM bell), 1),
    ring_at = now() + make_interval(secs => sqlc.arg('delay_seconds')::float8 + 2)
WHERE kind = @kind AND subject_id = @subject_id AND epoch = @epoch;

-- name: WorkRelease :execrows
-- Hands a claim back unused. Counts no attempt.
UPDATE work
SET lease_until = NULL, due_at = now(), attempt = greatest(attempt - 1, 0), epoch = nextval('work_epochs')
WHERE kind = @kind AND subject_id = @subject_id AND epoch = @epoch;

-- name: WorkHandOver :execrows
-- Ends a claim and requests work of another kind on the same subject,
-- unless the work was requested again meanwhile.
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
-- Counts the claims of other kinds that hold the subject.
SELECT count(*) FROM work
WHERE subject_id = @subject_id AND kind <> @kind AND lease_until > now();

-- name: WorkHurry :execrows
-- Makes work that is not held due at once, so that it can be rung.
UPDATE work
SET due_at = least(due_at, now()), ring_id = NULL
WHERE kind = @kind AND subject_id = @subject_id AND (lease_until IS NULL OR lease_until <= now());

-- name: WorkAfresh :execrows
-- Makes work that is not held due at once, with all of its attempts and a new
-- deadline.
UPDATE work
SET due_at = least(due_at, now()), since = now(), attempt = 0, cause = '', ring_id = NULL
WHERE kind = @kind AND subject_id = @subject_id AND (lease_until IS NULL OR lease_until <= now());

-- name: WorkPostpone :exec
-- Adds the time for which a queue was paused to the deadlines of the work that
-- the pause held up.
UPDATE work SET since = work.since + (now() - greatest(work.since, sqlc.arg('paused_at')::timestamptz))
WHERE kind = ANY(@kinds::text[]) AND due_at <= now() AND ring_id IS NULL AND lease_until IS NULL;

-- name: WorkSooner :execrows
-- Makes work due at once. A worker that holds it sees the higher count and
-- checks again.
UPDATE work
SET due_at = least(due_at, now()), requested = requested + 1, ring_id = NULL
WHERE kind = @kind AND subject_id = @subject_id;

-- name: WorkLockQueue :exec
-- Makes the processes that ring a queue take turns, so that the queue's bound
-- holds. If Postgres crashes and loses the mark, the row is rung again, so the
-- transaction does not wait for the disk. Its other statement is planned once:
-- Postgres would plan it for each ring, which takes longer than its execution.
SELECT pg_advisory_xact_lock(hashtextextended('troy ring ' || @queue::text, 0)),
       set_config('synchronous_commit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true);

-- name: WorkToRing :many
-- Returns the kinds that have rows to ring: those that wait and are due within a
-- minute.
SELECT k.kind::text AS kind FROM unnest(@kinds::text[]) AS k (kind)
WHERE EXISTS (
    SELECT 1 FROM work w
    WHERE w.kind = k.kind AND w.ring_id IS NULL AND w.lease_until IS NULL AND w.due_at <= statement_timestamp() + interval '1 minute'
);

-- name: WorkRingNext :many
-- Marks waiting rows of a queue's kinds as rung, while fewer than the bound
-- are rung and due. The rows that have been due the longest come first.
-- Rows that are due within a minute are rung with their time and do not
-- count against the bound; rows that are due later stay here. Each kind is
-- read separately, in the order of the index. Nothing of a paused queue is
-- rung.
-- The transaction began before it waited for its turn, so rows that were
-- requested meanwhile would seem to be due later than its now(). WorkRing runs
-- it.
WITH gen AS (
    SELECT coalesce((SELECT b.generation FROM bell b), 1)::bigint AS generation
), room AS (
    SELECT CASE WHEN EXISTS (SELECT 1 FROM pauses WHERE pauses.queue = @queue) THEN 0
           ELSE greatest(sqlc.arg('bound')::bigint - count(rung.subject_id), 0) END::bigint AS places
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
          AND NOT EXISTS (SELECT 1 FROM pauses WHERE pauses.queue = @queue)
        ORDER BY a.due_at LIMIT 500
        FOR UPDATE SKIP LOCKED
    ) w
), chosen AS (
    SELECT kind, subject_id FROM due UNION ALL SELECT kind, subject_id FROM later
)
UPDATE work w
SET ring_id = gen_random_uuid(), ring_gen = gen.generation, ring_at = greatest(w.due_at, statement_timestamp()) + interval '2 seconds'
FROM gen
WHERE w.subject_id = ANY(ARRAY(SELECT chosen.subject_id FROM chosen)) -- uses the primary key, whatever Postgres estimates for chosen
  AND (w.kind, w.subject_id) IN (SELECT chosen.kind, chosen.subject_id FROM chosen)
RETURNING w.kind, w.subject_id, w.ring_id::uuid AS ring_id, greatest(date_part('epoch', w.due_at - statement_timestamp()), 0)::float8 AS delay_seconds;

-- name: WorkOverdue :many
-- Returns the rung rows of the kinds that no worker has claimed in time.
SELECT kind, subject_id, ring_id::uuid AS ring_id FROM work
WHERE ring_id IS NOT NULL AND ring_at <= now() AND kind = ANY(@kinds::text[])
ORDER BY ring_at LIMIT 500;

-- name: WorkUnring :execrows
-- Makes the rows of tasks that are no longer in Redis wait again.
UPDATE work SET ring_id = NULL, rings = rings + 1 WHERE ring_id = ANY(@ring_ids::uuid[]) AND ring_at <= now();

-- name: WorkLookLater :execrows
-- Postpones the next check of tasks that are still in their queue: 2 s,
-- doubling up to 60 s.
UPDATE work
SET rings = rings + 1, ring_at = now() + make_interval(secs => least(2 * 2 ^ least(rings, 5), 60))
WHERE ring_id = ANY(@ring_ids::uuid[]) AND ring_at <= now();

-- name: WorkExpire :execrows
-- Takes back expired leases. Their rows wait again.
UPDATE work SET lease_until = NULL
WHERE (kind, subject_id) IN (
    SELECT e.kind, e.subject_id FROM work e WHERE e.lease_until <= now() ORDER BY e.lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
);

-- name: WorkForgetRings :execrows
-- Makes all rung rows wait again, because Redis is new.
UPDATE work SET ring_id = NULL
WHERE ring_id IS NOT NULL AND ring_gen <> coalesce((SELECT generation FROM bell), 1);

-- name: WorkPositions :many
-- Returns the positions in their queues, from 1, of the due work of
-- pipelines or deployments, and of the pipelines' waiting deployments. Work that is held or due
-- later has no position, and neither has work with more than 1,000 of its kind
-- before it. The two lists give the queue of each kind. Each kind is read
-- separately, in the order of its indexes, so that the cost is bounded.
WITH waiting AS (
    SELECT d.id, d.pipeline_id FROM deployments d WHERE d.state = 'waiting' AND d.preview_id IS NULL AND d.pipeline_id = ANY(@pipeline_ids::uuid[])
), due AS (
    SELECT w.kind, w.subject_id, w.due_at FROM unnest(@kinds::text[]) AS k (kind) CROSS JOIN LATERAL (
        SELECT l.* FROM (
            (SELECT a.kind, a.subject_id, a.due_at FROM work a
             WHERE a.kind = k.kind AND a.ring_id IS NULL AND a.lease_until IS NULL AND a.due_at <= now()
             ORDER BY a.due_at LIMIT 1000)
            UNION ALL
            (SELECT b.kind, b.subject_id, b.due_at FROM work b
             WHERE b.kind = k.kind AND b.ring_id IS NOT NULL AND b.due_at <= now()
             ORDER BY b.due_at LIMIT 1000)
        ) l ORDER BY l.due_at LIMIT 1000
    ) w
), line AS (
    SELECT due.kind, due.subject_id, row_number() OVER (PARTITION BY (@queues::text[])[array_position(@kinds::text[], due.kind)] ORDER BY due.due_at, due.subject_id)::bigint AS position
    FROM due
)
SELECT line.kind, coalesce(waiting.pipeline_id, line.subject_id)::uuid AS pipeline_id, line.position
FROM line
LEFT JOIN waiting ON waiting.id = line.subject_id
WHERE line.subject_id = ANY(@pipeline_ids::uuid[]) OR waiting.id IS NOT NULL;

-- name: BellLock :exec
-- Makes the processes that compare the generation with Redis take turns.
SELECT pg_advisory_xact_lock(hashtextextended('troy generation', 0));

-- name: BellGet :one
SELECT coalesce(max(generation), 1)::bigint AS generation,
       coalesce(date_part('epoch', now() - max(swept_at)), 1e9)::float8 AS swept_seconds_ago
FROM bell;

-- name: BellNextGeneration :one
INSERT INTO bell (generation) VALUES (2)
ON CONFLICT (one) DO UPDATE SET generation = bell.generation + 1
RETURNING generation;

-- name: BellLook :one
-- Returns whether the sweep has something to do, whether work is outstanding,
-- that is rung or held, and when the last reconciliation began.
SELECT (
    EXISTS (SELECT 1 FROM work w WHERE w.lease_until <= statement_timestamp())
    OR EXISTS (SELECT 1 FROM work w WHERE w.ring_id IS NOT NULL AND w.ring_at <= statement_timestamp() AND w.kind = ANY(@kinds::text[]))
    OR EXISTS (SELECT 1 FROM unnest(@kinds::text[]) AS k (kind) WHERE EXISTS (
        SELECT 1 FROM work w
        WHERE w.kind = k.kind AND w.ring_id IS NULL AND w.lease_until IS NULL AND w.due_at <= statement_timestamp() + interval '1 minute'))
)::bool AS due, (
    EXISTS (SELECT 1 FROM work w WHERE w.lease_until IS NOT NULL) OR EXISTS (SELECT 1 FROM work w WHERE w.ring_id IS NOT NULL)
)::bool AS outstanding,
    coalesce((SELECT abs(date_part('epoch', now() - reconciled_at)) FROM bell), 1e9)::float8 AS reconciled_seconds_ago,
    coalesce((SELECT greatest(swept_at, reconciled_at) > now() + interval '5 seconds' FROM bell), false)::bool AS set_back;

-- name: WorkSetBack :execrows
-- Moves the times of work to where they were before Postgres' clock was set
-- back. The times of the last sweep and reconciliation tell how far that was,
-- less the time since. Otherwise the work would wait for the difference, and so
-- would the lease of a worker that died. A living worker renews its lease.
WITH ahead AS (
    SELECT greatest(swept_at, reconciled_at) - now() AS interval FROM bell
    WHERE greatest(swept_at, reconciled_at) > now() + interval '5 seconds' FOR UPDATE
), met AS (
    UPDATE bell SET swept_at = least(swept_at, now()), reconciled_at = least(reconciled_at, now()) FROM ahead
)
UPDATE work
SET due_at = CASE WHEN due_at > now() THEN greatest(due_at - ahead.interval, now()) ELSE due_at END,
    since = CASE WHEN since > now() THEN since - ahead.interval ELSE since END,
    lease_until = CASE WHEN lease_until IS NOT NULL THEN least(lease_until, now() + make_interval(secs => @lease_seconds::float8)) END,
    ring_at = least(ring_at, now())
FROM ahead
WHERE work.due_at > now() OR work.since > now() OR work.lease_until IS NOT NULL OR work.ring_id IS NOT NULL;

-- name: BellSweep :execrows
-- Takes the turn to sweep. Only one process has it in each interval. If Postgres
-- crashes and loses the time, there is one more sweep. A time in the future does
-- not count: the clock was set back.
WITH prompt AS (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO bell (swept_at) SELECT now() FROM prompt
ON CONFLICT (one) DO UPDATE SET swept_at = now()
WHERE bell.swept_at <= now() - make_interval(secs => @interval_seconds::float8) OR bell.swept_at > now() + make_interval(secs => @interval_seconds::float8);

-- name: LockName :exec
-- Serializes what no row's lock can serialize, until the end of the
-- transaction.
SELECT pg_advisory_xact_lock(hashtextextended('troy ' || @name::text, 0));

-- name: LockNameTry :one
-- Is LockName without waiting: it returns whether the name was free.
SELECT pg_try_advisory_xact_lock(hashtextextended('troy ' || @name::text, 0))::boolean;
