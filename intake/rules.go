package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

// TreeReader reads declared trees, as cloud.Reader does.
type TreeReader interface {
	Manifest(ctx context.Context, t site.Tree) (site.Manifest, error)
	Read(ctx context.Context, t site.Tree, f site.File) ([]byte, error)
}

// CompileRules compiles the rules of a tree whose files the store has, and
// stores the report. It returns the compiled form for the tree's manifest, or
// nil if the site has no rules. The error is Invalid if the rules keep the
// deployment from going live: they are strict and have problems, or they
// protect a path and the cloud's functions would make it public.
func CompileRules(ctx context.Context, q *queries.Queries, store TreeReader, tree site.Tree, functions bool) ([]byte, error) {
	in := rules.Input{Functions: functions}
	row, err := q.SiteRulesGet(ctx, tree.Deployment, tree.Pipeline)
	declared := err == nil
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("read the configuration of the rules: %w", err)
	}
	if declared {
		in.Strict = row.Strict
		if err := json.Unmarshal(row.Config, &in.Config); err != nil {
			return nil, fmt.Errorf("decode the configuration of the rules: %w", err)
		}
	}
	m, err := store.Manifest(ctx, tree)
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	out, err := rules.FromTree(m, func(f site.File) ([]byte, error) { return store.Read(ctx, tree, f) }, in)
	if err != nil {
		return nil, fmt.Errorf("compile the site's rules: %w", err)
	}
	if declared || !out.Report.Empty() {
		if err := storeReport(ctx, q, tree, out.Report); err != nil {
			return nil, err
		}
	}
	if functions && out.Rules.Protects() {
		return nil, troy.Errorf(troy.Invalid, "the site's rules protect a path by Basic-Auth or a role; on AWS it would be public")
	}
	if err := out.Report.Refusal(); err != nil {
		return nil, err
	}
	return out.Rules.Encode()
}

func storeReport(ctx context.Context, q *queries.Queries, tree site.Tree, r rules.Report) error {
	report, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode the report on the rules: %w", err)
	}
	if err := q.SiteRulesReport(ctx, queries.SiteRulesReportParams{TreeID: tree.Deployment, PipelineID: tree.Pipeline, Report: report}); err != nil {
		return fmt.Errorf("store the report on the rules: %w", err)
	}
	return nil
}

// RulesReport returns the report on a tree's rules. compiled is false if the
// compiler has not run.
func RulesReport(ctx context.Context, q *queries.Queries, tree site.Tree) (r rules.Report, compiled bool, err error) {
	r = rules.Report{Dialect: rules.Netlify, Problems: []rules.Problem{}}
	row, err := q.SiteRulesGet(ctx, tree.Deployment, tree.Pipeline)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Report == nil {
		return r, false, nil
	}
	if err == nil {
		err = json.Unmarshal(row.Report, &r)
	}
	if err != nil {
		return r, false, fmt.Errorf("read the report on the rules of %s: %w", tree.Deployment, err)
	}
	return r, true, nil
}
