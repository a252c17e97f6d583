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
	docs := false
	cmd := &cobra.Command{
		Use:   "open P",
		Short: "Open a pipeline's site in the browser",
		Long: `Open a pipeline's site in the browser, or with --docs the API's documentation on
the server. If stdout is not a terminal, only the address is printed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if docs {
				return nil
			}
			return arguments(1, "a pipeline")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if docs {
				return openDocs(cmd.Context(), a)
			}
			return open(cmd.Context(), a, args[0])
		},
	}
	cmd.Flags().BoolVar(&docs, "docs", false, "open the API's documentation")
	return cmd
}

func openDocs(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	return a.open(ctx, c.BaseURL+"/docs")
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
	return a.open(ctx, u.String())
}

// open prints an address and, on a terminal, opens it in the browser.
func (a *app) open(ctx context.Context, address string) error {
	_, _ = fmt.Fprintln(a.out, clean(address))
	if !a.out.terminal {
		return nil
	}
	if err := browse(ctx, a, address); err != nil {
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
