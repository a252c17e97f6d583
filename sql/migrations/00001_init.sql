-- +goose Up
CREATE SEQUENCE work_epochs AS bigint INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1 NO CYCLE;
CREATE TABLE "apps" (
    "id" text NOT NULL,
    "created_time" timestamptz NULL,
    "deleted_time" timestamptz NULL,
    PRIMARY KEY ("id")
);
CREATE TABLE "bell" (
    "one" boolean NOT NULL DEFAULT true,
    "generation" bigint NOT NULL DEFAULT 1,
    "swept_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("one"),
    CONSTRAINT "bell_one_check" CHECK (one)
);
CREATE TABLE "deliveries" (
    "source" text NOT NULL,
    "id" text NOT NULL,
    "type" text NOT NULL,
    "outcome" text NOT NULL DEFAULT '',
    "detail" text NOT NULL DEFAULT '',
    "pipeline_id" uuid NULL,
    "received_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("source", "id")
);
CREATE INDEX "deliveries_received" ON "deliveries" ("received_at");
CREATE TABLE "events" (
    "pipeline_id" uuid NOT NULL,
    "version" bigint NOT NULL,
    "slug" text NOT NULL,
    "from_status" text NULL,
    "to_status" text NOT NULL,
    "cause" text NOT NULL DEFAULT '',
    "actor" text NOT NULL,
    "deployment_id" uuid NULL,
    "time" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("pipeline_id", "version"),
    CONSTRAINT "events_from_check" CHECK (from_status = ANY (ARRAY['pre_provisioned'::text, 'provision_request'::text, 'provisioning'::text, 'failed_to_provision'::text, 'ready_for_deployment'::text, 'queued'::text, 'deploying'::text, 'deployed'::text, 'failed_to_deploy'::text, 'scheduled_for_deletion'::text, 'deleting'::text, 'failed_to_delete'::text, 'deleted'::text])),
    CONSTRAINT "events_to_check" CHECK (to_status = ANY (ARRAY['pre_provisioned'::text, 'provision_request'::text, 'provisioning'::text, 'failed_to_provision'::text, 'ready_for_deployment'::text, 'queued'::text, 'deploying'::text, 'deployed'::text, 'failed_to_deploy'::text, 'scheduled_for_deletion'::text, 'deleting'::text, 'failed_to_delete'::text, 'deleted'::text]))
);
CREATE INDEX "events_slug" ON "events" ("slug", "time");
CREATE TABLE "pipelines" (
    "id" uuid NOT NULL,
    "app_id" text NULL,
    "name" text NOT NULL,
    "slug" text NOT NULL,
    "status" text NOT NULL DEFAULT 'pre_provisioned',
    "cause" text NOT NULL DEFAULT '',
    "version" bigint NOT NULL DEFAULT 1,
    "repository_provider" text NULL,
    "repository_full_name" text NULL,
    "repository_branch" text NULL,
    "repository_root" text NULL,
    "distribution_id" text NULL,
    "distribution_domain" text NULL,
    "record_host" text NULL,
    "live_deployment_id" uuid NULL,
    "last_sequence" bigint NOT NULL DEFAULT 0,
    "last_number" bigint NOT NULL DEFAULT 0,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "updated_at" timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY ("id"),
    CONSTRAINT "pipelines_slug_key" UNIQUE ("slug"),
    CONSTRAINT "pipelines_status_check" CHECK (status = ANY (ARRAY['pre_provisioned'::text, 'provision_request'::text, 'provisioning'::text, 'failed_to_provision'::text, 'ready_for_deployment'::text, 'queued'::text, 'deploying'::text, 'deployed'::text, 'failed_to_deploy'::text, 'scheduled_for_deletion'::text, 'deleting'::text, 'failed_to_delete'::text]))
);
CREATE UNIQUE INDEX "pipelines_one_per_app" ON "pipelines" ("app_id") WHERE (status <> ALL (ARRAY['scheduled_for_deletion'::text, 'deleting'::text, 'failed_to_delete'::text]));
CREATE TABLE "tokens" (
    "id" uuid NOT NULL,
    "name" text NOT NULL,
    "role" text NOT NULL,
    "hash" bytea NOT NULL,
    "pipelines" uuid[] NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "expires_at" timestamptz NULL,
    PRIMARY KEY ("id"),
    CONSTRAINT "tokens_hash_key" UNIQUE ("hash"),
    CONSTRAINT "tokens_role_check" CHECK (role = ANY (ARRAY['viewer'::text, 'deployer'::text, 'admin'::text]))
);
CREATE TABLE "work" (
    "kind" text NOT NULL,
    "subject_id" uuid NOT NULL,
    "queue" text NOT NULL DEFAULT 'quick',
    "due_at" timestamptz NOT NULL DEFAULT now(),
    "since" timestamptz NOT NULL DEFAULT now(),
    "requested" bigint NOT NULL DEFAULT 1,
    "attempt" integer NOT NULL DEFAULT 0,
    "cause" text NOT NULL DEFAULT '',
    "epoch" bigint NOT NULL DEFAULT 0,
    "lease_until" timestamptz NULL,
    "ring_id" uuid NULL,
    "ring_gen" bigint NOT NULL DEFAULT 0,
    "ring_at" timestamptz NOT NULL DEFAULT now(),
    "rings" integer NOT NULL DEFAULT 0,
    PRIMARY KEY ("kind", "subject_id"),
    CONSTRAINT "work_rung_or_held" CHECK ((ring_id IS NULL) OR (lease_until IS NULL))
);
CREATE INDEX "work_held" ON "work" ("lease_until") WHERE (lease_until IS NOT NULL);
CREATE INDEX "work_overdue" ON "work" ("ring_at") WHERE (ring_id IS NOT NULL);
CREATE INDEX "work_rung" ON "work" ("queue", "due_at") WHERE (ring_id IS NOT NULL);
CREATE INDEX "work_subject" ON "work" ("subject_id");
CREATE INDEX "work_waiting" ON "work" ("queue", "due_at") WHERE ((ring_id IS NULL) AND (lease_until IS NULL));
CREATE TABLE "deployments" (
    "id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "number" bigint NOT NULL,
    "kind" text NOT NULL,
    "state" text NOT NULL,
    "tree_id" uuid NOT NULL,
    "source_deployment_id" uuid NULL,
    "commit_sha" text NULL,
    "branch" text NULL,
    "author" text NULL,
    "message" text NOT NULL DEFAULT '',
    "actor" text NOT NULL,
    "manifest_digest" text NULL,
    "files" bigint NOT NULL DEFAULT 0,
    "bytes" bigint NOT NULL DEFAULT 0,
    "expect_live" text NULL,
    "sequence" bigint NULL,
    "cause" text NOT NULL DEFAULT '',
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "started_at" timestamptz NULL,
    "sealed_at" timestamptz NULL,
    "live_at" timestamptz NULL,
    "finished_at" timestamptz NULL,
    "pruned_at" timestamptz NULL,
    PRIMARY KEY ("id"),
    CONSTRAINT "deployments_number_key" UNIQUE ("pipeline_id", "number"),
    CONSTRAINT "deployments_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE,
    CONSTRAINT "deployments_finished_check" CHECK ((state = ANY (ARRAY['succeeded'::text, 'failed'::text, 'cancelled'::text, 'superseded'::text])) = (finished_at IS NOT NULL)),
    CONSTRAINT "deployments_kind_check" CHECK (kind = ANY (ARRAY['automated'::text, 'release'::text, 'rollback'::text])),
    CONSTRAINT "deployments_started_check" CHECK ((state <> ALL (ARRAY['building'::text, 'publishing'::text])) OR (started_at IS NOT NULL)),
    CONSTRAINT "deployments_state_check" CHECK (state = ANY (ARRAY['waiting'::text, 'building'::text, 'publishing'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text, 'superseded'::text]))
);
CREATE UNIQUE INDEX "deployments_one_running" ON "deployments" ("pipeline_id") WHERE (state = ANY (ARRAY['building'::text, 'publishing'::text]));
CREATE INDEX "deployments_waiting" ON "deployments" ("pipeline_id", "number") WHERE (state = 'waiting'::text);
CREATE TABLE "domains" (
    "host" text NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "kind" text NOT NULL,
    "deployment_id" uuid NULL,
    PRIMARY KEY ("host"),
    CONSTRAINT "domains_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE,
    CONSTRAINT "domains_kind_check" CHECK (kind = 'site'::text)
);
CREATE INDEX "domains_pipeline" ON "domains" ("pipeline_id");
CREATE TABLE "releases" (
    "id" uuid NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "idempotency_key" text NULL,
    "manifest_digest" text NOT NULL,
    "files" bigint NOT NULL,
    "bytes" bigint NOT NULL,
    "message" text NOT NULL DEFAULT '',
    "actor" text NOT NULL,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "expires_at" timestamptz NOT NULL,
    "finalized_at" timestamptz NULL,
    PRIMARY KEY ("id"),
    CONSTRAINT "releases_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE
);
CREATE UNIQUE INDEX "releases_idempotency" ON "releases" ("pipeline_id", "idempotency_key");
CREATE INDEX "releases_unfinished" ON "releases" ("pipeline_id", "expires_at") WHERE (finalized_at IS NULL);

-- +goose Down
DROP TABLE "apps";
DROP TABLE "bell";
DROP TABLE "deliveries";
DROP TABLE "deployments";
DROP TABLE "events";
DROP TABLE "tokens";
DROP TABLE "work";
DROP TABLE "domains";
DROP TABLE "releases";
DROP TABLE "pipelines";
DROP SEQUENCE work_epochs;
