package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newPipelineCreate(a *app) *cobra.Command {
	var (
		n      client.NewPipeline
		noProv bool
	)
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a pipeline and request its provisioning",
		Args:  arguments(1, "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Name = args[0]
			if noProv {
				n.Provision = new(bool)
			}
			return pipelineCreate(cmd.Context(), a, n)
		},
	}
	cmd.Flags().StringVar(&n.Slug, "slug", "", "the `slug`, used in the host name (default: made from NAME)")
	cmd.Flags().StringVar(&n.AppID, "app-id", "", "the `id` of the pipeline's app")
	cmd.Flags().BoolVar(&noProv, "no-provision", false, "do not request provisioning")
	return cmd
}

func pipelineCreate(ctx context.Context, a *app, n client.NewPipeline) error {
	if n.Slug != "" {
		if err := troy.CheckSlug(n.Slug); err != nil {
			return err
		}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	p, err := c.CreatePipeline(ctx, n)
	if err != nil {
		return err
	}
	return a.printPipeline(ctx, c, p)
}
