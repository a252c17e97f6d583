package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	schema "github.com/troy-iaas/troy/sql"
)

// newMigrateCommand changes the database's schema.
func newMigrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Change the database's schema",
		Long: `Change the schema of the database at TROY_DATABASE_URL.

Several processes may migrate at once: one does it, the others wait. Before an
upgrade, run "migrate up" of the new version: the previous version runs on the
new schema.

Exit statuses:
  0  done, or there was nothing to do
  1  failed; the reason is on standard error
  2  wrong usage or settings`,
		Args: cobra.NoArgs,
		RunE: help,
	}
	cmd.AddCommand(newMigrateUpCommand(), newMigrateDownCommand(), newMigrateStatusCommand())
	return cmd
}

func newMigrateUpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Run the migrations that are pending",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			databaseURL, err := migrateURL()
			if err != nil {
				return err
			}
			steps, err := schema.Up(cmd.Context(), databaseURL)
			if err != nil {
				return err
			}
			if len(steps) == 0 {
				return printLine(cmd.OutOrStdout(), "nothing to do")
			}
			for _, s := range steps {
				if err := printLine(cmd.OutOrStdout(), "up "+s.Name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func newMigrateDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Undo the newest migration; the data of its tables and columns is lost",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			databaseURL, err := migrateURL()
			if err != nil {
				return err
			}
			step, err := schema.Down(cmd.Context(), databaseURL)
			if err != nil {
				return err
			}
			if step == nil {
				return printLine(cmd.OutOrStdout(), "nothing to do")
			}
			return printLine(cmd.OutOrStdout(), "down "+step.Name)
		},
	}
}

func newMigrateStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "List the migrations and when they were run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			databaseURL, err := migrateURL()
			if err != nil {
				return err
			}
			steps, err := schema.Status(cmd.Context(), databaseURL)
			if err != nil {
				return err
			}
			for _, s := range steps {
				at := "pending"
				if !s.AppliedAt.IsZero() {
					at = s.AppliedAt.UTC().Format(time.RFC3339)
				}
				if err := printLine(cmd.OutOrStdout(), fmt.Sprintf("%-20s  %s", at, s.Name)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// printLine prints a line of the command's answer. It returns an error if it
// can't, since scripts read the answer.
func printLine(w io.Writer, line string) error {
	_, err := fmt.Fprintln(w, line)
	return err
}

// migrateURL returns the database to migrate: the environment's, or that of the
// troyd dev that runs on the data folder.
func migrateURL() (string, error) {
	settings, dir, found := withDev(env.ToMap(os.Environ()))
	if u := settings["TROY_DATABASE_URL"]; u != "" {
		return u, nil
	}
	return "", usageError{errors.Join(errors.New("TROY_DATABASE_URL is not set; expected the database to migrate, as postgres://user:password@host:5432/name"), hintDev(dir, found))}
}
