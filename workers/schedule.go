package workers

import (
	"context"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/intake"
)

// schedule deploys a pipeline whose schedule is due, and comes back when it is
// due next. Work that is left of a removed schedule ends here.
func (w *Workers) schedule(ctx context.Context, c *claim) error {
	next, err := w.deps.Intake.RunSchedule(ctx, c.task.Subject)
	if troy.KindOf(err) == troy.NotFound {
		return nil // the pipeline was deleted
	}
	if err != nil || next.IsZero() {
		return err
	}
	return &waitError{delay: intake.ScheduleWait(next), why: "the schedule is not due yet", fresh: true}
}

func (w *Workers) giveUpSchedule(ctx context.Context, c *claim, cause string) error {
	c.log.Error("a schedule could not be carried out; it will be retried", "pipeline", c.task.Subject, "cause", cause)
	return w.anew(ctx, c, anewDelay, cause)
}
