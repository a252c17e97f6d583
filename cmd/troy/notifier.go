package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newNotifierAdd(a *app) *cobra.Command {
	var n client.NewNotifier
	var to []string
	kind := required{missing: "the kind is missing: webhook, slack, discord, teams or email"}
	cmd := &cobra.Command{
		Use:   "add --kind KIND --to TARGET",
		Short: "Tell a webhook, a channel or people about events",
		Long: `Tell a webhook, a channel or people about events of pipelines. With --to -
the address is read from stdin: anyone who knows a channel's address can write
there.

The key that signs a webhook is printed on stdout, once. The events are
deployment.failed, deployment.recovered, deployment.live, preview.waiting,
domain.failing, quota.near and notifier.disabled (default: all except
deployment.live).`,
		Example: `  troy notifier add --kind webhook --to https://example.com/hooks/troy
  troy notifier add --kind slack --to - --pipeline blog < slack-address
  troy notifier add --kind email --to ops@example.com --to ada@example.com`,
		Args: arguments(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n.Kind = kind.text
			return notifierAdd(cmd.Context(), a, n, to)
		},
	}
	cmd.Flags().Var(&kind, "kind", "the `kind`: webhook, slack, discord, teams or email (required)")
	cmd.Flags().StringArrayVar(&to, "to", nil, "the `address`: https://…, or of e-mail, repeatable (required)")
	cmd.Flags().StringVarP(&n.Pipeline, "pipeline", "p", "", "only about this `pipeline` (default: all)")
	cmd.Flags().StringSliceVar(&n.Events, "event", nil, "only this `event`; repeatable")
	return cmd
}

// maxTarget is the maximum length of an address on stdin.
const maxTarget = 4 << 10

func notifierAdd(ctx context.Context, a *app, n client.NewNotifier, to []string) error {
	if len(to) == 1 && to[0] == "-" {
		text, err := io.ReadAll(io.LimitReader(a.in, maxTarget))
		if err != nil {
			return fmt.Errorf("read the address from stdin: %w", err)
		}
		to = []string{strings.TrimSpace(string(text))}
	}
	switch {
	case len(to) == 0 || to[0] == "":
		return troy.Errorf(troy.Invalid, "the target is missing: name it with --to")
	case n.Kind == "email":
		for _, list := range to {
			for address := range strings.SplitSeq(list, ",") {
				n.To = append(n.To, strings.TrimSpace(address))
			}
		}
	case len(to) > 1:
		return troy.Errorf(troy.Invalid, "only e-mail has more than one target; expected one --to")
	default:
		n.URL = to[0]
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	made, err := c.AddNotifier(ctx, n)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(made)
	}
	_, _ = fmt.Fprintf(a.err, "Added the notifier %s for %s.\nTo try it: troy notifier test %[1]s\n", shortToken(made.ID), clean(made.Label))
	if made.SigningKey != "" {
		_, _ = fmt.Fprintln(a.err, "Its signing key, which is not shown again:")
		_, _ = fmt.Fprintln(a.out, clean(made.SigningKey))
	}
	return nil
}

func newNotifierList(a *app) *cobra.Command {
	var pipeline string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List who is told about events",
		Args:  arguments(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return notifierList(cmd.Context(), a, pipeline) },
	}
	cmd.Flags().StringVarP(&pipeline, "pipeline", "p", "", "only what concerns this `pipeline`")
	return cmd
}

func notifierList(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list, err := take(c.Notifiers(ctx, pipeline), 0)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintf(a.err, "No one is told about events. To change that, see: troy notifier add --help\n")
		return nil
	}
	rows := make([][]cell, len(list))
	for i, n := range list {
		state, of := cell{text: "on"}, "all"
		switch {
		case n.DisabledAt != nil:
			state = cell{text: "disabled: " + n.DisabledReason, colour: red}
		case n.Failures > 0:
			state = cell{text: "failing", colour: yellow}
		}
		if n.PipelineID != nil {
			of = n.Slug
		}
		rows[i] = []cell{{text: shortToken(n.ID)}, {text: n.Kind}, {text: n.Label}, {text: of}, state, {text: strings.Join(n.Events, ", ")}, {text: n.ID.String()}}
	}
	a.out.table([]column{
		{title: "NOTIFIER"}, {title: "KIND"}, {title: "TO", least: 12}, {title: "PIPELINE"}, {title: "STATE", least: 8},
		{title: "EVENTS", wide: true}, {title: "ID", wide: true},
	}, rows)
	return nil
}

// notifierCommand is a command about one notifier, which it finds by the end of
// its id.
func notifierCommand(a *app, use, short string, do func(context.Context, *client.Client, client.Notifier) error) *cobra.Command {
	return &cobra.Command{
		Use:   use + " NOTIFIER",
		Short: short,
		Long:  short + ". NOTIFIER is the short id that troy notifier list\nshows, or the whole id.",
		Args:  arguments(1, "a notifier"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, n, err := findNotifier(cmd.Context(), a, args[0])
			if err != nil {
				return err
			}
			return do(cmd.Context(), c, n)
		},
	}
}

func findNotifier(ctx context.Context, a *app, ref string) (*client.Client, client.Notifier, error) {
	var found []client.Notifier
	c, err := a.connect()
	if err != nil {
		return nil, client.Notifier{}, err
	}
	if id, err := uuid.Parse(ref); err == nil {
		// A token for some pipelines may not list all notifiers.
		n, err := c.Notifier(ctx, id)
		return c, n, err
	}
	for n, err := range c.Notifiers(ctx, "") {
		if err != nil {
			return nil, n, err
		}
		if matches(n.ID, ref) {
			found = append(found, n)
		}
	}
	if len(found) != 1 {
		return nil, client.Notifier{}, troy.Errorf(troy.NotFound, "notifier not found: %q; troy notifier list shows them", troy.Clip(ref))
	}
	return c, found[0], nil
}

func matches(id uuid.UUID, ref string) bool {
	return id.String() == ref || len(ref) >= 8 && strings.HasSuffix(id.String(), ref)
}

func newNotifierRemove(a *app) *cobra.Command {
	return notifierCommand(a, "remove", "Remove a notifier with its deliveries", func(ctx context.Context, c *client.Client, n client.Notifier) error {
		if err := c.RemoveNotifier(ctx, n.ID); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.err, "The notifier %s is removed.\n", shortToken(n.ID))
		return err
	})
}

func newNotifierEnable(a *app) *cobra.Command {
	return notifierCommand(a, "enable", "Enable a notifier that Troy has disabled", func(ctx context.Context, c *client.Client, n client.Notifier) error {
		now, err := c.EnableNotifier(ctx, n.ID)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(now)
		}
		_, err = fmt.Fprintf(a.err, "The notifier %s is enabled. To try it: troy notifier test %[1]s\n", shortToken(n.ID))
		return err
	})
}

func newNotifierRotate(a *app) *cobra.Command {
	cmd := notifierCommand(a, "rotate", "Give a webhook a new signing key", func(ctx context.Context, c *client.Client, n client.Notifier) error {
		now, err := c.RotateNotifier(ctx, n.ID)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(now)
		}
		_, _ = fmt.Fprintf(a.err, "Rotated the key of the notifier %s.\nEarlier keys sign too for 24 hours.\nThe new signing key, which is not shown again:\n", shortToken(n.ID))
		_, err = fmt.Fprintln(a.out, clean(now.SigningKey))
		return err
	})
	cmd.Long = `Give a webhook a new signing key, which is printed on stdout, once. For 24 hours
the key before it signs too. Give the receiver the new key in that time.

NOTIFIER is the short id that troy notifier list shows, or the whole id.`
	return cmd
}

func newNotifierTest(a *app) *cobra.Command {
	return notifierCommand(a, "test", "Send a test message", func(ctx context.Context, c *client.Client, n client.Notifier) error {
		d, err := c.TestNotifier(ctx, n.ID)
		if err != nil {
			return err
		}
		return sentAgain(a, n, d)
	})
}

func sentAgain(a *app, n client.Notifier, d client.Delivery) error {
	if a.json {
		return a.printJSON(d)
	}
	_, err := fmt.Fprintf(a.err, "The delivery %s is being sent.\nFor its result: troy notifier deliveries %s\n", shortToken(d.ID), shortToken(n.ID))
	return err
}

func newNotifierDeliveries(a *app) *cobra.Command {
	limit := 20
	cmd := notifierCommand(a, "deliveries", "List what a notifier was sent, newest first", func(ctx context.Context, c *client.Client, n client.Notifier) error {
		list, err := take(c.Deliveries(ctx, n.ID), limit)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(list)
		}
		now := time.Now()
		rows := make([][]cell, len(list))
		for i, d := range list {
			state := cell{text: d.State}
			switch d.State {
			case "failed":
				state.colour = red
			case "delivered":
				state.colour = green
			}
			rows[i] = []cell{
				{text: shortToken(d.ID)}, {text: d.Event}, {text: a.out.when(d.CreatedAt, now)}, state, {text: strconv.Itoa(d.Attempts)},
				{text: d.Answer}, {text: d.ID.String()},
			}
		}
		a.out.table([]column{
			{title: "DELIVERY"}, {title: "EVENT"}, {title: "TIME"}, {title: "STATE"}, {title: "TRIES"}, {title: "ANSWER", least: 8}, {title: "ID", wide: true},
		}, rows)
		return nil
	})
	cmd.Flags().IntVarP(&limit, "limit", "n", limit, "the maximum `number` (0: all)")
	return cmd
}

func newNotifierRedeliver(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "redeliver NOTIFIER DELIVERY",
		Short: "Send a delivery again, with the same id",
		Long: `Send a delivery again, with the same id. NOTIFIER and DELIVERY are short ids as
lists show them, or whole ids.`,
		Args: arguments(2, "a notifier", "a delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, n, err := findNotifier(cmd.Context(), a, args[0])
			if err != nil {
				return err
			}
			for d, err := range c.Deliveries(cmd.Context(), n.ID) {
				if err != nil {
					return err
				}
				if matches(d.ID, args[1]) {
					if d, err = c.Redeliver(cmd.Context(), n.ID, d.ID); err != nil {
						return err
					}
					return sentAgain(a, n, d)
				}
			}
			return troy.Errorf(troy.NotFound, "delivery not found: %q; troy notifier deliveries shows them", troy.Clip(args[1]))
		},
	}
}
