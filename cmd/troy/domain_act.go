package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newDomainVerify(a *app) *cobra.Command {
	w := waiting{}
	cmd := &cobra.Command{
		Use:   "verify P HOST",
		Short: "Check a custom domain now",
		Long: `Check a custom domain now, wait for the result and show it. The exit status is 6
if the domain is not Active after the check.`,
		Args: arguments(2, "a pipeline", "a domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return domainVerify(cmd.Context(), a, args[0], args[1], w)
		},
	}
	cmd.Flags().BoolVar(&w.no, "no-wait", false, "return at once, before the check has ended")
	w.timeout.Duration = 2 * time.Minute
	cmd.Flags().Var(&w.timeout, "timeout", "wait at most this `long`; 0: no limit")
	return cmd
}

func domainVerify(ctx context.Context, a *app, pipeline, host string, w waiting) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	before, err := c.Domain(ctx, pipeline, host)
	if err != nil {
		return err
	}
	d, err := c.VerifyDomain(ctx, pipeline, before.Host)
	if err != nil {
		return err
	}
	if w.no {
		if a.json {
			return a.printJSON(d)
		}
		_, _ = fmt.Fprintf(a.err, "The check of %s is requested.\n", domainName(d))
		return nil
	}
	if d, err = a.waitChecked(ctx, c, pipeline, before, w.timeout.Duration); err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(d)
	} else {
		a.printDomain(pipeline, d)
	}
	if err == nil && d.State != troy.DomainActive {
		err = &failedError{fmt.Sprintf("%s is %s", clean(d.Host), d.StateName)}
	}
	return err
}

// waitChecked waits until a check that began after before has ended.
func (a *app) waitChecked(ctx context.Context, c *client.Client, pipeline string, before client.Domain, most time.Duration) (client.Domain, error) {
	if most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	p := a.newProgress()
	p.say("Checking " + domainName(before))
	defer p.stop()
	for {
		pause := time.NewTimer(accessPoll)
		var d client.Domain
		var err error
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-pause.C:
			d, err = c.Domain(ctx, pipeline, before.Host)
		}
		pause.Stop()
		if errors.Is(err, context.DeadlineExceeded) {
			return d, &timeoutError{fmt.Sprintf("the check of %s has not ended after %s", clean(before.Host), most)}
		}
		if err != nil {
			return d, err
		}
		if d.CheckedAt != nil && (before.CheckedAt == nil || d.CheckedAt.After(*before.CheckedAt)) {
			return d, nil
		}
	}
}

func newDomainRemove(a *app) *cobra.Command {
	var yes, keepPair bool
	cmd := &cobra.Command{
		Use:   "remove P HOST",
		Short: "Remove a custom domain from a pipeline's site",
		Long: `Remove a custom domain from a pipeline's site. If the other one of an apex and
its www host redirects to it, Troy removes both. Visitors of a removed domain
find no site. On a terminal you confirm by typing the domain; elsewhere --yes is
required.`,
		Args: arguments(2, "a pipeline", "a domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return domainRemove(cmd.Context(), a, args[0], args[1], !keepPair, yes)
		},
	}
	cmd.Flags().BoolVar(&keepPair, "keep-pair", false, "keep the other one of an apex and its www host; it then serves the site")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func domainRemove(ctx context.Context, a *app, pipeline, host string, pair, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if !yes {
		d, err := c.Domain(ctx, pipeline, host)
		if err != nil {
			return err
		}
		warning := fmt.Sprintf("This removes %s from %s. Its visitors find no site then.", domainName(d), clean(pipeline))
		if err := a.sure(ctx, warning, d.Host); err != nil {
			return err
		}
	}
	removed, err := c.RemoveDomain(ctx, pipeline, host, pair)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"removed": removed})
	}
	verb := "is"
	if len(removed) > 1 {
		verb = "are"
	}
	_, _ = fmt.Fprintf(a.err, "%s %s removed from %s. Remove the DNS records too.\n", clean(strings.Join(removed, " and ")), verb, clean(pipeline))
	return nil
}

func newDomainPrimary(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "primary P HOST",
		Short: "Make a custom domain the address of a pipeline's site",
		Long: `Make a custom domain the address of a pipeline's site, which Troy shows while the
domain is Active. The other one of an apex and its www host redirects to it.`,
		Args: arguments(2, "a pipeline", "a domain"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return domainPrimary(cmd.Context(), a, args[0], args[1])
		},
	}
}

func domainPrimary(ctx context.Context, a *app, pipeline, host string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.MakeDomainPrimary(ctx, pipeline, host)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	a.printDomains(list)
	return nil
}
