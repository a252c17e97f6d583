package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newHookCreate(a *app) *cobra.Command {
	var branch string
	cmd := &cobra.Command{
		Use:   "create P NAME",
		Short: "Create a deploy hook and print its address; it is not shown again",
		Long: `Create a deploy hook and print its address; it is not shown again. A POST
request to the address deploys the newest commit of the pipeline's branch, or
builds the preview of the branch given by --branch. Anyone who knows the address
can call it, so keep it like a password. Events show NAME.`,
		Example: `  troy hook create blog cms
  troy hook create blog nightly-preview --branch next
  curl -X POST "$(troy hook create blog cms)"`,
		Args: arguments(2, "a pipeline", "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return hookCreate(cmd.Context(), a, args[0], args[1], branch)
		},
	}
	cmd.Flags().StringVar(&branch, "branch", "", "the `branch` to build (default: the pipeline's)")
	return cmd
}

func hookCreate(ctx context.Context, a *app, pipeline, name, branch string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	h, err := c.CreateDeployHook(ctx, pipeline, name, branch)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(h)
	}
	_, _ = fmt.Fprintf(a.err, "The deploy hook %s is made. Its address is not shown again.\n", clean(h.Name))
	_, err = fmt.Fprintln(a.out, clean(h.URL))
	return err
}

func newHookList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list P",
		Short: "List a pipeline's deploy hooks",
		Args:  arguments(1, "a pipeline"),
		RunE:  func(cmd *cobra.Command, args []string) error { return hookList(cmd.Context(), a, args[0]) },
	}
}

func hookList(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.DeployHooks(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintf(a.err, "The pipeline has no deploy hooks. To make one: troy hook create %s NAME\n", clean(pipeline))
		return nil
	}
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, h := range list {
		branch, used := h.Branch, "never"
		if branch == "" {
			branch = "the pipeline's"
		}
		if h.LastUsedAt != nil {
			used = a.out.when(*h.LastUsedAt, now)
		}
		rows[i] = []cell{{text: h.Name}, {text: branch}, {text: used}, {text: a.out.when(h.CreatedAt, now)}, {text: h.CreatedBy}, {text: h.ID.String()}}
	}
	a.out.table([]column{
		{title: "NAME", least: 10}, {title: "BRANCH", least: 8}, {title: "LAST USED"}, {title: "CREATED"}, {title: "BY", least: 8, optional: true}, {title: "ID", wide: true},
	}, rows)
	return nil
}

func newHookDelete(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete P NAME",
		Short: "Delete a deploy hook; its calls are refused from then on",
		Long: `Delete a deploy hook; its calls are refused from then on. NAME is the hook's name
or id. On a terminal, the name has to be typed first; elsewhere, --yes has to be
given.`,
		Args: arguments(2, "a pipeline", "a deploy hook"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return hookDelete(cmd.Context(), a, args[0], args[1], yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func hookDelete(ctx context.Context, a *app, pipeline, ref string, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.DeployHooks(ctx, pipeline)
	if err != nil {
		return err
	}
	h, err := oneHook(list, pipeline, ref)
	if err != nil {
		return err
	}
	if !yes {
		if err := a.sure(ctx, fmt.Sprintf("This deletes the deploy hook %s.", clean(h.Name)), h.Name); err != nil {
			return err
		}
	}
	if err := c.DeleteDeployHook(ctx, pipeline, h.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "The deploy hook %s is deleted.\n", clean(h.Name))
	return err
}

// oneHook finds a hook by its name or its id.
func oneHook(list []client.DeployHook, pipeline, ref string) (client.DeployHook, error) {
	for _, h := range list {
		if h.Name == ref || h.ID.String() == ref {
			return h, nil
		}
	}
	return client.DeployHook{}, troy.Errorf(troy.NotFound, "deploy hook not found: %q; troy hook list %s shows them", troy.Clip(ref), pipeline)
}
