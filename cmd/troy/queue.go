package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

// maxQueue is how many rows queue reads without --all.
const maxQueue = 2000

func newQueue(a *app) *cobra.Command {
	var all bool
	var f client.WorkFilter
	cmd := &cobra.Command{
		Use:   "queue [P]",
		Short: "Show the work that is running, waiting and failing",
		Long: `Show the work that is running, waiting and failing, of all pipelines or of P. Of
what waits, PLACE is the place in its queue; of what fails, WHY has the cause and
the time of the next attempt. Work that is due later, such as clean-ups, is shown
with --all.

The commands below act on that work. If a pipeline has the name of one of them,
give its id.`,
		Args: arguments(0, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Pipeline = first(args)
			return queueList(cmd.Context(), a, f, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "show also what is due later")
	cmd.Flags().StringVar(&f.Queue, "queue", "", "show only the work of a `queue`: builds, domains, forge, previews, quick or thumbnails")
	cmd.Flags().StringVar(&f.Kind, "kind", "", "show only work of a `kind`, such as deployment:build")
	cmd.Flags().StringVar(&f.State, "state", "", "show only work in a `state`: running, waiting, failing or later")
	cmd.AddCommand(newQueueRing(a), newQueueRetry(a), newQueueCancel(a), newQueuePause(a), newQueueResume(a))
	return cmd
}

func queueList(ctx context.Context, a *app, f client.WorkFilter, all bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	list := []client.Work{}
	read, more := 0, false
	for w, err := range c.Queue(ctx, f) {
		if err != nil {
			return err
		}
		if read++; read > maxQueue && !all {
			more = true
			break
		}
		if all || f.State != "" || w.State != "later" {
			list = append(list, w)
		}
	}
	if more {
		_, _ = fmt.Fprintf(a.err, "There is more than the first %d tasks; --all shows them.\n", maxQueue)
	}
	if a.json {
		return a.printJSON(list)
	}
	if err := a.tellPauses(ctx, c); err != nil {
		return err
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.err, "Nothing is running, waiting or failing.")
		return nil
	}
	a.queueTable(list)
	return nil
}

func (a *app) queueTable(list []client.Work) {
	now := time.Now()
	rows := make([][]cell, len(list))
	for i, w := range list {
		place, number := "", ""
		if w.Position != nil {
			place = fmt.Sprint(*w.Position)
		}
		if w.Number != nil {
			number = fmt.Sprintf(" %d", *w.Number)
		}
		state := cell{text: w.State, colour: map[string]string{"running": green, "failing": red, "waiting": yellow}[w.State]}
		_, kind, found := strings.Cut(w.Kind, ":")
		if !found {
			kind = w.Kind
		}
		rows[i] = []cell{
			state, {text: strings.ReplaceAll(kind, "-", " ") + number}, {text: w.Pipeline}, {text: place}, {text: a.whyWork(w, now)},
			{text: w.Queue}, {text: a.out.when(w.Since, now)}, {text: w.SubjectID.String()},
		}
	}
	a.out.table([]column{
		{title: "STATE"}, {title: "WORK", least: 10}, {title: "PIPELINE", least: 10}, {title: "PLACE"}, {title: "WHY", least: 20},
		{title: "QUEUE", wide: true}, {title: "SINCE", wide: true}, {title: "SUBJECT", wide: true},
	}, rows)
}

// whyWork says why a task is in its state.
func (a *app) whyWork(w client.Work, now time.Time) string {
	switch w.State {
	case "running":
		text := w.Why + ", requested " + a.out.when(w.Since, now)
		if w.LeaseUntil != nil {
			text += "; lease until " + a.out.until(*w.LeaseUntil, now)
		}
		if w.Worker != "" {
			text += "; " + w.Worker
		}
		if w.Attempts > 1 {
			text += fmt.Sprintf("; attempt %d", w.Attempts)
		}
		return text
	case "failing":
		if strings.Contains(w.Why, "paused") {
			return w.Why
		}
		return fmt.Sprintf("next try %s; attempt %d: %s", a.out.until(w.DueAt, now), w.Attempts, w.Cause)
	case "later":
		return "due " + a.out.until(w.DueAt, now)
	}
	return w.Why
}
