package main

import (
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

func newBuild(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "build [PATH]",
		Short: "Build a folder on this machine, as the server would",
		Long:  "Build a folder on this machine, as the server would. This needs Linux or macOS; on\nWindows, use WSL.",
		Args:  arguments(0, "a folder"),
		RunE: func(*cobra.Command, []string) error {
			return troy.Errorf(troy.Conflict, "builds need Linux or macOS; on Windows, use WSL, or build on the server: troy deploy P")
		},
	}
}
