package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/credentials"
	"github.com/troy-iaas/troy/queries"
)

func newSecretsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "secrets", Short: "Manage sealed secrets", Args: cobra.NoArgs, RunE: help}
	var dry bool
	reseal := &cobra.Command{
		Use:   "reseal",
		Short: "Seal again, with the newest key, what older keys sealed",
		Long: "Seal again with the first key of TROY_SECRET_KEY what one of the others sealed.\n" +
			"Afterwards the others may be removed. It may be repeated, and run while Troy runs.\n" +
			"Exit status 1: something could not be opened and was not changed.",
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
				return usageError{errors.New("TROY_SECRET_KEY: not set; expected the new key first and the old ones after it, separated by commas")}
			}
			b, err := connect(cmd.Context(), cfg, cfg.logger())
			if err != nil {
				return err
			}
			defer b.close()
			q := queries.New(b.db)
			report := func(unopened error) error {
				_, err := fmt.Fprintln(cmd.ErrOrStderr(), "troyd:", unopened)
				return err
			}
			counts, err := credentials.Reseal(cmd.Context(), q, secrets, dry, report)
			if err := errors.Join(err, printCounts(cmd.OutOrStdout(), counts, dry)); err != nil {
				return err
			}
			// A process with the old key first may have sealed meanwhile, so
			// the older keys are still needed until a second check.
			left, err := credentials.Reseal(cmd.Context(), q, secrets, true, report)
			if err != nil {
				return err
			}
			switch older := left.Sum().Resealed; {
			case older > 0 && !dry:
				return fmt.Errorf("%d were sealed meanwhile with an older key; restart web and work with the newest key first, then run this again", older)
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

// printCounts prints a table of the kinds of sealed values.
func printCounts(w io.Writer, counts credentials.Counts, dry bool) error {
	verb := "sealed again"
	if dry {
		verb = "under an older key"
	}
	lines := fmt.Sprintf("\tunder the newest key\t%s\tnot opened\n", verb)
	for _, k := range []struct{ kind, shown string }{
		{"variable", "variables of builds"}, {"variable_in_context", "variables for contexts"}, {"installation", "installations"}, {"forge_app", "apps at forges"}, {"access", "passwords of sites"},
		{"preview_key", "keys of previews"}, {"notifier", "notifiers"}, {"notifier_key", "earlier keys of notifiers"},
	} {
		n := counts[k.kind]
		lines += fmt.Sprintf("%s\t%d\t%d\t%d\n", k.shown, n.Current, n.Resealed, n.Unopened)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, lines); err != nil {
		return err
	}
	return table.Flush()
}
