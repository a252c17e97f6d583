package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/secret"
)

func newSecretsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "secrets", Short: "Manage sealed secrets", Args: cobra.NoArgs, RunE: help}
	var dry bool
	reseal := &cobra.Command{
		Use:   "reseal",
		Short: "Seal again, with the newest key, what older keys sealed",
		Long: "Seal again with the first key of TROY_SECRET_KEY what one of the others sealed.\n" +
			"Afterwards the others may be dropped. It may be repeated, and run while Troy runs.\n" +
			"Exit status 1: something could not be opened, and stays as it is.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := commandConfig()
			if err != nil {
				return err
			}
			secrets, err := sealer(cfg)
			if err != nil {
				return err
			}
			if secrets == nil {
				return usageError{errors.New("TROY_SECRET_KEY: not set; the new key stands first, the old ones behind it, separated by commas")}
			}
			b, err := connect(cmd.Context(), cfg, cfg.logger())
			if err != nil {
				return err
			}
			defer b.close()
			q := queries.New(b.db)
			counts, err := resealAll(cmd.Context(), q, secrets, dry, cmd.ErrOrStderr())
			if err := errors.Join(err, counts.print(cmd.OutOrStdout(), dry)); err != nil {
				return err
			}
			// A process with the old key in front may have sealed meanwhile, so
			// nothing is said of the older keys before a second look.
			left, err := resealAll(cmd.Context(), q, secrets, true, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			switch older := left.older(); {
			case older > 0 && !dry:
				return fmt.Errorf("%d were sealed meanwhile with an older key; restart web and work with the newest in front, then run this again", older)
			case older > 0:
				return nil
			}
			return printLine(cmd.OutOrStdout(), "Nothing needs an older key: TROY_SECRET_KEY may be the newest alone.")
		},
	}
	reseal.Flags().BoolVar(&dry, "dry-run", false, "only count what older keys sealed")
	cmd.AddCommand(reseal)
	return cmd
}

// sealedCounts counts what was looked at, by kind.
type sealedCounts map[string]*struct{ current, resealed, unopened int }

// sealedKinds are the kinds in the order that they are shown in.
var sealedKinds = []struct{ kind, shown string }{
	{"variable", "variables of builds"}, {"installation", "installations"}, {"forge_app", "apps at forges"},
}

// resealAll goes through everything that is sealed. What can't be opened is
// named on diagnostics, and left.
func resealAll(ctx context.Context, q *queries.Queries, secrets *secret.Sealer, dry bool, diagnostics io.Writer) (sealedCounts, error) {
	counts := sealedCounts{}
	for _, k := range sealedKinds {
		counts[k.kind] = &struct{ current, resealed, unopened int }{}
	}
	var after queries.SealedListParams
	unopened := 0
	for {
		rows, err := q.SealedList(ctx, after)
		if err != nil {
			return counts, fmt.Errorf("list what is sealed: %w", err)
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			after = queries.SealedListParams{AfterKind: row.Kind, AfterID: row.ID, AfterName: row.Name}
			count := counts[row.Kind]
			if !secrets.Stale(row.Sealed) {
				count.current++
				continue
			}
			subject := secret.Subject{Kind: row.Kind, ID: row.ID, Name: row.Name}
			value, err := secrets.Open(row.Sealed, subject)
			if err != nil {
				count.unopened++
				unopened++
				if _, err := fmt.Fprintln(diagnostics, "troyd:", err); err != nil {
					return counts, err
				}
				continue
			}
			count.resealed++
			if dry {
				continue
			}
			fresh, err := secrets.Seal(value, subject)
			if err != nil {
				return counts, err
			}
			// Nothing replaced: it was changed meanwhile, and sealed by that.
			if _, err := q.SealedReplace(ctx, queries.SealedReplaceParams{
				Fresh: fresh, Kind: row.Kind, ID: row.ID, Name: row.Name, Sealed: row.Sealed,
			}); err != nil {
				return counts, fmt.Errorf("replace %s %s: %w", row.Kind, row.ID, err)
			}
		}
	}
	if unopened > 0 {
		return counts, fmt.Errorf("%d could not be opened; put the key that sealed them behind the others in TROY_SECRET_KEY, or set them anew", unopened)
	}
	return counts, nil
}

// older is how many values an older key sealed that could be opened.
func (c sealedCounts) older() (n int) {
	for _, count := range c {
		n += count.resealed
	}
	return n
}

func (c sealedCounts) print(w io.Writer, dry bool) error {
	verb := "sealed anew"
	if dry {
		verb = "under an older key"
	}
	lines := fmt.Sprintf("\tunder the newest key\t%s\tnot opened\n", verb)
	for _, k := range sealedKinds {
		n := c[k.kind]
		lines += fmt.Sprintf("%s\t%d\t%d\t%d\n", k.shown, n.current, n.resealed, n.unopened)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, lines); err != nil {
		return err
	}
	return table.Flush()
}
