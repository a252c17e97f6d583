package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

func newOrphansCommand() *cobra.Command {
	var remove bool
	cmd := &cobra.Command{
		Use:   "orphans",
		Short: "List custom domains and certificates in the data folder that no pipeline owns",
		Long: "List the custom domains that the edge serves although no pipeline in the database\n" +
			"has them, for example after a restored backup, and the certificates of hosts that\n" +
			"have no site. The edge removes such certificates itself after a day. --delete removes\n" +
			"both at once. On AWS, use `troyd aws orphans`. Exit status 1: something is left.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackend(cmd.Context(), func(cfg config) error {
				if cfg.onAWS() {
					return usageError{errors.New("TROY_CLOUD: is aws; use troyd aws orphans")}
				}
				return nil
			}, func(cfg config, b *backend) error {
				o := orphans{root: cfg.cloudRoot(), q: queries.New(b.db), keep: []string{cfg.webHost(), "*." + cfg.SitesSuffix}, remove: remove, out: cmd.OutOrStdout()}
				return o.tidy(cmd.Context())
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "remove them")
	return cmd
}

// orphans finds what no pipeline owns on one machine.
type orphans struct {
	root   string
	q      *queries.Queries
	keep   []string // hosts without a site that have a certificate nevertheless
	remove bool
	out    io.Writer

	found, left int
}

func (o *orphans) tidy(ctx context.Context) error {
	if err := o.domains(ctx); err != nil {
		return err
	}
	if err := o.certificates(); err != nil {
		return err
	}
	switch {
	case o.found == 0:
		return printLine(o.out, "Every custom domain and certificate belongs to a pipeline.")
	case o.left == 1:
		return errors.New("one thing is left")
	case o.left > 0:
		return fmt.Errorf("%d things are left", o.left)
	}
	return nil
}

// tell prints an orphan, and removes it if that is wanted.
func (o *orphans) tell(what string, discard func() error) error {
	o.found++
	if !o.remove {
		o.left++
		return printLine(o.out, what)
	}
	if err := discard(); err != nil {
		return fmt.Errorf("remove %s: %w", what, err)
	}
	return printLine(o.out, what+" (removed)")
}

// domains reads the folder before the rows, so that it does not take a new domain
// for an orphan.
func (o *orphans) domains(ctx context.Context) error {
	served, err := localcloud.CustomHosts(o.root)
	if err != nil {
		return err
	}
	hosts := make([]string, len(served))
	for i, s := range served {
		hosts[i] = s.Host
	}
	holders, err := o.q.CustomDomainHolders(ctx, hosts)
	if err != nil {
		return fmt.Errorf("read the domains: %w", err)
	}
	for _, s := range served {
		owned := slices.ContainsFunc(holders, func(h queries.CustomDomainHoldersRow) bool { return h.Host == s.Host })
		what := "The custom domain " + s.Host
		switch {
		case !owned:
			what += ", which is not in the database"
		case s.Lost:
			what += ", which leads to a site that does not exist"
		default:
			continue
		}
		if err := o.tell(what, func() error { return localcloud.DiscardCustom(o.root, s) }); err != nil {
			return err
		}
	}
	return nil
}

func (o *orphans) certificates() error {
	layout := site.Layout{Root: o.root}
	hosts, err := certificates.Stored(layout)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if slices.Contains(o.keep, host) {
			continue
		}
		served, err := layout.HasRecord(host)
		if err != nil {
			return err
		}
		if served {
			continue
		}
		if err := o.tell("The certificate of "+host+", which has no site", func() error { return certificates.Discard(layout, host) }); err != nil {
			return err
		}
	}
	return nil
}
