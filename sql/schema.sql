-- The target schema. The migrations result in exactly this schema; a test
-- compares the two. To change it, edit this file and run
-- `make migration NAME=…`.

CREATE SEQUENCE work_epochs;

-- An app, according to the app events. The row outlives its pipeline, so that
-- a late event of a deleted app is recognised as late.
CREATE TABLE apps (
    id           text PRIMARY KEY,
    created_time timestamptz, -- the newest Created's time
    deleted_time timestamptz  -- the newest Deleted's time
);

CREATE TABLE pipelines (
    id                   uuid PRIMARY KEY,
    app_id               text,
    name                 text        NOT NULL,
    slug                 text        NOT NULL CONSTRAINT pipelines_slug_key UNIQUE,
    status               text        NOT NULL DEFAULT 'pre_provisioned'
        CONSTRAINT pipelines_status_check CHECK (status IN (
            'pre_provisioned', 'provision_request', 'provisioning', 'failed_to_provision',
            'ready_for_deployment', 'queued', 'deploying', 'deployed', 'failed_to_deploy',
            'scheduled_for_deletion', 'deleting', 'failed_to_delete')),
    cause                text        NOT NULL DEFAULT '', -- why the status is a Failed one
    version              bigint      NOT NULL DEFAULT 1,  -- of the newest event
    repository_provider  text,
    repository_full_name text,
    repository_branch    text,
    repository_root      text,
    repository_id        text,                           -- the forge's own id, which survives renames
    watch_paths          text[]      NOT NULL DEFAULT '{}',
    source_problem       text        NOT NULL DEFAULT '', -- why pushes are not built, such as a missing installation
    head_commit          text,                           -- the newest known commit of the branch
    cancel_running       boolean     NOT NULL DEFAULT false, -- whether a newer commit stops the running build
    build_settings       jsonb       NOT NULL DEFAULT '{}',
    -- What provisioning created.
    distribution_id      text,
    distribution_domain  text,
    record_host          text,
    -- What is live, and the last assigned numbers.
    live_deployment_id   uuid,
    last_sequence        bigint      NOT NULL DEFAULT 0,
    last_number          bigint      NOT NULL DEFAULT 0,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    -- While locked_at is set, pushes are not deployed.
    locked_at            timestamptz,
    locked_by            text        NOT NULL DEFAULT '',
    lock_reason          text        NOT NULL DEFAULT '',
    held_push            jsonb,      -- the newest push that the lock held back
    workspace            text        NOT NULL DEFAULT '', -- the folder of the workspace in which the newest build found the root folder
    -- While delete_due_at is set, the deletion has not begun and can be undone.
    delete_due_at        timestamptz,
    delete_asked_at      timestamptz, -- when the deletion was requested
    delete_asked_by      text        NOT NULL DEFAULT '',
    restore_status       text        NOT NULL DEFAULT '', -- the status after an undo
    restore_cause        text        NOT NULL DEFAULT '', -- and its cause
    unwatched            text[]      NOT NULL DEFAULT '{}', -- what of the workspace does not concern the site, as the newest build found
    cache_epoch          bigint      NOT NULL DEFAULT 0, -- how often the caches of its builds were cleared
    asked_commit         text        NOT NULL DEFAULT '', -- the commit of the newest push about which the forge is asked
    asked_by             text        NOT NULL DEFAULT ''  -- and the actor of the push
);

CREATE UNIQUE INDEX pipelines_one_per_app ON pipelines (app_id)
    WHERE status NOT IN ('scheduled_for_deletion', 'deleting', 'failed_to_delete');

CREATE INDEX pipelines_delete_due ON pipelines (app_id) WHERE delete_due_at IS NOT NULL;

CREATE INDEX pipelines_repository ON pipelines (repository_provider, repository_id);
CREATE INDEX pipelines_unfinished ON pipelines (id)
    WHERE status IN ('provision_request', 'provisioning', 'queued', 'deploying', 'scheduled_for_deletion', 'deleting');

CREATE INDEX pipelines_distribution ON pipelines (distribution_id) WHERE distribution_id IS NOT NULL;
CREATE INDEX pipelines_updated ON pipelines (updated_at, id);
-- By an expression, so that no transition, which names the status and the id,
-- is tempted by these while statistics are old.
CREATE INDEX pipelines_status_updated ON pipelines ((status || ''), updated_at, id);
CREATE INDEX pipelines_status_slug ON pipelines ((status || ''), slug);
CREATE INDEX pipelines_status_id ON pipelines ((status || ''), id);
-- The words that people search pipelines by.
CREATE INDEX pipelines_words ON pipelines USING gin (to_tsvector('simple'::regconfig,
    translate(name || ' ' || slug || ' ' || coalesce(repository_full_name, ''), '-_/.', '    ')));

-- The hosts of a pipeline's site.
CREATE TABLE domains (
    host          text PRIMARY KEY, -- normalised
    pipeline_id   uuid NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    kind          text NOT NULL CONSTRAINT domains_kind_check CHECK (kind IN ('site')),
    deployment_id uuid
);

CREATE INDEX domains_pipeline ON domains (pipeline_id);

CREATE TABLE deployments (
    id                   uuid PRIMARY KEY,
    pipeline_id          uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    number               bigint      NOT NULL, -- per pipeline, from 1
    kind                 text        NOT NULL
        CONSTRAINT deployments_kind_check CHECK (kind IN ('automated', 'release', 'rollback', 'promotion', 'preview')),
    state                text        NOT NULL
        CONSTRAINT deployments_state_check CHECK (state IN (
            'waiting', 'building', 'publishing', 'succeeded', 'failed', 'cancelled', 'superseded')),
    tree_id              uuid        NOT NULL, -- the deployment whose files it publishes: itself, or an earlier one
    source_deployment_id uuid,                 -- the deployment that a rollback or a retry repeats
    commit_sha           text,
    branch               text,
    author               text,
    message              text        NOT NULL DEFAULT '',
    actor                text        NOT NULL,
    manifest_digest      text,
    files                bigint      NOT NULL DEFAULT 0,
    bytes                bigint      NOT NULL DEFAULT 0,
    expect_live          text, -- a deployment's id or 'none'
    sequence             bigint, -- of the pointer that publishes it
    cause                text        NOT NULL DEFAULT '',
    created_at           timestamptz NOT NULL DEFAULT now(),
    started_at           timestamptz,
    sealed_at            timestamptz, -- when its tree was complete; from then on the pointer may have flipped
    live_at              timestamptz, -- when it went live
    finished_at          timestamptz,
    pruned_at            timestamptz, -- when retention gave up its tree
    reported_state       text DEFAULT '', -- the last state reported to the forge; null on rows older than the column
    preview_id           uuid, -- the preview that it belongs to
    trusted              boolean NOT NULL DEFAULT true, -- whether its author may see what builds see
    CONSTRAINT deployments_number_key UNIQUE (pipeline_id, number),
    CONSTRAINT deployments_finished_check CHECK (
        (state IN ('succeeded', 'failed', 'cancelled', 'superseded')) = (finished_at IS NOT NULL)),
    CONSTRAINT deployments_started_check CHECK (
        state NOT IN ('building', 'publishing') OR started_at IS NOT NULL),
    CONSTRAINT deployments_preview_check CHECK ((kind = 'preview') = (preview_id IS NOT NULL)),
    -- The version before publishes every deployment that waits. It fails on this
    -- before it changes what is live.
    CONSTRAINT deployments_preview_live_check CHECK (preview_id IS NULL OR (sequence IS NULL AND live_at IS NULL))
);

CREATE UNIQUE INDEX deployments_one_live ON deployments (pipeline_id)
    WHERE state IN ('building', 'publishing') AND preview_id IS NULL;
CREATE UNIQUE INDEX deployments_one_preview ON deployments (preview_id)
    WHERE state IN ('building', 'publishing') AND preview_id IS NOT NULL;
CREATE INDEX deployments_preview ON deployments (preview_id, number) WHERE preview_id IS NOT NULL;
CREATE INDEX deployments_preview_unreported ON deployments (preview_id)
    WHERE preview_id IS NOT NULL AND state <> 'publishing' AND commit_sha IS NOT NULL AND reported_state IS NOT NULL AND nullif(state, reported_state) = state;

CREATE INDEX deployments_waiting ON deployments (pipeline_id, number) WHERE state = 'waiting';
-- The comparison with reported_state is an equality, because Postgres estimates
-- that few rows match one. For an inequality it expects most rows and reads the
-- whole table. Queries that use the index must repeat its condition exactly.
CREATE INDEX deployments_unreported ON deployments (pipeline_id)
    WHERE kind = 'automated' AND state <> 'publishing' AND reported_state IS NOT NULL AND nullif(state, reported_state) = state;

-- The previews of pipelines' sites. Each has an address of its own. The row
-- stays when a preview is removed, and the same source opens it again.
CREATE TABLE previews (
    id                 uuid PRIMARY KEY,
    pipeline_id        uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    kind               text        NOT NULL CONSTRAINT previews_kind_check CHECK (kind IN ('pull_request', 'branch', 'release')),
    source             text        NOT NULL, -- 'repository#number', a branch or a label; unique within the pipeline and kind
    label              text        NOT NULL, -- the beginning of its host
    repository_id      text,                 -- of a pull request: the forge's id of the repository that it changes
    number             bigint,               -- of a pull request
    branch             text        NOT NULL DEFAULT '',
    title              text        NOT NULL DEFAULT '',
    author             text        NOT NULL DEFAULT '',
    url                text        NOT NULL DEFAULT '', -- of the page at the forge
    head_commit        text,                            -- the newest known commit
    trusted            boolean     NOT NULL DEFAULT true, -- whether the author may write to the repository
    approved_commit    text,                            -- the commit of an untrusted author that may be built
    approved_by        text        NOT NULL DEFAULT '',
    live_deployment_id uuid,                            -- the deployment that its address shows
    pinned             boolean     NOT NULL DEFAULT false, -- whether it neither expires nor makes room for others
    created_by         text        NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    pushed_at          timestamptz NOT NULL DEFAULT now(), -- when its newest commit or files came
    expires_at         timestamptz NOT NULL,
    closed_at          timestamptz, -- when its removal was requested
    closed_by          text        NOT NULL DEFAULT '',
    closed_cause       text        NOT NULL DEFAULT '',
    removed_at         timestamptz, -- when its addresses were gone
    retracted_at       timestamptz, -- when the forge had nothing of it any more
    commented          boolean     NOT NULL DEFAULT true, -- whether it may have written the comment on its pull request; rows older than the column may have
    CONSTRAINT previews_label_key UNIQUE (pipeline_id, label),
    CONSTRAINT previews_source_key UNIQUE (pipeline_id, kind, source),
    CONSTRAINT previews_pull_request_check CHECK ((kind = 'pull_request') = (repository_id IS NOT NULL AND number IS NOT NULL)),
    CONSTRAINT previews_removed_check CHECK (removed_at IS NULL OR closed_at IS NOT NULL)
);

CREATE INDEX previews_open ON previews (pipeline_id, pushed_at, id) WHERE closed_at IS NULL;
CREATE INDEX previews_expire ON previews (expires_at) WHERE closed_at IS NULL AND NOT pinned;
CREATE INDEX previews_unremoved ON previews (pipeline_id, closed_at) WHERE closed_at IS NOT NULL AND removed_at IS NULL;
CREATE INDEX previews_number ON previews (repository_id, number) WHERE kind = 'pull_request';
CREATE INDEX previews_unretracted ON previews (closed_at) WHERE closed_at IS NOT NULL AND retracted_at IS NULL;

-- The pull requests of pipelines' repositories, as the forge described them last.
CREATE TABLE pull_requests (
    id              uuid PRIMARY KEY,
    pipeline_id     uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    repository_id   text        NOT NULL, -- the forge's id of the repository that it changes
    number          bigint      NOT NULL,
    title           text        NOT NULL,
    url             text        NOT NULL, -- of its page at the forge
    head            text        NOT NULL, -- the source branch
    head_commit     text        NOT NULL, -- its newest commit; Bitbucket's are shortened
    head_repository text        NOT NULL, -- the id of the source branch's repository; empty: deleted
    head_full_name  text        NOT NULL,
    base            text        NOT NULL, -- the target branch
    draft           boolean     NOT NULL,
    open            boolean     NOT NULL,
    author_id       text        NOT NULL,
    author          text        NOT NULL,
    changed_at      timestamptz NOT NULL, -- when it changed last, by the forge's clock
    head_at         timestamptz NOT NULL, -- when its newest commit was seen, by the forge's clock
    version         bigint      NOT NULL DEFAULT 1, -- counts what was learned
    build           boolean     NOT NULL, -- whether a worker is to decide about its newest commit
    wanted          boolean     NOT NULL, -- whether the settings give it a preview
    decision        text        NOT NULL, -- why it has a preview or none
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pull_requests_number_key UNIQUE (pipeline_id, repository_id, number)
);

CREATE INDEX pull_requests_open ON pull_requests (pipeline_id, number) WHERE open;
CREATE INDEX pull_requests_undecided ON pull_requests (updated_at) WHERE build;

-- Comments that ask for a build, until the forge says whether their authors may
-- ask.
CREATE TABLE pull_request_commands (
    id              uuid PRIMARY KEY,
    pull_request_id uuid        NOT NULL REFERENCES pull_requests (id) ON DELETE CASCADE,
    author_id       text        NOT NULL,
    author          text        NOT NULL,
    commit_sha      text        NOT NULL, -- empty: the newest commit that the author could see
    written_at      timestamptz NOT NULL, -- by the forge's clock
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX pull_request_commands_subject ON pull_request_commands (pull_request_id, id);

CREATE FUNCTION preview_report() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO work (kind, subject_id) VALUES ('preview:report', NEW.preview_id)
    ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;
    RETURN NULL;
END
$$;
CREATE TRIGGER preview_report AFTER INSERT OR UPDATE OF state ON deployments FOR EACH ROW
    WHEN (NEW.preview_id IS NOT NULL AND NEW.commit_sha IS NOT NULL) EXECUTE FUNCTION preview_report();

CREATE FUNCTION preview_retract() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.closed_at IS NULL THEN
        NEW.retracted_at := NULL;
    ELSE
        INSERT INTO work (kind, subject_id) VALUES ('preview:report', NEW.id)
        ON CONFLICT (kind, subject_id) DO UPDATE SET due_at = now(), since = now(), requested = work.requested + 1, attempt = 0, ring_id = NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER preview_retract BEFORE UPDATE OF closed_at ON previews FOR EACH ROW
    WHEN ((OLD.closed_at IS NULL) <> (NEW.closed_at IS NULL)) EXECUTE FUNCTION preview_retract();

-- The files that each pipeline's kept deployments publish. Triggers maintain it,
-- because the sum over all deployments would read the whole table.
CREATE TABLE storage (
    pipeline_id uuid PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    deployments bigint NOT NULL, -- with files of their own
    files       bigint NOT NULL,
    bytes       bigint NOT NULL,
    -- What the pipeline uses of its quota: the different files of all its trees,
    -- also of unfinished uploads. New trees add to it; retention counts again.
    used_files   bigint NOT NULL DEFAULT 0,
    used_bytes   bigint NOT NULL DEFAULT 0,
    used_changes bigint NOT NULL DEFAULT 0, -- how many trees were added
    counted_at   timestamptz NOT NULL DEFAULT now(), -- when retention counted
    quota_near   boolean NOT NULL DEFAULT false -- whether retention found little left of the quota
);

CREATE INDEX storage_bytes ON storage (bytes, pipeline_id);
CREATE INDEX storage_used ON storage (used_bytes, pipeline_id);
CREATE INDEX storage_counted ON storage (counted_at);

-- The trees whose files are in used_files and used_bytes. Trees of finished
-- deployments count without a row.
CREATE TABLE counted_trees (
    tree_id     uuid PRIMARY KEY,
    pipeline_id uuid NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE
);

CREATE INDEX counted_trees_pipeline ON counted_trees (pipeline_id);

-- The quotas of pipelines that differ from the installation's. Null means the
-- installation's, 0 no limit.
CREATE TABLE quotas (
    pipeline_id   uuid PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    bytes         bigint CONSTRAINT quotas_bytes_check CHECK (bytes >= 0),
    files         bigint CONSTRAINT quotas_files_check CHECK (files >= 0),
    open_releases bigint CONSTRAINT quotas_open_releases_check CHECK (open_releases >= 0),
    set_by        text        NOT NULL,
    set_at        timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION storage_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO storage AS s (pipeline_id, deployments, files, bytes)
    SELECT n.pipeline_id, count(*), sum(n.files), sum(n.bytes) FROM made n
    WHERE n.sealed_at IS NOT NULL AND n.pruned_at IS NULL AND n.tree_id = n.id GROUP BY n.pipeline_id ORDER BY n.pipeline_id
    ON CONFLICT (pipeline_id) DO UPDATE
        SET deployments = s.deployments + excluded.deployments, files = s.files + excluded.files, bytes = s.bytes + excluded.bytes;
    RETURN NULL;
END
$$;
CREATE TRIGGER storage_insert AFTER INSERT ON deployments REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION storage_insert();

CREATE FUNCTION storage_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was integer := (OLD.sealed_at IS NOT NULL AND OLD.pruned_at IS NULL AND OLD.tree_id = OLD.id)::integer;
    now integer := (NEW.sealed_at IS NOT NULL AND NEW.pruned_at IS NULL AND NEW.tree_id = NEW.id)::integer;
BEGIN
    INSERT INTO storage AS s (pipeline_id, deployments, files, bytes)
    VALUES (NEW.pipeline_id, now - was, now * NEW.files - was * OLD.files, now * NEW.bytes - was * OLD.bytes)
    ON CONFLICT (pipeline_id) DO UPDATE
        SET deployments = s.deployments + excluded.deployments, files = s.files + excluded.files, bytes = s.bytes + excluded.bytes;
    RETURN NULL;
END
$$;
CREATE TRIGGER storage_update AFTER UPDATE ON deployments FOR EACH ROW
    WHEN (NEW.tree_id = NEW.id AND (OLD.sealed_at, OLD.pruned_at, OLD.files, OLD.bytes) IS DISTINCT FROM (NEW.sealed_at, NEW.pruned_at, NEW.files, NEW.bytes))
    EXECUTE FUNCTION storage_update();

-- For the statistics.
CREATE INDEX deployments_finished ON deployments (finished_at) INCLUDE (state, kind, started_at) WHERE finished_at IS NOT NULL;

-- Uploads. A finalized upload becomes a deployment with the same id.
CREATE TABLE releases (
    id              uuid PRIMARY KEY,
    pipeline_id     uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    idempotency_key text,
    manifest_digest text        NOT NULL,
    files           bigint      NOT NULL,
    bytes           bigint      NOT NULL,
    message         text        NOT NULL DEFAULT '',
    actor           text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    finalized_at    timestamptz,
    given_up_at     timestamptz, -- when its files were given up; it can't be finalized any more
    touched_at      timestamptz NOT NULL DEFAULT now() -- when files were sent to it, to the minute
);

CREATE UNIQUE INDEX releases_idempotency ON releases (pipeline_id, idempotency_key);
CREATE INDEX releases_unfinished ON releases (pipeline_id, expires_at) WHERE finalized_at IS NULL;

-- The history of pipelines. Append-only, and without foreign keys because events
-- outlive the rows that they describe.
CREATE TABLE events (
    pipeline_id   uuid        NOT NULL,
    version       bigint      NOT NULL, -- per pipeline from 1, without gaps
    slug          text        NOT NULL,
    from_status   text
        CONSTRAINT events_from_check CHECK (from_status IN (
            'pre_provisioned', 'provision_request', 'provisioning', 'failed_to_provision',
            'ready_for_deployment', 'queued', 'deploying', 'deployed', 'failed_to_deploy',
            'scheduled_for_deletion', 'deleting', 'failed_to_delete', 'deleted')),
    to_status     text        NOT NULL
        CONSTRAINT events_to_check CHECK (to_status IN (
            'pre_provisioned', 'provision_request', 'provisioning', 'failed_to_provision',
            'ready_for_deployment', 'queued', 'deploying', 'deployed', 'failed_to_deploy',
            'scheduled_for_deletion', 'deleting', 'failed_to_delete', 'deleted')),
    cause         text        NOT NULL DEFAULT '',
    actor         text        NOT NULL,
    deployment_id uuid,
    time          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline_id, version)
);

CREATE INDEX events_slug ON events (slug, time);
CREATE INDEX events_time ON events (time, pipeline_id, version);
CREATE INDEX events_pipeline_time ON events (pipeline_id, time, version);
CREATE INDEX events_actor ON events (actor, time, pipeline_id, version);

-- Outstanding work. A row is waiting (neither rung nor held), rung (ring_id: a
-- task for it is in Redis) or held (lease_until: a worker processes it). The row
-- is deleted when the work is done.
CREATE TABLE work (
    kind        text        NOT NULL, -- the task's type
    subject_id  uuid        NOT NULL,
    queue       text        NOT NULL DEFAULT 'quick', -- only earlier versions read it; the kind determines the queue
    due_at      timestamptz NOT NULL DEFAULT now(),
    since       timestamptz NOT NULL DEFAULT now(), -- when it was requested; deadlines count from here
    requested   bigint      NOT NULL DEFAULT 1,     -- how often it was requested
    attempt     integer     NOT NULL DEFAULT 0,     -- claims since the last progress
    cause       text        NOT NULL DEFAULT '',    -- why the last attempt failed
    epoch       bigint      NOT NULL DEFAULT 0,     -- of the last claim or its end; unique
    lease_until timestamptz,
    ring_id     uuid,                               -- the task's id in Redis
    ring_gen    bigint      NOT NULL DEFAULT 0,     -- the generation of Redis in which it was rung
    ring_at     timestamptz NOT NULL DEFAULT now(), -- when the sweep checks a rung row again
    rings       integer     NOT NULL DEFAULT 0,     -- how often the sweep has checked
    pipeline_id uuid,                               -- the subject's; a trigger fills it in
    worker      text        NOT NULL DEFAULT '',    -- the process that claimed it last
    claimed_at  timestamptz,                        -- when that was
    -- The subject comes first. With the kind first, Postgres would read all
    -- waiting rows if its statistics are from a time when few rows waited.
    PRIMARY KEY (subject_id, kind),
    CONSTRAINT work_rung_or_held CHECK (ring_id IS NULL OR lease_until IS NULL)
);

CREATE INDEX work_due ON work (kind, due_at) WHERE ring_id IS NULL AND lease_until IS NULL;
CREATE INDEX work_ringing ON work (kind, due_at) WHERE ring_id IS NOT NULL;
-- The next two, the column queue and what fills it for builds are for the
-- version before. They go with the next one.
CREATE INDEX work_waiting ON work (queue, due_at) WHERE ring_id IS NULL AND lease_until IS NULL;
CREATE INDEX work_rung ON work (queue, due_at) WHERE ring_id IS NOT NULL;
CREATE INDEX work_overdue ON work (ring_at) WHERE ring_id IS NOT NULL;
CREATE INDEX work_held ON work (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX work_pipeline ON work (pipeline_id, due_at, subject_id, kind) INCLUDE (lease_until, attempt, cause);
CREATE INDEX work_failing ON work (due_at, subject_id, kind) WHERE attempt > 0 AND cause <> '';

CREATE FUNCTION work_builds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.queue := 'builds';
    RETURN NEW;
END
$$;
CREATE TRIGGER work_builds BEFORE INSERT ON work FOR EACH ROW WHEN (NEW.kind = 'deployment:build') EXECUTE FUNCTION work_builds();

-- The subject of these kinds is a deployment, a skipped commit, a preview, a
-- pull request or a notification; of all others it is the pipeline. With the pipeline in its row, the work of one
-- pipeline is read without its deployments.
CREATE FUNCTION work_pipeline() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER work_pipeline BEFORE INSERT ON work FOR EACH ROW EXECUTE FUNCTION work_pipeline();

-- Queues of which no work is claimed, until someone resumes them.
CREATE TABLE pauses (
    queue  text PRIMARY KEY,
    actor  text        NOT NULL,
    reason text        NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);

-- One row: the generation of Redis that holds the rings, when the last sweep
-- finished, and when the last reconciliation began.
CREATE TABLE bell (
    one        boolean     PRIMARY KEY DEFAULT true CONSTRAINT bell_one_check CHECK (one),
    generation bigint      NOT NULL DEFAULT 1,
    swept_at   timestamptz NOT NULL DEFAULT now(),
    reconciled_at timestamptz NOT NULL DEFAULT now() -- when the last reconciliation began
);

-- The processes that run the workers. Each writes its row every few seconds and
-- deletes it when it stops.
CREATE TABLE workers (
    id          uuid PRIMARY KEY,
    host        text        NOT NULL,
    pid         bigint      NOT NULL,
    version     text        NOT NULL,
    slots       integer     NOT NULL, -- for quick tasks
    build_slots integer     NOT NULL,
    running     jsonb       NOT NULL DEFAULT '[]', -- kind and subject of each task
    started_at  timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now()
);

-- Accepted outside events, so that a repeated one changes nothing.
CREATE TABLE deliveries (
    source      text        NOT NULL, -- 'apps', 'github', 'bitbucket', 'builds', 'sns'
    id          text        NOT NULL,
    type        text        NOT NULL,
    outcome     text        NOT NULL DEFAULT '',
    detail      text        NOT NULL DEFAULT '',
    pipeline_id uuid,
    received_at timestamptz NOT NULL DEFAULT now(),
    body_sha256 bytea, -- only for pushes, because a delivery's id is not signed
    PRIMARY KEY (source, id)
);

CREATE UNIQUE INDEX deliveries_body ON deliveries (source, body_sha256);
CREATE INDEX deliveries_received ON deliveries (received_at);

-- Rules by which jobs of continuous integration get tokens of a pipeline. A job
-- proves with a token of its issuer which repository it belongs to.
CREATE TABLE trusts (
    id            uuid PRIMARY KEY,
    pipeline_id   uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    provider      text        NOT NULL CONSTRAINT trusts_provider_check CHECK (provider IN ('github', 'gitlab', 'bitbucket')),
    issuer        text        NOT NULL,
    repository_id text        NOT NULL,            -- the provider's own ids, which survive renames
    owner_id      text        NOT NULL,
    ref           text        NOT NULL DEFAULT '', -- 'refs/heads/main'; empty means any, as below
    environment   text        NOT NULL DEFAULT '',
    workflow      text        NOT NULL DEFAULT '',
    previews_only boolean     NOT NULL DEFAULT false, -- its tokens may publish nothing but previews
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text        NOT NULL,
    CONSTRAINT trusts_rule_key UNIQUE (pipeline_id, issuer, repository_id, owner_id, ref, environment, workflow)
);

CREATE TABLE tokens (
    id         uuid PRIMARY KEY,
    name       text        NOT NULL,
    role       text        NOT NULL CONSTRAINT tokens_role_check CHECK (role IN ('viewer', 'deployer', 'admin')),
    hash       bytea       NOT NULL CONSTRAINT tokens_hash_key UNIQUE, -- SHA-256 of the token
    pipelines  uuid[],                                                 -- null means all
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    created_by   text NOT NULL DEFAULT '', -- the actor that created it
    last_used_at timestamptz,              -- accurate to the hour
    trust_id      uuid REFERENCES trusts (id) ON DELETE CASCADE, -- the rule by which a job of CI got it
    previews_only boolean NOT NULL DEFAULT false                 -- it may publish nothing but previews
);

CREATE INDEX tokens_created ON tokens (created_at, id);
CREATE INDEX tokens_trust ON tokens (trust_id);
CREATE INDEX tokens_exchanged ON tokens (expires_at) WHERE trust_id IS NOT NULL;

-- Browsers that are signed in with a token, and links that sign one in once.
CREATE TABLE sessions (
    hash         bytea PRIMARY KEY, -- SHA-256 of the cookie, or of the link's code
    token_id     uuid        NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    once         boolean     NOT NULL DEFAULT false, -- a link that was not used yet
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(), -- within a minute
    expires_at   timestamptz NOT NULL,
    user_agent   text        NOT NULL DEFAULT ''
);

-- People who signed in with OpenID Connect. What they may do is in a row of tokens
-- that no text matches, only their sessions use, and each sign-in updates.
CREATE TABLE users (
    token_id     uuid PRIMARY KEY REFERENCES tokens (id) ON DELETE CASCADE,
    issuer       text        NOT NULL,
    subject      text        NOT NULL, -- the issuer's id of the person
    full_name    text        NOT NULL DEFAULT '',
    email        text        NOT NULL DEFAULT '', -- only if the issuer has verified it
    groups       text[]      NOT NULL DEFAULT '{}', -- those that gave the role
    signed_in_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_subject_key UNIQUE (issuer, subject)
);

CREATE INDEX users_signed_in ON users (signed_in_at, token_id);

-- The states of sign-ins with OpenID Connect that have ended, and the tokens of CI
-- that were exchanged, so that none is used twice.
CREATE TABLE sign_ins (
    hash       bytea PRIMARY KEY, -- SHA-256 of the state, or of issuer and id
    expires_at timestamptz NOT NULL
);

CREATE INDEX sign_ins_expires ON sign_ins (expires_at);

CREATE INDEX sessions_token ON sessions (token_id, created_at);
CREATE INDEX sessions_expires ON sessions (expires_at);
CREATE INDEX sessions_created ON sessions (created_at, hash);

-- API requests with an Idempotency-Key, and what they created or changed. The
-- row is written in the same transaction as the effect, so its presence means
-- that the request was carried out.
CREATE TABLE requests (
    token_id   uuid        NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    key        text        NOT NULL,
    digest     bytea       NOT NULL, -- SHA-256 of method, path and body
    subject_id uuid,                 -- null until the transaction ends
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (token_id, key)
);

CREATE INDEX requests_created ON requests (created_at);

-- Troy's access to forges: an installation of its GitHub app, or a Bitbucket
-- workspace's access token or Connect installation.
CREATE TABLE installations (
    provider    text        NOT NULL,
    id          text        NOT NULL, -- the forge's number, or the Connect clientKey
    account     text        NOT NULL DEFAULT '',
    state       text        NOT NULL DEFAULT 'active'
        CONSTRAINT installations_state_check CHECK (state IN ('active', 'suspended', 'deleted')),
    credentials bytea,      -- sealed
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, id)
);

CREATE INDEX installations_account ON installations (provider, account, id) WHERE state <> 'deleted';

-- Troy's app at a forge, created with the set-up page.
CREATE TABLE forge_apps (
    provider    text PRIMARY KEY,
    app_id      text        NOT NULL, -- the forge's number for it
    name        text        NOT NULL,
    url         text        NOT NULL, -- its page at the forge
    credentials bytea       NOT NULL, -- sealed
    actor       text        NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now()
);

-- Set-ups that an operator begins and a forge's message ends: of an app, or of a
-- Connect installation. A state can be used once and expires. A state that is
-- bound to an installation is part of its address and stays.
CREATE TABLE setup_states (
    hash       bytea PRIMARY KEY, -- SHA-256 of the state, or of issuer and id
    provider   text        NOT NULL,
    actor      text        NOT NULL,
    app_key    text,              -- of the Connect app that the address describes
    client_key text,              -- the Connect installation to which the address belongs
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    CONSTRAINT setup_states_bound_check CHECK (client_key IS NULL OR used_at IS NOT NULL)
);

CREATE INDEX setup_states_expires ON setup_states (expires_at) WHERE client_key IS NULL;

-- The repositories that installations reported.
CREATE TABLE repositories (
    provider        text        NOT NULL,
    id              text        NOT NULL,
    full_name       text        NOT NULL,
    default_branch  text        NOT NULL DEFAULT '',
    installation_id text,
    changed_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, id)
);

CREATE INDEX repositories_installation ON repositories (provider, installation_id);

-- The variables of a pipeline's builds.
CREATE TABLE variables (
    pipeline_id uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name        text        NOT NULL,
    value       bytea       NOT NULL, -- sealed
    secret      boolean     NOT NULL DEFAULT true,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline_id, name)
);

-- The values of variables for a context of builds, where the table variables
-- has no place for them. That one has a single value for each name: a secret's
-- is for production, any other is for all contexts. It keeps its key, because
-- the version before names it in ON CONFLICT, and gives builds all that it
-- finds there.
CREATE TABLE variables_by_context (
    pipeline_id uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name        text        NOT NULL,
    context     text        NOT NULL, -- 'all', 'production', 'preview' or 'preview:' and a branch
    value       bytea       NOT NULL, -- sealed
    secret      boolean     NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline_id, name, context)
);

-- So that a variable has one value for each context, also when the version
-- before sets it.
CREATE FUNCTION variable_context() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM variables_by_context c
    WHERE c.pipeline_id = NEW.pipeline_id AND c.name = NEW.name AND c.context = CASE WHEN NEW.secret THEN 'production' ELSE 'all' END;
    RETURN NULL;
END
$$;
CREATE TRIGGER variable_context AFTER INSERT OR UPDATE OF secret ON variables FOR EACH ROW EXECUTE FUNCTION variable_context();

-- The build of an automated deployment.
CREATE TABLE builds (
    deployment_id uuid PRIMARY KEY REFERENCES deployments (id) ON DELETE CASCADE,
    attempt       integer     NOT NULL DEFAULT 0, -- how often it was started
    log_cursor    text        NOT NULL DEFAULT '', -- how much of the builder's log is stored
    phases        jsonb       NOT NULL DEFAULT '[]',
    rule          text        NOT NULL DEFAULT '', -- what decided which commands run
    log_bytes     bigint      NOT NULL DEFAULT 0,
    log           bytea,      -- the whole log, compressed, once the build has ended
    started_at    timestamptz NOT NULL DEFAULT now(),
    finished_at   timestamptz,
    warnings      text[]      NOT NULL DEFAULT '{}', -- about what was published
    tail          text        NOT NULL DEFAULT '',   -- the log's last lines, once the build has ended
    emptied       boolean     NOT NULL DEFAULT false, -- whether the builder's files of it are removed
    advice        text        NOT NULL DEFAULT ''    -- what helps against the failure, once the build has ended
);

CREATE INDEX builds_unemptied ON builds (deployment_id) WHERE NOT emptied;

-- The log of a running build, in pieces.
CREATE TABLE build_log (
    deployment_id uuid   NOT NULL REFERENCES builds (deployment_id) ON DELETE CASCADE,
    position      bigint NOT NULL, -- of the first byte in the whole log
    bytes         bytea  NOT NULL,
    PRIMARY KEY (deployment_id, position)
);

-- Carried assets that were removed from a pipeline's site. A row stays as long as
-- an asset may be carried, so that no later deployment brings it back.
CREATE TABLE purges (
    pipeline_id  uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    path         text        NOT NULL, -- of a file; of a folder if it ends in /; empty means all
    actor        text        NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    done_at      timestamptz, -- when the live site no longer had it
    PRIMARY KEY (pipeline_id, path)
);

CREATE INDEX purges_open ON purges (pipeline_id) WHERE done_at IS NULL;

-- The picture of what a pipeline's site shows.
CREATE TABLE thumbnails (
    pipeline_id   uuid PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    deployment_id uuid        NOT NULL, -- the deployment that it shows
    image         bytea       NOT NULL, -- a JPEG of at most 40 KiB
    version       text        NOT NULL, -- the image's digest, which is in its address
    taken_at      timestamptz NOT NULL DEFAULT now()
);

-- Who may see a pipeline's site. A pipeline without a row was never protected.
CREATE TABLE access (
    pipeline_id uuid PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    scope       text        NOT NULL DEFAULT 'site' -- what is protected: the site with its previews, or only those
        CONSTRAINT access_scope_check CHECK (scope IN ('site', 'previews')),
    networks    text[]      NOT NULL DEFAULT '{}',  -- from which the site can be seen; empty means from all
    salt        bytea       NOT NULL,               -- of all of its passwords' hashes
    generation  bigint      NOT NULL DEFAULT 1,     -- increases with each change
    applied     bigint      NOT NULL DEFAULT 0,     -- the generation that holds where the site is served
    changed_at  timestamptz NOT NULL DEFAULT now(),
    applied_at  timestamptz,
    preview_key bytea -- sealed: signs visitors of previews in who have a session of the dashboard; NULL: previews ask for none
);

CREATE INDEX access_unapplied ON access (pipeline_id) WHERE applied < generation;

-- The passwords of protected sites.
CREATE TABLE access_passwords (
    pipeline_id uuid        NOT NULL REFERENCES access (pipeline_id) ON DELETE CASCADE,
    name        text        NOT NULL,
    id          uuid        NOT NULL, -- new with each change; sessions name it
    secret      bytea       NOT NULL, -- sealed: the argon2id hash, and the key that signs sessions
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline_id, name)
);

-- Pushed commits that are not built, until the reason is reported to the forge.
CREATE TABLE skips (
    id          uuid PRIMARY KEY, -- the subject of the report
    pipeline_id uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    commit_sha  text        NOT NULL,
    reason      text        NOT NULL, -- in words
    created_at  timestamptz NOT NULL DEFAULT now(),
    preview     boolean     NOT NULL DEFAULT false -- the commit of a pull request without a preview
);

CREATE INDEX skips_pipeline ON skips (pipeline_id);

-- Changes that have no event: of settings, variables, locks, tokens and apps, and
-- what people asked for. Append-only, and without foreign keys because entries
-- outlive what they describe.
CREATE TABLE audit (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    time          timestamptz NOT NULL DEFAULT now(),
    actor         text        NOT NULL,
    action        text        NOT NULL, -- 'token.create'
    subject       text        NOT NULL, -- the name of what was changed
    detail        text        NOT NULL DEFAULT '',
    pipeline_id   uuid,                 -- null if it concerns all
    slug          text        NOT NULL DEFAULT '',
    deployment_id uuid,
    remote        text        NOT NULL DEFAULT '' -- the address that the request came from
);

CREATE INDEX audit_time ON audit (time, id);
CREATE INDEX audit_pipeline ON audit (pipeline_id, time);
CREATE INDEX audit_actor ON audit (actor, time, id);

-- The deployments that ended on each day in UTC. A day is counted when someone
-- first looks at it, an hour after its end, and does not change after that.
CREATE TABLE days (
    day        timestamptz PRIMARY KEY, -- its beginning
    succeeded  bigint      NOT NULL,
    failed     bigint      NOT NULL,
    cancelled  bigint      NOT NULL,
    superseded bigint      NOT NULL,
    build_p50  double precision, -- seconds from the start to the end of a build
    build_p95  double precision
);

-- The rules of a tree: redirects, headers and settings of the site.
CREATE TABLE site_rules (
    tree_id     uuid PRIMARY KEY, -- the release's or the deployment's id
    pipeline_id uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    config      jsonb       NOT NULL DEFAULT '[]', -- the rules in the repository's configuration files
    strict      boolean     NOT NULL DEFAULT false, -- whether a problem keeps the deployment from going live
    report      jsonb, -- what the compiler found; null before it ran
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX site_rules_pipeline ON site_rules (pipeline_id);

-- The requests to each site on each day in UTC, as counted from CloudFront's
-- access logs. On one machine the edge counts, in files.
CREATE TABLE traffic (
    pipeline_id uuid  NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    day         date  NOT NULL,
    report      jsonb NOT NULL DEFAULT '{}', -- a Report of package traffic
    PRIMARY KEY (pipeline_id, day)
);

CREATE INDEX traffic_day ON traffic (day);

-- The log files that were counted. Such a row is written together with the
-- counts, so that no file counts twice.
CREATE TABLE log_files (
    key        text PRIMARY KEY,
    problem    text        NOT NULL DEFAULT '', -- why it could not be read to its end; such a file is not removed
    expires_at timestamptz NOT NULL DEFAULT now() + interval '100 days' -- its days are no longer counted then
);

CREATE INDEX log_files_expires ON log_files (expires_at);

-- The custom domains of pipelines' sites. They are not in the table domains,
-- whose rows are made with the pipeline and never change: these have a life of
-- their own, and the version before reads every row of that table as a site's
-- own host.
CREATE TABLE custom_domains (
    host          text PRIMARY KEY, -- normalised; *.example.com is a wildcard
    pipeline_id   uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    state         text        NOT NULL DEFAULT 'waiting_for_dns'
        CONSTRAINT custom_domains_state_check CHECK (state IN ('waiting_for_dns', 'verifying', 'issuing', 'active', 'failing')),
    reason        text        NOT NULL DEFAULT '', -- what is seen, expected and to change, in one sentence
    redirect      text        NOT NULL DEFAULT '', -- the host to which it redirects
    main          boolean     NOT NULL DEFAULT false, -- whether it is the site's address
    report        jsonb,      -- what DNS said at the last check
    certificate   text        NOT NULL DEFAULT '', -- the state of its certificate
    not_after     timestamptz, -- when the certificate expires
    next_try      timestamptz, -- when the cloud requests a certificate again
    detach_from   text[]      NOT NULL DEFAULT '{}', -- distributions of other pipelines that may still serve it
    checks        integer     NOT NULL DEFAULT 0, -- since the last change of the state or the last request
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    text        NOT NULL,
    since         timestamptz NOT NULL DEFAULT now(), -- when it got its state
    requested_at  timestamptz NOT NULL DEFAULT now(), -- when a check was last requested
    checked_at    timestamptz,
    next_check_at timestamptz NOT NULL DEFAULT now(),
    active_at     timestamptz, -- when it was Active first
    removed_at    timestamptz  -- set until the cloud no longer serves it
);

CREATE INDEX custom_domains_pipeline ON custom_domains (pipeline_id, host);
CREATE INDEX custom_domains_due ON custom_domains (next_check_at);
CREATE UNIQUE INDEX custom_domains_main ON custom_domains (pipeline_id) WHERE main;

-- Addresses at which anyone who knows the secret starts a deployment of a
-- pipeline.
CREATE TABLE deploy_hooks (
    id           uuid PRIMARY KEY,
    pipeline_id  uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name         text        NOT NULL,
    branch       text        NOT NULL DEFAULT '', -- empty means the pipeline's
    hash         bytea       NOT NULL CONSTRAINT deploy_hooks_hash_key UNIQUE, -- SHA-256 of the secret
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   text        NOT NULL,
    last_used_at timestamptz,
    CONSTRAINT deploy_hooks_name_key UNIQUE (pipeline_id, name)
);

-- When pipelines deploy by themselves. The work pipeline:schedule is due at
-- next_at, or a day from now if that is earlier.
CREATE TABLE schedules (
    pipeline_id uuid PRIMARY KEY REFERENCES pipelines (id) ON DELETE CASCADE,
    cron        text        NOT NULL, -- five fields, or a name such as @daily
    zone        text        NOT NULL, -- of the IANA time zone database
    next_at     timestamptz NOT NULL,
    last_at     timestamptz,                      -- when it was carried out last
    problem     text        NOT NULL DEFAULT '',  -- why that made no deployment
    set_by      text        NOT NULL,
    set_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX schedules_next ON schedules (next_at);

-- Who is told about pipelines: the receiver of a webhook, a channel or people by
-- e-mail.
CREATE TABLE notifiers (
    id              uuid PRIMARY KEY,
    pipeline_id     uuid REFERENCES pipelines (id) ON DELETE CASCADE, -- null means all
    kind            text        NOT NULL CONSTRAINT notifiers_kind_check CHECK (kind IN ('webhook', 'slack', 'discord', 'teams', 'email')),
    label           text        NOT NULL, -- what of the target may be shown: its host and last characters, or the addresses of e-mail
    target          bytea       NOT NULL, -- sealed: where it leads to and what signs it
    earlier_keys    bytea,       -- sealed: the keys that were replaced and still sign
    earlier_until   timestamptz, -- when the last of them ends
    events          text[]      NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    created_by      text        NOT NULL,
    failures        integer     NOT NULL DEFAULT 0, -- attempts that failed since the last one that did not
    retry_at        timestamptz,                    -- until when nothing is sent, because an attempt has failed
    disabled_at     timestamptz,
    disabled_reason text        NOT NULL DEFAULT '',
    CONSTRAINT notifiers_earlier_check CHECK ((earlier_keys IS NULL) = (earlier_until IS NULL))
);

CREATE INDEX notifiers_pipeline ON notifiers (pipeline_id);
CREATE INDEX notifiers_earlier ON notifiers (earlier_until) WHERE earlier_until IS NOT NULL;

-- What notifiers are told: one row for each event and notifier. It is written
-- together with the change that it is about.
CREATE TABLE notifications (
    id          uuid PRIMARY KEY, -- also the webhook-id
    notifier_id uuid        NOT NULL REFERENCES notifiers (id) ON DELETE CASCADE,
    pipeline_id uuid,                  -- what it is about; null if it concerns all
    event       text        NOT NULL,
    details     jsonb       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 0,
    tried_at    timestamptz,
    status      integer     NOT NULL DEFAULT 0,  -- of the last answer; 0: there was none
    answer      text        NOT NULL DEFAULT '', -- what the last attempt got, shortened
    ended_at    timestamptz,                     -- when it was delivered or given up
    delivered   boolean     NOT NULL DEFAULT false,
    done        text[]      NOT NULL DEFAULT '{}' -- recipients of an e-mail to whom it is not sent again
);

CREATE INDEX notifications_notifier ON notifications (notifier_id, created_at, id);
CREATE INDEX notifications_created ON notifications (created_at);
CREATE INDEX notifications_open ON notifications (created_at) WHERE ended_at IS NULL;

-- Tells each notifier of a pipeline the first of the events that it wants. One that
-- is being removed gets nothing, so that the change waits for no other transaction.
CREATE FUNCTION notify_about(pipeline uuid, about text[], what jsonb) RETURNS bigint LANGUAGE sql AS $$
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

CREATE FUNCTION notify_deployment() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER notify_deployment AFTER UPDATE OF state ON deployments FOR EACH ROW
    WHEN (NEW.preview_id IS NULL AND NEW.state IN ('succeeded', 'failed') AND OLD.state NOT IN ('succeeded', 'failed')) EXECUTE FUNCTION notify_deployment();

CREATE FUNCTION notify_preview() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM notify_about(NEW.pipeline_id, '{preview.waiting}', jsonb_build_object('preview', jsonb_build_object(
        'label', NEW.label, 'number', NEW.number, 'commit', NEW.head_commit, 'branch', NEW.branch, 'author', NEW.author,
        'title', left(NEW.title, 500), 'url', NEW.url)));
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_preview AFTER UPDATE OF head_commit ON previews FOR EACH ROW
    WHEN (NOT NEW.trusted AND NEW.closed_at IS NULL AND NEW.head_commit IS DISTINCT FROM OLD.head_commit AND NEW.head_commit IS DISTINCT FROM NEW.approved_commit)
    EXECUTE FUNCTION notify_preview();

CREATE FUNCTION notify_domain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM notify_about(NEW.pipeline_id, '{domain.failing}', jsonb_build_object('domain', jsonb_build_object(
        'host', NEW.host, 'reason', left(NEW.reason, 500))));
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_domain AFTER UPDATE OF state ON custom_domains FOR EACH ROW
    WHEN (NEW.state = 'failing' AND OLD.state <> 'failing') EXECUTE FUNCTION notify_domain();

CREATE FUNCTION notify_disabled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM notify_about(NEW.pipeline_id, '{notifier.disabled}', jsonb_build_object('notifier', jsonb_build_object(
        'id', NEW.id, 'kind', NEW.kind, 'label', NEW.label, 'reason', NEW.disabled_reason)));
    RETURN NULL;
END
$$;
CREATE TRIGGER notify_disabled AFTER UPDATE OF disabled_at ON notifiers FOR EACH ROW
    WHEN (OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL) EXECUTE FUNCTION notify_disabled();

-- The uploads that deployments are built from instead of commits. An upload is a
-- release that is never finalized, so retention removes it once it has expired.
CREATE TABLE sources (
    deployment_id uuid PRIMARY KEY REFERENCES deployments (id) ON DELETE CASCADE,
    release_id    uuid NOT NULL CONSTRAINT sources_release_key UNIQUE
);

-- The dependency caches of builds. A keeper is a data folder of workers, which
-- reports all that it keeps after each build.
CREATE TABLE build_caches (
    pipeline_id uuid        NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    keeper      text        NOT NULL,
    scope       text        NOT NULL, -- the previews that use it; empty for the site's
    manager     text        NOT NULL, -- the package manager
    bytes       bigint      NOT NULL,
    used_at     timestamptz NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline_id, keeper, scope, manager)
);

CREATE INDEX build_caches_keeper ON build_caches (keeper);
CREATE INDEX build_caches_reported ON build_caches (reported_at);

-- A build that does not go live may leave a tree, which a retry does not use, and an
-- uploaded source. The files of a release stay for a retry, for a day.
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
CREATE TRIGGER retention_request AFTER UPDATE OF state ON deployments FOR EACH ROW
    WHEN (NEW.tree_id = NEW.id AND NEW.state IN ('failed', 'cancelled', 'superseded') AND OLD.state IN ('waiting', 'building', 'publishing'))
    EXECUTE FUNCTION retention_request();
