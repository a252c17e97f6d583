package main

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newOpen(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "open P",
		Short: "Open a pipeline's site in the browser",
		Long: `Open a pipeline's site in the browser. If stdout is not a terminal, only the
address is printed.`,
		Args: arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open(cmd.Context(), a, args[0])
		},
	}
}

func open(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.Pipeline(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return troy.Errorf(troy.Internal, "the server says that the site is at %q, which is not an address of a site", p.URL)
	}
	if p.LiveDeploymentID == nil {
		_, _ = fmt.Fprintf(a.err, "Note: nothing of %s is live yet.\n", p.Slug)
	}
	_, _ = fmt.Fprintln(a.out, clean(u.String()))
	if !a.out.terminal {
		return nil
	}
	if err := browse(ctx, a, u.String()); err != nil {
		_, _ = fmt.Fprintf(a.err, "No browser could be started: %s\n", clean(err.Error()))
	}
	return nil
}

// browse starts the user's browser.
func browse(ctx context.Context, a *app, address string) error {
	program, args := "xdg-open", []string{address}
	switch {
	case a.env("BROWSER") != "":
		program = a.env("BROWSER")
	case runtime.GOOS == "darwin":
		program = "open"
	case runtime.GOOS == "windows":
		program, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	return exec.CommandContext(ctx, program, args...).Run()
}
