-- +goose Up
ALTER TABLE "setup_states" DROP CONSTRAINT "setup_states_provider_check";

-- +goose Down
ALTER TABLE "setup_states" ADD CONSTRAINT "setup_states_provider_check" CHECK (provider = ANY (ARRAY['github'::text, 'bitbucket'::text]));
