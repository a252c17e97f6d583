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
		rows[i] = []cell{{text: v.Name}, {text: a.out.when(v.ChangedAt, now)}, value}
	}
	a.out.table([]column{{title: "NAME", least: 20}, {title: "CHANGED"}, {title: "VALUE", least: 12}}, rows)
	return nil
}

func newVariableSet(a *app) *cobra.Command {
	var plain bool
	cmd := &cobra.Command{
		Use:   "set P NAME",
		Short: "Set a variable for a pipeline's builds",
		Long: `Set a variable for a pipeline's builds, from the next one on. You type the value
or, without a terminal, pass it on stdin; a line end at its end is removed. The
value is never an argument, because other users of a machine can read those.

A variable is a secret unless it is set with --plain. A secret has at least
eight characters, is never shown again and is kept out of logs, and a build that
would publish it fails.`,
		Example: `  troy variable set blog NPM_TOKEN < token.txt
  echo production | troy variable set blog NODE_ENV --plain`,
		Args: arguments(2, "a pipeline", "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return variableSet(cmd.Context(), a, args[0], args[1], plain)
		},
	}
	cmd.Flags().BoolVar(&plain, "plain", false, "not a secret; it may be shown, logged and published")
	return cmd
}

func variableSet(ctx context.Context, a *app, pipeline, name string, plain bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	value, err := a.readValue(ctx, name, plain)
	if err != nil {
		return err
	}
	v, err := c.SetVariable(ctx, pipeline, name, value, !plain)
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
	_, _ = fmt.Fprintf(a.err, "%s is set for the next build of %s.\n", clean(v.Name), clean(pipeline))
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
	cmd := &cobra.Command{
		Use:   "unset P NAME",
		Short: "Remove a variable from a pipeline's builds",
		Long: `Remove a variable from a pipeline's builds. Its value can't be restored. On
a terminal you confirm by typing the name; elsewhere --yes is required.`,
		Args: arguments(2, "a pipeline", "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return variableUnset(cmd.Context(), a, args[0], args[1], yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func variableUnset(ctx context.Context, a *app, pipeline, name string, yes bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if !yes {
		warning := fmt.Sprintf("This removes %s from %s. Its value can't be restored.", clean(name), clean(pipeline))
		if err := a.sure(ctx, warning, name); err != nil {
			return err
		}
	}
	if err := c.RemoveVariable(ctx, pipeline, name); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.err, "The next build of %s will not have %s.\n", clean(pipeline), clean(name))
	return nil
}
