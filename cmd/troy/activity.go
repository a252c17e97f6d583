package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
)

func newActivity(a *app) *cobra.Command {
	limit := number{n: 50}
	var f client.ActivityFilter
	cmd := &cobra.Command{
		Use:   "activity [P]",
		Short: "Show who did what, newest first",
		Long: `Show who did what, newest first: the events of all pipelines, or of P, and the
changes of settings, variables, locks, queues and tokens. With --json, each entry
is on a line of its own and printed as it is read; --limit 0 exports all of them.`,
		Example: `  troy activity --by "token ci" --since 7d
  troy activity --what failed_to_deploy
  troy activity --json --limit 0 >activity.jsonl`,
		Args: arguments(0, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Pipeline = first(args)
			return activity(cmd.Context(), a, f, limit.n)
		},
	}
	addLimit(cmd, &limit)
	cmd.Flags().StringVar(&f.Actor, "by", "", "show only what an `actor` did, such as \"token ci\"")
	cmd.Flags().StringVar(&f.What, "what", "", "show only an `action`, such as token.create or token, or a status")
	cmd.Flags().StringVar(&f.Search, "search", "", "show only what has this `text`")
	cmd.Flags().StringVar(&f.Since, "since", "", "show only what happened from then on: a `time`, a day, or 30d or 12h ago")
	cmd.Flags().StringVar(&f.Until, "until", "", "show only what happened before this `time`")
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func activity(ctx context.Context, a *app, f client.ActivityFilter, limit int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if a.json && a.template == nil {
		return exportActivity(ctx, a, c, f, limit)
	}
	list, err := take(c.Activity(ctx, f), limit)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.err, "No activity.")
		return nil
	}
	a.activityTable(list)
	return nil
}

// exportActivity prints entries as they are read, each on a line of its own.
func exportActivity(ctx context.Context, a *app, c *client.Client, f client.ActivityFilter, limit int) error {
	out := json.NewEncoder(a.out)
	out.SetEscapeHTML(false)
	n := 0
	for e, err := range c.Activity(ctx, f) {
		if err != nil {
			return err
		}
		if err := out.Encode(e); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		if n++; n == limit {
			break
		}
	}
	return nil
}

func (a *app) activityTable(list []client.Activity) {
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, e := range list {
		rows[i] = []cell{{text: a.out.when(e.Time, now)}, {text: e.Pipeline}, what(e), {text: e.Actor}, {text: e.Detail}, {text: e.Remote}}
	}
	a.out.table([]column{
		{title: "TIME"}, {title: "PIPELINE", least: 10}, {title: "WHAT", least: 16}, {title: "BY", least: 8},
		{title: "DETAIL", least: 12, optional: true}, {title: "FROM", wide: true},
	}, rows)
}

// what says in words what happened.
func what(e client.Activity) cell {
	if e.Action == "pipeline.status" {
		c := statusCell(e.To)
		if e.Number != nil {
			c.text += fmt.Sprintf(" (%d)", *e.Number)
		}
		return c
	}
	words := map[string]string{ //nolint:gosec // no credentials
		"pipeline.configure": "settings changed:", "pipeline.lock": "locked", "pipeline.unlock": "unlocked", "pipeline.purge": "assets purged", "pipeline.clear-cache": "build cache cleared:", "pipeline.quota": "quota set:", "pipeline.prune": "deployments pruned:",
		"pipeline.delete-now": "deletion begins at once",
		"domain.add":          "domain added:", "domain.move": "domain moved:", "domain.primary": "primary domain:", "domain.remove": "domain removed:", "domain.state": "domain checked:",
		"variable.set": "variable set:", "variable.remove": "variable removed:", "deployment.cancel": "deployment cancelled:",
		"access.password-set": "site password set:", "access.password-remove": "site password removed:", "access.allow": "network allowed:", "access.disallow": "network removed:", "access.off": "site made public", "access.scope": "protected:", "access.previews": "previews can be seen by:",
		"token.create": "token created:", "token.revoke": "token revoked:", "token.exchange": "token of CI:", "trust.add": "trust rule added:", "trust.remove": "trust rule removed:", "schedule.set": "schedule set:", "schedule.remove": "schedule removed:", "hook.create": "deploy hook created:", "hook.delete": "deploy hook deleted:", "queue.pause": "queue paused:", "queue.resume": "queue resumed:", "work.ring": "work rung:", "work.retry": "work retried:", "app.setup": "app set up:", "app.import": "app imported:",
		"preview.approve": "preview approved:", "preview.delete": "preview deleted:", "preview.pin": "preview pinned:", "preview.unpin": "preview unpinned:",
		"notifier.add": "notifier added:", "notifier.disable": "notifier disabled:", "notifier.enable": "notifier enabled:", "notifier.remove": "notifier removed:", "notifier.rotate": "notifier's key rotated:",
		"session.create": "signed in:", "session.refuse": "sign-in failed:", "session.revoke": "session revoked:",
	}
	text, known := words[e.Action]
	switch {
	case !known:
		text = e.Action + " " + e.Subject
	case strings.HasSuffix(text, ":"):
		text += " " + e.Subject
	}
	return cell{text: text}
}

const (
	// watchPause is the time between two requests of watch.
	watchPause = 2 * time.Second
	// watchFirst is how many entries watch shows at first, and watchPage how
	// many it reads at a time. Entries that are committed late are among them.
	watchFirst = 10
	watchPage  = 100
)

func newWatch(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "watch [P]",
		Short: "Show what happens, as it happens",
		Long: `Show what happens, as it happens, until it is interrupted: first the latest ten
entries of the activity of all pipelines, or of P, then each new one. With
--json, each entry is on a line of its own.`,
		Args: arguments(0, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return watchActivity(cmd.Context(), a, first(args))
		},
	}
}

func watchActivity(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	away := false
	for {
		list, err := take(c.Activity(ctx, client.ActivityFilter{Pipeline: pipeline}), watchPage)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case troy.KindOf(err) == troy.Unavailable && len(seen) > 0:
			if !away {
				_, _ = fmt.Fprintf(a.err, "Server away, retrying: %s\n", clean(err.Error()))
			}
			away = true
		case err != nil:
			return err
		default:
			if away {
				_, _ = fmt.Fprintln(a.err, "The server is back.")
			}
			away = false
			if seen, err = a.showNew(list, seen); err != nil {
				return err
			}
		}
		pause := time.NewTimer(watchPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		case <-pause.C:
		}
	}
}

// showNew prints the entries that were not seen before, oldest first, and
// returns those seen now.
func (a *app) showNew(list []client.Activity, seen map[string]bool) (map[string]bool, error) {
	now := map[string]bool{"": true} // not empty once something was asked
	for i, e := range slices.Backward(list) {
		text, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		key := string(text)
		now[key] = true
		if seen[key] || len(seen) == 0 && i >= watchFirst {
			continue
		}
		if err := a.showEntry(e, text); err != nil {
			return nil, err
		}
	}
	if err := a.out.err(); err != nil {
		return nil, errors.Join(errors.New("write the output"), err)
	}
	return now, nil
}

func (a *app) showEntry(e client.Activity, text []byte) error {
	switch {
	case a.template != nil:
		return a.printJSON(e)
	case a.json:
		_, err := fmt.Fprintf(a.out, "%s\n", text)
		return err
	}
	at := e.Time.UTC().Format(time.RFC3339)
	if a.out.terminal {
		at = e.Time.Local().Format("15:04:05")
	}
	w := what(e)
	line := strings.Join(slices.DeleteFunc([]string{at, e.Pipeline, w.text, e.Detail, "by " + e.Actor}, func(s string) bool { return s == "" }), "  ")
	line = clean(line)
	if !a.out.uncut {
		line = cut(line, a.out.width)
	}
	if w.colour != "" && a.out.colour {
		line = strings.Replace(line, clean(w.text), "\x1b["+w.colour+"m"+clean(w.text)+"\x1b[0m", 1)
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}
