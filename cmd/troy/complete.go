package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
)

const (
	// maxCompleted is the maximum number of names to offer, and completeTime is
	// how long the shell waits for them.
	maxCompleted = 200
	completeTime = 3 * time.Second
)

// completes completes the arguments of a command that takes words: pipelines,
// and numbers of deployments.
func (a *app) completes(words []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
		defer cancel()
		var out []string
		deployments := len(words) > 1 && strings.Trim(words[1], "[]") == "D"
		switch {
		case len(args) == 0:
			out = a.completePipelines(ctx, begun)
			if l, err := a.findLink(); err == nil && l != nil && deployments {
				out = append(a.completeDeployments(ctx, l.Pipeline, begun), out...)
			}
		case len(args) == 1 && deployments:
			out = a.completeDeployments(ctx, args[0], begun)
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// completePipelines returns the pipelines whose slugs begin with begun.
func (a *app) completePipelines(ctx context.Context, begun string) []string {
	c, err := a.connect()
	if err != nil {
		return nil
	}
	c.Attempts = 1
	var out []string
	for p, err := range c.Pipelines(ctx, "") {
		if err != nil || len(out) == maxCompleted {
			break
		}
		if strings.HasPrefix(p.Slug, begun) {
			out = append(out, p.Slug+"\t"+clean(p.Status.String()))
		}
	}
	return out
}

func (a *app) completeDeployments(ctx context.Context, pipeline, begun string) []string {
	c, err := a.connect()
	if err != nil {
		return nil
	}
	c.Attempts = 1
	var out []string
	for d, err := range c.Deployments(ctx, pipeline) {
		if err != nil || len(out) == maxCompleted {
			break
		}
		if number := fmt.Sprint(d.Number); strings.HasPrefix(number, begun) {
			out = append(out, number+"\t"+clean(strings.TrimRight(d.State.String()+" "+d.Message, " ")))
		}
	}
	return out
}

// completeFlags completes the values of flags.
func (a *app) completeFlags(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		a.completeFlags(cmd)
	}
	for name, values := range map[string]func(ctx context.Context, begun string) []string{
		"pipeline": a.completePipelines,
		"status": func(context.Context, string) []string {
			var out []string
			for _, s := range troy.Statuses() {
				out = append(out, string(s)+"\t"+s.String())
			}
			return out
		},
		"role": func(context.Context, string) []string { return []string{"viewer", "deployer", "admin"} },
	} {
		if root.LocalFlags().Lookup(name) == nil {
			continue
		}
		_ = root.RegisterFlagCompletionFunc(name, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
			defer cancel()
			return values(ctx, begun), cobra.ShellCompDirectiveNoFileComp
		})
	}
}
