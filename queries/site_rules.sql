-- name: SiteRulesDeclare :exec
-- Stores the configuration of a tree's rules. Declaring it again replaces it.
INSERT INTO site_rules (tree_id, pipeline_id, config, strict) VALUES (@tree_id, @pipeline_id, @config, @strict)
ON CONFLICT (tree_id) DO UPDATE SET config = excluded.config, strict = excluded.strict;

-- name: SiteRulesGet :one
SELECT config, strict, report FROM site_rules WHERE tree_id = @tree_id AND pipeline_id = @pipeline_id;

-- name: SiteRulesReport :exec
-- Stores what the compiler found in a tree's rules.
INSERT INTO site_rules (tree_id, pipeline_id, report) VALUES (@tree_id, @pipeline_id, @report)
ON CONFLICT (tree_id) DO UPDATE SET report = excluded.report;
