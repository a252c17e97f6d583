// Command migration writes migrations into the source tree. Developers run it
// with `make migration NAME=add_domains`. `troyd migrate` runs the migrations.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/troy-iaas/troy/internal/devstack"
	"github.com/troy-iaas/troy/sql/generate"
)

const usage = `Usage: go run ./sql/migration [flags] NAME

Write the migration, up and down, that changes the schema of the migrations to
schema.sql. The command compares both on two scratch databases, which it creates
on the server at TROY_DATABASE_URL and drops again; the user needs permission to
create databases. Without that variable it starts a private Postgres.

Indexes of existing tables are built concurrently, in a separate file that runs
without a transaction. A renamed column appears as a dropped and an added one:
write such a migration by hand, with -empty.

Exit statuses:
  0  the migration was written, or the schemas agree
  1  it failed and wrote nothing: objects that cannot be compared
     (functions, triggers, views, domains, extensions, policies, …) differ, or
     tables, columns or sequences would be dropped without -allow-destructive
  2  wrong usage

Flags:
`

type options struct {
	name, dir, schema  string
	serverURL          string // "" means a private Postgres
	destructive, empty bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(program(ctx, os.Args[1:], os.Getenv("TROY_DATABASE_URL"), os.Stdout, os.Stderr))
}

// program returns the exit status.
func program(ctx context.Context, args []string, serverURL string, stdout, stderr io.Writer) int {
	opts := options{serverURL: serverURL}
	flags := flag.NewFlagSet("migration", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.dir, "dir", "sql/migrations", "the migrations' `folder`")
	flags.StringVar(&opts.schema, "schema", "sql/schema.sql", "the `file` with the wanted schema")
	flags.BoolVar(&opts.destructive, "allow-destructive", false, "write a migration that drops tables, columns or sequences")
	flags.BoolVar(&opts.empty, "empty", false, "write an empty migration to edit by hand")
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() != 1:
		flags.Usage()
		return 2
	}
	opts.name = flags.Arg(0)
	paths, err := run(ctx, opts)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 1
	}
	if len(paths) == 0 {
		paths = []string{"nothing to do"}
	}
	if _, err := fmt.Fprintln(stdout, strings.Join(paths, "\n")); err != nil {
		return 1
	}
	return 0
}

// run writes the migration and returns the paths of its files.
func run(ctx context.Context, opts options) (paths []string, err error) {
	if info, err := os.Stat(opts.dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("-dir is %q, which is not a folder; run this command at the top of the source tree", opts.dir)
	}
	if opts.empty {
		path, err := generate.New(opts.dir, opts.name)
		return []string{path}, err
	}
	wanted, err := os.ReadFile(opts.schema)
	if err != nil {
		return nil, fmt.Errorf("read the wanted schema: %w", err)
	}
	serverURL := opts.serverURL
	if serverURL == "" {
		p, startErr := devstack.StartEphemeralPostgres(ctx, slog.New(slog.DiscardHandler))
		if startErr != nil {
			return nil, startErr
		}
		defer func() {
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, p.Stop(stopCtx))
		}()
		serverURL = p.URL
	}
	m, err := generate.Plan(ctx, serverURL, os.DirFS(opts.dir), string(wanted))
	if err != nil || m.Empty() {
		return nil, err
	}
	if len(m.Destructive) > 0 && !opts.destructive {
		return nil, fmt.Errorf("the migration drops %s with all data; use -allow-destructive to write it anyway, or -empty to write a rename by hand", strings.Join(m.Destructive, ", "))
	}
	return generate.Write(opts.dir, opts.name, m)
}
