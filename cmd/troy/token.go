package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newTokenList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List tokens, newest first",
		Args:  arguments(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return tokenList(cmd.Context(), a) },
	}
}

func tokenList(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	tokens, err := take(c.Tokens(ctx), 0)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(tokens)
	}
	now := time.Now()
	rows := make([][]cell, len(tokens))
	for i, t := range tokens {
		role, expires, used := t.Role, cell{text: "never"}, "never"
		if t.Pipelines != nil {
			role += " of " + pipelinesOf(t.Slugs)
		}
		if t.PreviewsOnly {
			role += ", previews only"
		}
		if t.ExpiresAt != nil {
			expires.text = a.out.until(*t.ExpiresAt, now)
		}
		if t.Expired {
			expires = cell{text: "expired", colour: red}
		}
		if t.LastUsedAt != nil {
			used = a.out.when(*t.LastUsedAt, now)
		}
		rows[i] = []cell{{text: shortToken(t.ID)}, {text: t.Name}, {text: role}, {text: used}, expires, {text: t.CreatedBy}, {text: t.ID.String()}}
	}
	a.out.table([]column{
		{title: "TOKEN"}, {title: "NAME", least: 10}, {title: "ROLE"}, {title: "LAST USED"}, {title: "EXPIRES"},
		{title: "CREATED BY", least: 10, optional: true}, {title: "ID", wide: true},
	}, rows)
	return nil
}

// pipelinesOf names the pipelines that a token or a user is limited to.
func pipelinesOf(slugs []string) string {
	if len(slugs) == 0 {
		return "no pipeline that exists"
	}
	return strings.Join(slugs, ", ")
}

// shortToken is the random end of a token's id, which revoke accepts.
func shortToken(id uuid.UUID) string {
	text := id.String()
	return text[len(text)-12:]
}

func newTokenCreate(a *app) *cobra.Command {
	n := client.NewToken{}
	role := required{missing: "the role is missing: viewer, deployer or admin"}
	name := required{missing: "the name is missing; events and lists show it"}
	cmd := &cobra.Command{
		Use:   "create --name NAME --role ROLE",
		Short: "Create a token and print it; it is not shown again",
		Example: `  troy token create --name ci --role deployer --pipeline blog
  troy token create --name laptop --role admin --expires 30d`,
		Args: arguments(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n.Name, n.Role = name.text, role.text
			return tokenCreate(cmd.Context(), a, n)
		},
	}
	cmd.Flags().Var(&name, "name", "a `text` that says who uses it (required)")
	cmd.Flags().Var(&role, "role", "what it may do: `viewer`, deployer or admin (required)")
	cmd.Flags().StringSliceVar(&n.Pipelines, "pipeline", nil, "limit it to this `pipeline`; repeatable")
	cmd.Flags().StringVar(&n.Expires, "expires", "", "30d, 12h, 2027-01-31 or never (default 90d)")
	return cmd
}

func tokenCreate(ctx context.Context, a *app, n client.NewToken) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	t, err := c.CreateToken(ctx, n)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(t)
	}
	said := "never expires"
	if t.ExpiresAt != nil {
		said = "expires on " + t.ExpiresAt.UTC().Format("2006-01-02 at 15:04 UTC")
	}
	_, _ = fmt.Fprintf(a.err, "The token %s %s. It is not shown again.\n", clean(t.Name), said)
	_, _ = fmt.Fprintln(a.out, clean(t.Token))
	return nil
}

func newTokenRevoke(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke TOKEN",
		Short: "Revoke a token; the server refuses it from then on",
		Long: `Revoke a token; the server refuses it from then on. TOKEN is the short id that
troy token list shows, or the whole id. On a terminal, the name of the token has
to be typed first; elsewhere, --yes has to be given.`,
		Args: arguments(1, "a token"),
		RunE: func(cmd *cobra.Command, args []string) error { return tokenRevoke(cmd.Context(), a, args[0], yes) },
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func tokenRevoke(ctx context.Context, a *app, ref string, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	tokens, err := take(c.Tokens(ctx), 0)
	if err != nil {
		return err
	}
	t, err := oneToken(tokens, ref)
	if err != nil {
		return err
	}
	if !yes {
		if err := a.sure(ctx, fmt.Sprintf("This revokes the token %s (%s).", clean(t.Name), clean(t.Role)), t.Name); err != nil {
			return err
		}
	}
	if err := c.RevokeToken(ctx, t.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "The token %s is revoked.\n", clean(t.Name))
	return err
}

// oneToken finds a token by its id or the end of its id.
func oneToken(tokens []client.Token, ref string) (client.Token, error) {
	var found []client.Token
	for _, t := range tokens {
		if id := t.ID.String(); id == ref || len(ref) >= 8 && strings.HasSuffix(id, ref) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 0:
		return client.Token{}, troy.Errorf(troy.NotFound, "token not found: %q; troy token list shows them", troy.Clip(ref))
	case 1:
		return found[0], nil
	}
	return client.Token{}, troy.Errorf(troy.Invalid, "%q is the end of %d ids; give the whole id", troy.Clip(ref), len(found))
}
