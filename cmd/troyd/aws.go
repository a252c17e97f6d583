//go:build !noaws

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

func newAWSCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "aws", Short: "Manage what Troy made in the AWS account", Args: cobra.NoArgs, RunE: help}
	var remove bool
	orphans := &cobra.Command{
		Use:   "orphans",
		Short: "List what Troy made in the account that no pipeline owns",
		Long: "List the distributions and objects in the account that were made for pipelines\n" +
			"that are not in the database, for example after a restored backup, with the sources\n" +
			"of their access logs, what was made for custom domains that no pipeline has, and the\n" +
			"functions and origin access controls that no distribution uses. Without any site it also\n" +
			"lists the distribution that serves the previews. --delete removes them,\n" +
			"with their DNS records and pointers. A distribution takes minutes to be disabled: run it\n" +
			"again until nothing is left. It does not touch other installations in the account:\n" +
			"their distributions read other buckets. Exit status 1: something is left.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackend(cmd.Context(), func(cfg config) error {
				if !cfg.onAWS() {
					return usageError{errors.New("TROY_CLOUD: is not aws")}
				}
				return nil
			}, func(cfg config, b *backend) error {
				loaded, err := awsapi.Load(cmd.Context(), cfg.awsAPI())
				if err != nil {
					return err
				}
				made := account{awscloud.NewAccount(loaded, cfg.aws(b.db), cfg.readLimits()), codebuild.New(loaded, cfg.codeBuild())}
				return tidy(cmd.Context(), made, queries.New(b.db), remove, cmd.OutOrStdout())
			})
		},
	}
	orphans.Flags().BoolVar(&remove, "delete", false, "remove them")
	cmd.AddCommand(orphans)
	return cmd
}

// account is everything that Troy made in an account, for any pipeline.
type account struct {
	sites  *awscloud.Account
	builds *codebuild.Builder
}

// pipelines lists what was made, by pipeline.
func (a account) pipelines(ctx context.Context) (map[uuid.UUID][]string, error) {
	found, err := a.sites.Pipelines(ctx)
	if err != nil {
		return nil, err
	}
	built, err := a.builds.Pipelines(ctx)
	for pipeline, what := range built {
		found[pipeline] = append(found[pipeline], what...)
	}
	return found, err
}

// remove removes what was made for a pipeline. It returns false while its
// distribution is being disabled.
func (a account) remove(ctx context.Context, pipeline uuid.UUID) (bool, error) {
	if gone, err := a.sites.Remove(ctx, pipeline); err != nil || !gone {
		return false, err
	}
	return true, a.builds.Remove(ctx, site.Tree{Pipeline: pipeline})
}

// tidy lists, or removes, what belongs to no pipeline. It reads the account
// before the rows, so that it does not take a new pipeline for an orphan.
func tidy(ctx context.Context, made account, q *queries.Queries, remove bool, out io.Writer) error {
	found, err := made.pipelines(ctx)
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
			if gone, err = made.remove(ctx, id); err != nil {
				return fmt.Errorf("remove what was made for %s: %w", id, err)
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
	hosts, leftHosts, err := tidyHosts(ctx, made.sites, q, remove, out)
	if err != nil {
		return err
	}
	left += leftHosts
	unused, err := made.sites.Unused(ctx, remove)
	if err != nil {
		return err
	}
	for _, one := range unused {
		note := " (removed)"
		if !one.Gone {
			note = ""
			left++
		}
		if remove && !one.Gone {
			note = " (it is being disabled; run this again in some minutes)"
		}
		if err := printLine(out, "Nothing uses "+one.What+note); err != nil {
			return err
		}
	}
	switch {
	case len(ids)+hosts+len(unused) == 0:
		return printLine(out, fmt.Sprintf("Everything in the account belongs to a pipeline (%d checked).", len(found)))
	case left == 1:
		return errors.New("one thing is left")
	case left > 0:
		return fmt.Errorf("%d things are left", left)
	}
	return nil
}

// tidyHosts lists, or removes, what was made for custom domains that no pipeline
// has. It returns the number of what it found, and of what is left.
func tidyHosts(ctx context.Context, sites *awscloud.Account, q *queries.Queries, remove bool, out io.Writer) (found, left int, err error) {
	made, err := sites.Hosts(ctx)
	if err != nil {
		return 0, 0, err
	}
	names := make([]string, 0, len(made))
	for _, h := range made {
		names = append(names, h.Host)
	}
	rows, err := q.CustomDomainHolders(ctx, names)
	if err != nil {
		return 0, 0, fmt.Errorf("read the domains: %w", err)
	}
	for _, h := range made {
		if slices.ContainsFunc(rows, func(r queries.CustomDomainHoldersRow) bool { return r.Host == h.Host }) {
			continue
		}
		found++
		note := ""
		if remove {
			gone, err := sites.RemoveHost(ctx, h)
			if err != nil {
				return found, left, fmt.Errorf("remove what was made for %s: %w", h.Host, err)
			}
			note = " (removed)"
			if !gone {
				note = " (it is being disabled; run this again in some minutes)"
				left++
			}
		} else {
			left++
		}
		if err := printLine(out, fmt.Sprintf("No pipeline has the domain %s: %s%s", h.Host, h.What, note)); err != nil {
			return found, left, err
		}
	}
	return found, left, nil
}
