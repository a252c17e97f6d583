package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/toolchain"
)

// openTools opens the store of builds' tools. environment is that of all builds.
func (c config) openTools(environment map[string]string, install bool, log *slog.Logger) (*toolchain.Store, error) {
	store, err := toolchain.Open(toolchain.Config{
		Dir: filepath.Join(c.DataDir, "tools"), Install: install, Registry: c.ToolsRegistry, Mise: toolchain.FindMise(), Environment: environment,
		MaxBytes: c.ToolsMiB << 20, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("TROY_BUILD_TOOLS: %w", err)
	}
	return store, nil
}

func newToolsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tools",
		Short: "Install, list and remove the tools of builds",
		Long: "Install, list and remove the versions of Node.js, Go and other tools that builds\n" +
			"use, in the data folder. Builds install what their repositories ask for; install\n" +
			"them in advance for a server that can't reach their sources later. Run these\n" +
			"commands as the user of troyd work, with its settings.",
		Args: cobra.NoArgs,
		RunE: help,
	}
	cmd.AddCommand(newToolsInstallCommand(), newToolsListCommand(), newToolsRemoveCommand())
	return cmd
}

// withTools opens the store with the settings of this process. The commands
// install tools also if builds may not.
func withTools(do func(store *toolchain.Store) error) error {
	cfg, err := loadConfig()
	if err != nil {
		return usageError{err}
	}
	if cfg.AWSProject != "" {
		return usageError{errors.New("TROY_AWS_PROJECT: builds run on CodeBuild, whose image has the tools")}
	}
	environment, err := cfg.buildEnvironment()
	if err != nil {
		return usageError{err}
	}
	store, err := cfg.openTools(environment, true, slog.New(slog.DiscardHandler))
	if err != nil {
		return usageError{err}
	}
	return do(store)
}

// someTools requires arguments.
func someTools(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s: expected a tool, like node@22 (see %[1]s --help)", cmd.CommandPath())
	}
	return nil
}

func newToolsInstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "install TOOL[@VERSION] ...",
		Short: "Install tools, such as node@22 or pnpm@9",
		Long: "Install tools: node, npm, pnpm, yarn, bun and deno from the npm registry, go from\n" +
			"the Go module proxy, python, ruby, hugo and zola by mise (mise.jdx.dev), which has\n" +
			"to be in the PATH. VERSION is a version or a range of npm's, for node also lts/* or\n" +
			"lts/jod; without one, the newest. A tool that is installed already is left as it\n" +
			"is.\n\n" +
			"Exit status: 0 all are installed, 1 one could not be installed, 2 wrong usage.",
		Example: "  troyd tools install node@22 npm@10 pnpm@9\n  troyd tools install hugo@0.140.0",
		Args:    someTools,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTools(func(store *toolchain.Store) error { return installTools(cmd.Context(), store, args, cmd.OutOrStdout()) })
		},
	}
}

func installTools(ctx context.Context, store *toolchain.Store, names []string, out io.Writer) error {
	for _, name := range names {
		tool, installed, err := store.Install(ctx, name)
		if err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
		text := "Installed"
		if !installed {
			text = "Already installed:"
		}
		if err := printLine(out, fmt.Sprintf("%s %s@%s (%s).", text, tool.Name, tool.Version, builder.BytesInWords(tool.Bytes))); err != nil {
			return err
		}
	}
	return nil
}

func newToolsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the installed tools",
		Long: "List the installed tools with their sizes and when a build last used them. Troy\n" +
			"removes those that were not used for the longest time when all together exceed\n" +
			"TROY_BUILD_TOOLS_MIB.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withTools(func(store *toolchain.Store) error { return listTools(store, cmd.OutOrStdout()) })
		},
	}
}

func listTools(store *toolchain.Store, out io.Writer) error {
	tools, err := store.Tools()
	if err != nil {
		return err
	}
	if len(tools) == 0 {
		return printLine(out, "No tools are installed. Builds install what their repositories ask for.")
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	rows := []string{"TOOL\tVERSION\tSIZE\tLAST USED"}
	for _, t := range tools {
		used := t.LastUsed.UTC().Format(time.DateTime)
		if t.InUse {
			used = "now"
		}
		rows = append(rows, strings.Join([]string{t.Name, t.Version, builder.BytesInWords(t.Bytes), used}, "\t"))
	}
	_, err = fmt.Fprintln(table, strings.Join(rows, "\n"))
	return errors.Join(err, table.Flush())
}

func newToolsRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove TOOL@VERSION ...",
		Short: "Remove installed tools",
		Long: "Remove installed tools by their full versions, as troyd tools list shows them. A\n" +
			"tool that a build uses is left, with exit status 1. A later build that asks for a\n" +
			"removed version installs it again.",
		Example: "  troyd tools remove node@20.19.1",
		Args:    someTools,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withTools(func(store *toolchain.Store) error {
				for _, name := range args {
					tool, version, _ := strings.Cut(name, "@")
					if err := store.Remove(cmd.Context(), tool, version); err != nil {
						return fmt.Errorf("remove %s: %w", name, err)
					}
					if err := printLine(cmd.OutOrStdout(), "Removed "+name+"."); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
