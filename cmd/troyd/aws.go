package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/queries"
)

func newAWSCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "aws", Short: "Manage what Troy made in the AWS account", Args: cobra.NoArgs, RunE: help}
	var remove bool
	orphans := &cobra.Command{
		Use:   "orphans",
		Short: "List what Troy made in the account that no pipeline owns",
		Long: "List the distributions and objects in the account that were made for pipelines\n" +
			"that are not in the database, as after a restored backup, and the functions and\n" +
			"origin access controls that no distribution uses. With --delete they are removed,\n" +
			"DNS records and pointers too. A distribution takes minutes to be disabled: run it\n" +
			"again until nothing is left. What other installations made in the account stays:\n" +
			"their distributions read other buckets. Exit status 1: something is left.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackend(cmd.Context(), func(cfg config) error {
				if !cfg.onAWS() {
					return usageError{errors.New("TROY_CLOUD: is not aws")}
				}
				return nil
			}, func(cfg config, b *backend) error {
				account, err := awscloud.NewAccount(cmd.Context(), cfg.aws(b.db), cfg.readLimits())
				if err != nil {
					return err
				}
				return tidy(cmd.Context(), account, queries.New(b.db), remove, cmd.OutOrStdout())
			})
		},
	}
	orphans.Flags().BoolVar(&remove, "delete", false, "remove them")
	cmd.AddCommand(orphans)
	return cmd
}

// tidy lists, or takes away, what is of no pipeline. The account is read before
// the rows, so that a pipeline that is made meanwhile is none of them.
func tidy(ctx context.Context, account *awscloud.Account, q *queries.Queries, remove bool, out io.Writer) error {
	found, err := account.Pipelines(ctx)
	if err != nil {
		return err
	}
	ids := make([]uuid.UUID, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	known, err := q.PipelinesKnown(ctx, ids)
	if err != nil {
		return fmt.Errorf("read the pipelines: %w", err)
	}
	ids = slices.DeleteFunc(ids, func(id uuid.UUID) bool { return slices.Contains(known, id) })
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	left := 0
	for _, id := range ids {
		gone := false
		if remove {
			if gone, err = account.Remove(ctx, id); err != nil {
				return fmt.Errorf("take away what was made for %s: %w", id, err)
			}
		}
		note := ""
		switch {
		case gone:
			note = " (removed)"
		case remove:
			note = " (its distribution is being disabled; run this again in some minutes)"
			left++
		default:
			left++
		}
		if err := printLine(out, fmt.Sprintf("Pipeline %s, which is not in the database:%s", id, note)); err != nil {
			return err
		}
		for _, what := range found[id] {
			if err := printLine(out, "  "+what); err != nil {
				return err
			}
		}
	}
	unused, err := account.Unused(ctx, remove)
	if err != nil {
		return err
	}
	for _, what := range unused {
		note := " (removed)"
		if !remove {
			note = ""
			left++
		}
		if err := printLine(out, "No distribution uses "+what+note); err != nil {
			return err
		}
	}
	switch {
	case len(ids)+len(unused) == 0:
		return printLine(out, fmt.Sprintf("Nothing in the account is without its pipeline (%d looked at).", len(found)))
	case left == 1:
		return errors.New("one thing is left")
	case left > 0:
		return fmt.Errorf("%d things are left", left)
	}
	return nil
}

// keepUp does the upkeep of the account, at once and then every interval, until
// the context ends. A failure is logged and tried again by the next one.
func keepUp(ctx context.Context, cdn *awscloud.CDN, log *slog.Logger) error {
	ticker := time.NewTicker(awscloud.UpkeepInterval)
	defer ticker.Stop()
	for {
		done, err := cdn.Upkeep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.Warn("the upkeep of CloudFront failed; it is tried again", "in", awscloud.UpkeepInterval, "error", err)
		case done != awscloud.Upkept{}:
			log.Info("brought CloudFront up to date", "shards_of_functions", done.Functions, "distributions", done.Distributions)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
