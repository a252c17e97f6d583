package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

// mostValue is the maximum size of a value to read, in bytes. The server's
// limit is lower.
const mostValue = 64 << 10

func newVariableList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list P",
		Short: "List a pipeline's variables; the values of secrets are never shown",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return variableList(cmd.Context(), a, args[0])
		},
	}
}

func variableList(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.Variables(ctx, pipeline)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.err, "No variables.")
		return nil
	}
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, v := range list {
		value := cell{text: "(secret)", colour: yellow}
		if v.Value != nil {
			value = cell{text: *v.Value}
		} else if v.Problem != "" {
			value = cell{text: "(" + v.Problem + ")", colour: red}
		}
		rows[i] = []cell{{text: v.Name}, {text: v.Context}, {text: a.out.when(v.ChangedAt, now)}, value}
	}
	a.out.table([]column{{title: "NAME", least: 20}, {title: "CONTEXT", least: 10}, {title: "CHANGED"}, {title: "VALUE", least: 12}}, rows)
	return nil
}

func newVariableSet(a *app) *cobra.Command {
	var plain bool
	var of string
	cmd := &cobra.Command{
		Use:   "set P NAME",
		Short: "Set a variable for a pipeline's builds",
		Long: `Set a variable for a pipeline's builds, from the next one on. You type the value
or, without a terminal, pass it on stdin; a line end at its end is removed. The
value is never an argument, because other users of a machine can read those.

A variable is a secret unless it is set with --plain. A secret has at least
eight characters, is never shown again and is kept out of logs, and a build that
would publish it fails.

The context has the builds that get the value: all, production, preview, or the
previews of one branch. A build gets the value of the most specific context. By
default a secret is for production alone, and a value with --plain for all
builds; it then replaces the variable's only value for one of these two.`,
		Example: `  troy variable set blog NPM_TOKEN < token.txt
  echo production | troy variable set blog NODE_ENV --plain
  troy variable set blog API_KEY --context preview < test-key.txt
  echo blue | troy variable set blog THEME --plain --context preview:feature/x`,
		Args: arguments(2, "a pipeline", "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return variableSet(cmd.Context(), a, args[0], args[1], of, plain)
		},
	}
	cmd.Flags().BoolVar(&plain, "plain", false, "not a secret; it may be shown, logged and published")
	cmd.Flags().StringVar(&of, "context", "", "which `builds` get it: production, preview, preview:x")
	return cmd
}

func variableSet(ctx context.Context, a *app, pipeline, name, of string, plain bool) error {
	if of != "" {
		if err := troy.CheckContext(of); err != nil {
			return err
		}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	value, err := a.readValue(ctx, name, plain)
	if err != nil {
		return err
	}
	v, err := c.SetVariable(ctx, pipeline, name, client.VariableValue{Value: value, Secret: !plain, Context: of})
	if e, ok := errors.AsType[*troy.Error](err); ok && e.Field == "value" && !plain {
		e.Details = nil // they refer to the API
		return &adviceError{e, "If it is not a secret, use --plain."}
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(v)
	}
	_, _ = fmt.Fprintf(a.err, "%s is set for the next build of %s (context %s).\n", clean(v.Name), clean(pipeline), clean(v.Context))
	return nil
}

// readValue asks for a value, which a terminal shows only with plain, or reads
// all of stdin.
func (a *app) readValue(ctx context.Context, name string, plain bool) (string, error) {
	if !a.canAsk() {
		value, err := io.ReadAll(io.LimitReader(a.in, mostValue+1))
		if err != nil {
			return "", fmt.Errorf("read the value of %s: %w", name, err)
		}
		if len(value) > mostValue {
			return "", troy.Errorf(troy.TooLarge, "stdin has more than %d bytes", mostValue).At("value")
		}
		text := strings.TrimSuffix(string(value), "\n")
		return strings.TrimSuffix(text, "\r"), nil
	}
	return a.ask(ctx, "Value of "+name, !plain)
}

func newVariableUnset(a *app) *cobra.Command {
	var yes bool
	var of string
	cmd := &cobra.Command{
		Use:   "unset P NAME",
		Short: "Remove a variable from a pipeline's builds",
		Long: `Remove a variable from a pipeline's builds. Its value can't be restored. On
a terminal you confirm by typing the name; elsewhere --yes is required. If the
variable has values for several contexts, choose one with --context.`,
		Example: "  troy variable unset blog API_KEY --context preview",
		Args:    arguments(2, "a pipeline", "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return variableUnset(cmd.Context(), a, args[0], args[1], of, yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	cmd.Flags().StringVar(&of, "context", "", "remove only the value for this `context`")
	return cmd
}

func variableUnset(ctx context.Context, a *app, pipeline, name, of string, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	shown := clean(name)
	if of != "" {
		shown += " (context " + clean(of) + ")"
	}
	if !yes {
		warning := fmt.Sprintf("This removes %s from %s. Its value can't be restored.", shown, clean(pipeline))
		if err := a.sure(ctx, warning, name); err != nil {
			return err
		}
	}
	if err := c.RemoveVariable(ctx, pipeline, name, of); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.err, "The next build of %s will not have %s.\n", clean(pipeline), shown)
	return nil
}
