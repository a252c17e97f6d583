package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/internal/devstack"
	schema "github.com/troy-iaas/troy/sql"
	"github.com/troy-iaas/troy/sql/generate"
)

// newMigrateCommand changes the database's schema, and writes the migrations
// that do.
func newMigrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Change the database's schema, or write the migrations that do",
		Long: `Change the schema of the database at TROY_DATABASE_URL, or write migrations.

Several processes may migrate at once: one does it, the others wait. Before an
upgrade run "migrate up" of the new version; the version before runs on the
schema after.

Exit statuses:
  0  done, or nothing was to be done
  1  it failed, and the reason is on standard error
  2  wrong usage or settings`,
		Args: cobra.NoArgs,
		RunE: help,
	}
	cmd.AddCommand(
		newMigrateUpCommand(), newMigrateDownCommand(), newMigrateStatusCommand(),
		newMigrateNewCommand(), newMigrateGenerateCommand(),
	)
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
		Short: "Take the newest migration back, and the data in what it made with it",
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

func newMigrateNewCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write an empty migration into the source tree",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := generate.New(dir, args[0])
			if err != nil {
				return err
			}
			return printLine(cmd.OutOrStdout(), path)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "sql/migrations", "the migrations' folder")
	return cmd
}

func newMigrateGenerateCommand() *cobra.Command {
	var opts generateOptions
	cmd := &cobra.Command{
		Use:   "generate NAME",
		Short: "Write the migration that takes the migrations' schema to schema.sql",
		Long: `Write the migration, up and down, that takes the schema of the migrations to
schema.sql. Both are compared on two scratch databases, which are made on the
server at TROY_DATABASE_URL (its user must be allowed to) and dropped again;
without that variable a private Postgres is started for it.

Indexes of tables that exist already are built concurrently, in a file of their
own that runs without a transaction. A renamed column is a dropped and an added
one here: write such a migration with "migrate new".

Exit statuses:
  0  the migration was written, or there was nothing to do
  1  it failed and nothing was written: objects that cannot be compared
     (functions, triggers, views, domains, extensions, policies, …) differ, or
     tables, columns or sequences would be dropped without --allow-destructive
  2  wrong usage`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			opts.serverURL = os.Getenv("TROY_DATABASE_URL")
			return runGenerate(cmd.Context(), cmd.OutOrStdout(), opts)
		},
	}
	cmd.Flags().StringVar(&opts.dir, "dir", "sql/migrations", "the migrations' folder")
	cmd.Flags().StringVar(&opts.schema, "schema", "sql/schema.sql", "the schema as it should be")
	cmd.Flags().BoolVar(&opts.destructive, "allow-destructive", false, "write a migration that drops tables, columns or sequences")
	return cmd
}

type generateOptions struct {
	name, dir, schema string
	serverURL         string // "" starts a private Postgres
	destructive       bool
}

func runGenerate(ctx context.Context, out io.Writer, opts generateOptions) (err error) {
	wanted, err := os.ReadFile(opts.schema)
	if err != nil {
		return fmt.Errorf("read the schema as it should be: %w", err)
	}
	if info, err := os.Stat(opts.dir); err != nil || !info.IsDir() {
		return fmt.Errorf("--dir %q is not a folder: run this in the source tree", opts.dir)
	}
	serverURL := opts.serverURL
	if serverURL == "" {
		p, startErr := devstack.StartEphemeralPostgres(ctx, slog.New(slog.DiscardHandler))
		if startErr != nil {
			return startErr
		}
		defer func() {
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, p.Stop(stopCtx))
		}()
		serverURL = p.URL
	}
	m, err := generate.Plan(ctx, serverURL, os.DirFS(opts.dir), string(wanted))
	if err != nil {
		return err
	}
	if m.Empty() {
		return printLine(out, "nothing to do")
	}
	if len(m.Destructive) > 0 && !opts.destructive {
		return fmt.Errorf("the migration would drop %s with all data: pass --allow-destructive if that is wanted (a rename is written by hand: troyd migrate new NAME)", strings.Join(m.Destructive, ", "))
	}
	paths, err := generate.Write(opts.dir, opts.name, m)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := printLine(out, path); err != nil {
			return err
		}
	}
	return nil
}

// printLine prints a line of the command's answer. An answer that could not be
// printed is a failure: scripts read it.
func printLine(w io.Writer, line string) error {
	_, err := fmt.Fprintln(w, line)
	return err
}

// migrateURL is the database to migrate: the environment's, or that of the
// troyd dev that runs on the data folder.
func migrateURL() (string, error) {
	settings, dir, found := withDev(env.ToMap(os.Environ()))
	if u := settings["TROY_DATABASE_URL"]; u != "" {
		return u, nil
	}
	return "", usageError{errors.Join(errors.New("TROY_DATABASE_URL is not set: name the database to migrate, as postgres://user:password@host:5432/name"), hintDev(dir, found))}
}
