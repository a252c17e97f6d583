package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke credentials for the API", Args: cobra.NoArgs, RunE: help}
	cmd.AddCommand(newTokenCreateCommand(), newTokenListCommand(), newTokenRevokeCommand())
	return cmd
}

func newTokenCreateCommand() *cobra.Command {
	var name, role, expires string
	var pipelines []string
	create := &cobra.Command{
		Use:   "create --role viewer|deployer|admin",
		Short: "Make a token and print it; it is not shown again",
		Long: "Make a token and print it on standard output, only once: Troy stores only its hash. It expires after 90 days\n" +
			"unless --expires sets another time; standard error says when.",
		Example: "  troyd token create --role deployer --name ci --pipeline blog\n  troyd token create --role admin --expires never",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role == "" {
				return usageError{errors.New("--role is missing: viewer, deployer or admin")}
			}
			at, err := credentials.ParseExpiry(expires, time.Now())
			if err != nil {
				return usageError{fmt.Errorf("--expires: %w", err)}
			}
			return withBackend(cmd.Context(), nil, func(cfg config, b *backend) error {
				var only []uuid.UUID
				for _, p := range pipelines {
					id, err := uuid.Parse(p)
					if err != nil {
						row, slugErr := queries.New(b.db).PipelineGetBySlug(cmd.Context(), p)
						if slugErr != nil {
							return usageError{fmt.Errorf("--pipeline: pipeline not found: %q", p)}
						}
						id = row.ID
					}
					only = append(only, id)
				}
				token, row, err := credentials.Token{
					Name: name, Role: credentials.Role(role), Pipelines: only, Expires: at, CreatedBy: "operator " + username(),
				}.Make()
				if err != nil {
					return usageError{err}
				}
				if _, err := b.intake(cfg).CreateToken(cmd.Context(), row); err != nil {
					return fmt.Errorf("create token %q: %w", name, err)
				}
				if at == nil {
					cmd.PrintErrln("The token never expires. It is not shown again. To revoke it: troyd token revoke")
				} else {
					cmd.PrintErrf("The token expires on %s (--expires sets another time). It is not shown again.\n", at.UTC().Format("2006-01-02 at 15:04 UTC"))
				}
				return printLine(cmd.OutOrStdout(), token)
			})
		},
	}
	create.Flags().StringVar(&role, "role", "", "the token's role: viewer, deployer or admin")
	create.Flags().StringVar(&name, "name", "command line", "the token's user; events name it")
	create.Flags().StringSliceVar(&pipelines, "pipeline", nil, "limit it to this pipeline, by id or slug (may be repeated)")
	create.Flags().StringVar(&expires, "expires", "", "when it expires: 30d, 12h, 2027-01-31 or never (default 90d)")
	return create
}

func newTokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tokens, newest first",
		Long:  "List the tokens, newest first. The time of last use is accurate to the hour.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBackend(cmd.Context(), nil, func(_ config, b *backend) error {
				rows, err := allTokens(cmd.Context(), queries.New(b.db))
				if err != nil {
					return err
				}
				return printTokens(cmd.OutOrStdout(), rows)
			})
		},
	}
}

// allTokens reads the tokens page by page.
func allTokens(ctx context.Context, q *queries.Queries) (all []queries.TokenListRow, _ error) {
	page := queries.TokenListParams{BeforeTime: credentials.Later(), PageLimit: 500}
	for {
		rows, err := q.TokenList(ctx, page)
		if err != nil {
			return nil, fmt.Errorf("list tokens: %w", err)
		}
		all = append(all, rows...)
		if len(rows) < int(page.PageLimit) {
			return all, nil
		}
		last := rows[len(rows)-1]
		page.BeforeTime, page.BeforeID = last.CreatedAt, last.ID
	}
}

// printTokens prints a table. It shows the last twelve digits of an id, which
// are random; revoke accepts them.
func printTokens(w io.Writer, rows []queries.TokenListRow) error {
	var text strings.Builder
	text.WriteString("ID\tNAME\tROLE\tMADE BY\tLAST USED\tEXPIRES\n")
	for _, t := range rows {
		role := t.Role
		if t.Pipelines != nil {
			role += " of " + strings.Join(t.Slugs, ", ")
			if len(t.Slugs) == 0 {
				role += "nothing"
			}
		}
		expires := day(t.ExpiresAt)
		if t.Expired {
			expires = "expired"
		}
		fmt.Fprintf(&text, "%s\t%s\t%s\t%s\t%s\t%s\n", shortID(t.ID), t.Name, role, t.CreatedBy, day(t.LastUsedAt), expires)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, text.String()); err != nil {
		return err
	}
	return table.Flush()
}

func day(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.DateOnly)
}

func shortID(id uuid.UUID) string { text := id.String(); return text[len(text)-12:] }

func newTokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token, which is refused from then on",
		Long: "Revoke a token, which is refused from then on. ID is the one that troyd token list shows, or the full id.\n\n" +
			"Exit status: 0 revoked, 1 failed, 2 token not found.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBackend(cmd.Context(), nil, func(cfg config, b *backend) error {
				rows, err := allTokens(cmd.Context(), queries.New(b.db))
				if err != nil {
					return err
				}
				id, err := oneToken(rows, args[0])
				if err != nil {
					return usageError{err}
				}
				name, err := b.intake(cfg).RevokeToken(cmd.Context(), id, "operator "+username())
				if errors.Is(err, pgx.ErrNoRows) {
					return usageError{fmt.Errorf("token not found: %s", args[0])}
				}
				if err != nil {
					return fmt.Errorf("revoke token %s: %w", args[0], err)
				}
				return printLine(cmd.OutOrStdout(), fmt.Sprintf("Revoked the token %q.", name))
			})
		},
	}
}

// oneToken finds a token by its id, or by the end of it.
func oneToken(rows []queries.TokenListRow, ref string) (uuid.UUID, error) {
	var found []uuid.UUID
	for _, t := range rows {
		if id := t.ID.String(); id == ref || len(ref) >= 8 && strings.HasSuffix(id, ref) {
			found = append(found, t.ID)
		}
	}
	switch len(found) {
	case 0:
		return uuid.Nil, fmt.Errorf("token not found: %q; troyd token list shows their ids", ref)
	case 1:
		return found[0], nil
	}
	return uuid.Nil, fmt.Errorf("%q is the end of %d tokens' ids; use the full id", ref, len(found))
}
