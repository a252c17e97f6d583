package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/troy-iaas/troy/cloud/localcloud"
)

func newStoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Check and repair the files of the sites in the data folder",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	cmd.AddCommand(newStoreCheckCommand("check", "Verify every file of the store, and that each deployment has its files",
		"Read every byte of the sites in TROY_DATA_DIR: verify the digest of each file,\n"+
			"the index of each pack and each manifest, and that each deployment has its\n"+
			"files. It changes nothing, and the servers may run meanwhile.\n", false),
		newStoreCheckCommand("repair", "Set damaged files aside and save what is good",
			"Do what check does, move each damaged file to the folder \"damaged\" of its site,\n"+
				"and save the good files of damaged packs. Then say which deployments lack\n"+
				"files; the next release or build that contains them sends them again. The\n"+
				"servers may run meanwhile.\n", true))
	return cmd
}

func newStoreCheckCommand(use, short, long string, repair bool) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		Long: long + "\nExit status: 0 all is well, 1 the store can't be read, 2 wrong usage or\n" +
			"settings, 3 something is damaged but no deployment lacks a file, 4 deployments\n" +
			"lack files.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, _, _ := withDev(env.ToMap(os.Environ())) // a troyd dev is only one way to set the folder
			cfg, err := readConfig(settings)
			if err == nil && cfg.onAWS() {
				err = errors.New("TROY_CLOUD: is aws; expected local, since S3 verifies its objects itself")
			}
			if err != nil {
				return usageError{err}
			}
			progress := progressTo(cmd.ErrOrStderr())
			report, err := localcloud.Check(cmd.Context(), cfg.cloudRoot(), cfg.readLimits(), repair, progress.show)
			progress.clear()
			if err != nil {
				return err
			}
			if err := printReport(cmd.OutOrStdout(), report, asJSON); err != nil {
				return err
			}
			return faultsError(report)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printReport prints what is wrong, a line for each file.
func printReport(out io.Writer, r localcloud.Report, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	_, err := fmt.Fprintf(out, "%d sites, %d deployments; %d files verified, %s\n", r.Sites, r.Deployments, r.Files, megabytes(r.Bytes))
	for _, f := range r.Damaged {
		_, lineErr := fmt.Fprintf(out, "damaged  pipeline %s\n         %s\n         %s\n", f.Pipeline, f.Name, strings.ReplaceAll(f.Problem, "; ", "\n         "))
		err = errors.Join(err, lineErr)
	}
	const most = 20
	for _, f := range r.Broken {
		_, lineErr := fmt.Fprintf(out, "broken   pipeline %s\n         deployment %s\n         %s\n", f.Pipeline, f.Deployment, f.Problem)
		err = errors.Join(err, lineErr)
		for _, path := range f.Files[:min(most, len(f.Files))] {
			_, lineErr := fmt.Fprintf(out, "           %q\n", path)
			err = errors.Join(err, lineErr)
		}
		if more := len(f.Files) - most; more > 0 {
			_, lineErr := fmt.Fprintf(out, "           and %d more (all of them with --json)\n", more)
			err = errors.Join(err, lineErr)
		}
	}
	return err
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// damageError is what a check found.
type damageError struct {
	damaged, broken int
}

func (e damageError) Error() string {
	return fmt.Sprintf("the store has %d damaged files; %d deployments lack files", e.damaged, e.broken)
}

// ExitStatus implements the interface of exitStatus.
func (e damageError) ExitStatus() int {
	if e.broken > 0 {
		return 4
	}
	return 3
}

func faultsError(r localcloud.Report) error {
	if len(r.Damaged)+len(r.Broken) == 0 {
		return nil
	}
	return damageError{len(r.Damaged), len(r.Broken)}
}

// progress shows on a terminal how far a check has come.
type progress struct {
	out  io.Writer // nil if it is not a terminal
	last time.Time
}

func progressTo(out io.Writer) *progress {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{out: out}
	}
	return &progress{}
}

func (p *progress) show(r localcloud.Report) {
	if now := time.Now(); p.out != nil && now.Sub(p.last) > 100*time.Millisecond {
		p.last = now
		_, _ = fmt.Fprintf(p.out, "\r\033[Ksite %d: %d files verified, %s", r.Sites, r.Files, megabytes(r.Bytes))
	}
}

func (p *progress) clear() {
	if !p.last.IsZero() {
		_, _ = fmt.Fprint(p.out, "\r\033[K")
	}
}
