package main

import (
	"cmp"
	"context"
	"fmt"
	"os/user"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/tasks"
)

func newEnqueueCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "enqueue KIND [PIPELINE]",
		Short: "Ring a task by hand; in a Failed status this retries it",
		Long: "Ring a task by hand. In a Failed status this retries it; if there is nothing to do, it says why.\n\n" +
			"KIND is one of " + strings.Join(intake.RingKinds(), ", ") + ". PIPELINE is an id or a slug; the sweep needs none.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withBackend(cmd.Context(), nil, func(cfg config, b *backend) error {
				var id uuid.UUID
				if len(args) == 2 {
					var err error
					if id, err = subject(cmd.Context(), b, args[1]); err != nil {
						return usageError{err}
					}
				} else if args[0] != tasks.TypeSweep {
					return usageError{fmt.Errorf("%s needs a pipeline, by id or slug", args[0])}
				}
				result, err := b.intake(cfg).RingByHand(cmd.Context(), args[0], id, "operator "+username())
				if troy.KindOf(err) == troy.Invalid || troy.KindOf(err) == troy.NotFound {
					return usageError{err}
				}
				if err != nil {
					return err
				}
				// This process ends now, so it rings itself. The sweep rings
				// what it can't.
				if _, err := b.bell.Ring(cmd.Context(), cmp.Or(tasks.QueueOf(args[0]), tasks.QueueQuick)); err != nil {
					cmd.PrintErrln("Redis does not answer; the workers' sweep will ring:", err)
				}
				return printLine(cmd.OutOrStdout(), result)
			})
		},
	}
}

func subject(ctx context.Context, b *backend, name string) (uuid.UUID, error) {
	if id, err := uuid.Parse(name); err == nil {
		return id, nil
	}
	p, err := queries.New(b.db).PipelineGetBySlug(ctx, name)
	if err != nil {
		return uuid.Nil, fmt.Errorf("pipeline not found: %q", name)
	}
	return p.ID, nil
}

func username() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
