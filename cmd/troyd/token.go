package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/web"
)

func newTokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make credentials for the API", Args: cobra.NoArgs, RunE: help}
	var name, role string
	var pipelines []string
	var valid time.Duration
	create := &cobra.Command{
		Use:   "create --role viewer|deployer|admin",
		Short: "Make a token and print it, this once",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role == "" {
				return usageError{errors.New("--role is missing: viewer, deployer or admin")}
			}
			cfg, err := commandConfig()
			if err != nil {
				return err
			}
			b, err := connect(cmd.Context(), cfg, cfg.logger())
			if err != nil {
				return err
			}
			defer b.close()
			var only []uuid.UUID
			for _, p := range pipelines {
				id, err := uuid.Parse(p)
				if err != nil {
					row, slugErr := queries.New(b.db).PipelineGetBySlug(cmd.Context(), p)
					if slugErr != nil {
						return usageError{fmt.Errorf("--pipeline %q: there is no pipeline with this id or slug", p)}
					}
					id = row.ID
				}
				only = append(only, id)
			}
			var expires *time.Time
			if valid > 0 {
				at := time.Now().Add(valid)
				expires = &at
			}
			token, err := web.CreateToken(cmd.Context(), b.db, name, web.Role(role), only, expires)
			if err != nil {
				return usageError{err}
			}
			return printLine(cmd.OutOrStdout(), token)
		},
	}
	create.Flags().StringVar(&role, "role", "", "what the token may: viewer, deployer or admin")
	create.Flags().StringVar(&name, "name", "command line", "who uses it; events name it")
	create.Flags().StringSliceVar(&pipelines, "pipeline", nil, "limit it to this pipeline, by id or slug (may be repeated)")
	create.Flags().DurationVar(&valid, "valid", 0, "how long it is good for, like 720h (for ever unless told)")
	cmd.AddCommand(create)
	return cmd
}
