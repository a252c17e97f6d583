-- +goose Up
ALTER TABLE "work" DROP CONSTRAINT "work_pkey", ADD PRIMARY KEY ("subject_id", "kind");
DROP INDEX "work_subject";

-- +goose Down
CREATE INDEX "work_subject" ON "work" ("subject_id");
ALTER TABLE "work" DROP CONSTRAINT "work_pkey", ADD PRIMARY KEY ("kind", "subject_id");
