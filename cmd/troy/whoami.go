package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newWhoami(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Show the token in use and the server",
		Args:  arguments(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return whoami(cmd.Context(), a) },
	}
}

func whoami(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	who, err := c.Whoami(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(who)
	}
	pipelines, expires, version := "all", "never", who.Server.Version
	if who.Token.Pipelines != nil {
		if pipelines = strings.Join(who.Token.Slugs, ", "); pipelines == "" {
			pipelines = "none"
		}
	}
	if at := who.Token.ExpiresAt; at != nil {
		expires = a.out.until(*at, time.Now())
	}
	if who.Server.Commit != "" {
		version += " (" + who.Server.Commit + ")"
	}
	a.out.view(
		field{"Token", who.Token.Name},
		field{"Role", who.Token.Role},
		field{"Pipelines", pipelines},
		field{"Expires", expires},
		field{"From", a.tokenFrom},
		field{"Server", c.BaseURL},
		field{"Version", version},
	)
	return nil
}
