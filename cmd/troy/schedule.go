package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/troy-iaas/troy/client"
)

func newScheduleShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show P",
		Short: "Show when a pipeline deploys by itself",
		Args:  arguments(1, "a pipeline"),
		RunE:  func(cmd *cobra.Command, args []string) error { return scheduleShow(cmd.Context(), a, args[0]) },
	}
}

func scheduleShow(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	s, err := c.Schedule(ctx, pipeline)
	if err != nil {
		return err
	}
	return a.printSchedule(s)
}

func newScheduleSet(a *app) *cobra.Command {
	var zone string
	cmd := &cobra.Command{
		Use:   "set P CRON",
		Short: "Deploy a pipeline's newest commit at the times of a schedule",
		Long: `Deploy the newest commit of a pipeline's branch at the times of a schedule. CRON
has the five fields of cron: minute, hour, day of the month, month and day of the
week; @hourly, @daily, @weekly and @monthly are accepted too. At least 10 minutes
must be between two times. If times were missed because Troy was down, it deploys
once.`,
		Example: `  troy schedule set blog '30 4 * * *' --zone Europe/Berlin
  troy schedule set blog @hourly`,
		Args: arguments(2, "a pipeline", "a schedule"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return scheduleSet(cmd.Context(), a, args[0], args[1], zone)
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "the time `zone`, like Europe/Berlin (default UTC)")
	return cmd
}

func scheduleSet(ctx context.Context, a *app, pipeline, cron, zone string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	s, err := c.SetSchedule(ctx, pipeline, cron, zone)
	if err != nil {
		return err
	}
	return a.printSchedule(s)
}

func newScheduleRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove P",
		Short: "Remove a pipeline's schedule",
		Args:  arguments(1, "a pipeline"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return scheduleRemove(cmd.Context(), a, args[0])
		},
	}
}

func scheduleRemove(ctx context.Context, a *app, pipeline string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if err := c.RemoveSchedule(ctx, pipeline); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "%s does not deploy by itself any more.\n", clean(pipeline))
	return err
}

func (a *app) printSchedule(s client.Schedule) error {
	if a.json {
		return a.printJSON(s)
	}
	now := time.Now()
	last := ""
	if s.LastAt != nil {
		last = a.out.when(*s.LastAt, now)
	}
	a.out.view(
		field{"Schedule", s.Cron}, field{"Zone", s.Zone}, field{"Next", a.out.until(s.NextAt, now)}, field{"Last", last}, field{"Problem", s.Problem}, field{"Set by", s.SetBy},
	)
	return nil
}

// scheduleField says in one line when a pipeline deploys by itself.
func (a *app) scheduleField(s *client.Schedule, now time.Time) string {
	if s == nil {
		return ""
	}
	text := fmt.Sprintf("%s %s, next %s", s.Cron, s.Zone, a.out.until(s.NextAt, now))
	if s.Problem != "" {
		text += "; the last time was skipped: " + s.Problem
	}
	return text
}
