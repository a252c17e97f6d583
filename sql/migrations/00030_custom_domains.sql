-- +goose Up
CREATE TABLE "custom_domains" (
    "host" text NOT NULL,
    "pipeline_id" uuid NOT NULL,
    "state" text NOT NULL DEFAULT 'waiting_for_dns',
    "reason" text NOT NULL DEFAULT '',
    "redirect" text NOT NULL DEFAULT '',
    "main" boolean NOT NULL DEFAULT false,
    "report" jsonb NULL,
    "certificate" text NOT NULL DEFAULT '',
    "not_after" timestamptz NULL,
    "next_try" timestamptz NULL,
    "detach_from" text[] NOT NULL DEFAULT '{}',
    "checks" integer NOT NULL DEFAULT 0,
    "created_at" timestamptz NOT NULL DEFAULT now(),
    "created_by" text NOT NULL,
    "since" timestamptz NOT NULL DEFAULT now(),
    "requested_at" timestamptz NOT NULL DEFAULT now(),
    "checked_at" timestamptz NULL,
    "next_check_at" timestamptz NOT NULL DEFAULT now(),
    "active_at" timestamptz NULL,
    "removed_at" timestamptz NULL,
    PRIMARY KEY ("host"),
    CONSTRAINT "custom_domains_pipeline_id_fkey" FOREIGN KEY ("pipeline_id") REFERENCES "pipelines" ("id") ON UPDATE NO ACTION ON DELETE CASCADE,
    CONSTRAINT "custom_domains_state_check" CHECK (state = ANY (ARRAY['waiting_for_dns'::text, 'verifying'::text, 'issuing'::text, 'active'::text, 'failing'::text]))
);
CREATE INDEX "custom_domains_pipeline" ON "custom_domains" ("pipeline_id", "host");
CREATE INDEX "custom_domains_due" ON "custom_domains" ("next_check_at");
CREATE UNIQUE INDEX "custom_domains_main" ON "custom_domains" ("pipeline_id") WHERE main;

-- +goose Down
DROP TABLE "custom_domains";
