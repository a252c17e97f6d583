// Command troyd is Troy's server: web accepts events and requests, work runs
// the tasks, edge serves the sites of one box, dev is all of them in one
// process with its own Postgres and Redis.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	understood := false
	root := &cobra.Command{
		Use:   "troyd",
		Short: "Troy's server: deploys static sites",
		Long: "Troy's server. Settings are environment variables (TROY_…); docs/config.md lists them.\n" +
			"Without TROY_DATABASE_URL, commands other than the servers use the troyd dev that runs on\nTROY_DATA_DIR.\n\n" +
			"Exit status: 0 stopped as requested, 1 failed, 2 wrong usage or settings.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          help,

		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			understood = true
			warnUnknown(cmd.ErrOrStderr(), os.Environ())
		},
	}
	root.AddCommand(newDevCommand(), newWebCommand(), newWorkCommand(), newEdgeCommand(),
		newMigrateCommand(), newTokenCommand(), newEnqueueCommand(), newSecretsCommand(),
		newDoctorCommand(), newOrphansCommand(), newStoreCommand(), newToolsCommand(), newAWSCommand())
	root.AddCommand(forgeCommands()...)
	if err := root.ExecuteContext(ctx); err != nil {
		if !understood {
			err = usageError{err}
		}
		fmt.Fprintln(os.Stderr, "troyd:", err)
		stop()
		os.Exit(exitStatus(err))
	}
}

// help is the action of a command that only groups others. Without it cobra
// would answer an unknown command with the help and exit status 0.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// usageError is an error in the command line or the settings.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitStatus(err error) int {
	var usage usageError
	var coded interface{ ExitStatus() int }
	switch {
	case errors.As(err, &usage):
		return 2
	case errors.As(err, &coded):
		return coded.ExitStatus()
	}
	return 1
}
