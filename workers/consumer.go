package workers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
)

const (
	// messageHold is the default of Consumer.Hold.
	messageHold = time.Minute
	// consumerDelay and maxConsumerDelay bound how long a consumer waits after
	// something failed that may pass by itself.
	consumerDelay    = time.Second
	maxConsumerDelay = 30 * time.Second
)

// Consumer takes the messages of a queue in. A message is deleted once its
// effect is committed. One that can't be taken in, since it makes no sense or
// asks for what there is not, is left to the queue, which hands it to its
// dead-letter queue in the end. While Troy itself can't take messages in, it
// holds those it has and receives no more, so that none gets there for a fault
// of Troy's.
type Consumer struct {
	Queue cloud.Queue
	// Take takes one message in. A *troy.Error of a kind that repeating will
	// not mend leaves it to the dead-letter queue; any other is tried again.
	Take func(ctx context.Context, body []byte) (intake.Outcome, error)
	// Hold is how long a message that was received is kept from others, renewed
	// while it is worked on; 0 means a minute. One that can't be taken in comes
	// back after it.
	Hold time.Duration
	// Refused, if not nil, is told of each message that is left to the
	// dead-letter queue.
	Refused func()
	Log     *slog.Logger
}

// TakeAppEvent is the Take of the app events' queue: the same as POST
// /events/apps does with a body that was signed.
func TakeAppEvent(in *intake.Intake) func(context.Context, []byte) (intake.Outcome, error) {
	return func(ctx context.Context, body []byte) (intake.Outcome, error) {
		event, err := intake.ParseAppEvent(body)
		if err != nil {
			return intake.Outcome{}, err
		}
		return in.AppEvent(ctx, event)
	}
}

// TakeBuildRequest is the Take of the build requests' queue.
func TakeBuildRequest(in *intake.Intake) func(context.Context, []byte) (intake.Outcome, error) {
	return func(ctx context.Context, body []byte) (intake.Outcome, error) {
		request, err := intake.ParseBuildRequest(body)
		if err != nil {
			return intake.Outcome{}, err
		}
		return in.BuildRequested(ctx, request)
	}
}

// Run receives until the context ends. A queue without a dead-letter queue is
// refused: what can't be taken in would come back again and again.
func (c Consumer) Run(ctx context.Context) error {
	if c.Hold <= 0 {
		c.Hold = messageHold
	}
	delay := consumerDelay
	dead := ""
	for ctx.Err() == nil {
		var err error
		if dead == "" {
			if dead, err = c.Queue.DeadLetters(ctx); err == nil && dead == "" {
				return errors.New("the queue has no dead-letter queue (redrive policy)")
			}
		}
		var messages []cloud.Message
		if err == nil {
			messages, err = c.Queue.Receive(ctx, c.Hold)
		}
		if err != nil {
			if ctx.Err() == nil {
				c.Log.Warn("no messages could be received", "error", err, "again_in", delay)
			}
			wait(ctx, delay)
			delay = min(2*delay, maxConsumerDelay)
			continue
		}
		delay = consumerDelay
		c.batch(ctx, messages)
	}
	return nil
}

// batch takes the messages in, one after another, and holds them meanwhile.
func (c Consumer) batch(ctx context.Context, messages []cloud.Message) {
	beat := time.NewTicker(c.Hold / 3)
	defer beat.Stop()
	for len(messages) > 0 {
		taken := make(chan bool, 1)
		go func() { taken <- c.take(ctx, messages[0]) }()
		for done := false; !done; {
			select {
			case ok := <-taken:
				if !ok {
					c.giveBack(ctx, messages)
					return
				}
				done = true
			case <-beat.C:
				if err := c.Queue.Hold(ctx, c.Hold, messages...); err != nil {
					c.Log.Debug("messages could not be held; others may get them too", "error", err)
				}
			}
		}
		messages = messages[1:]
	}
}

// take takes one message in, however long that takes. It reports false when
// the context ended before.
func (c Consumer) take(ctx context.Context, m cloud.Message) bool {
	log := c.Log.With("message", m.ID)
	for delay := consumerDelay; ; delay = min(2*delay, maxConsumerDelay) {
		outcome, err := c.Take(ctx, m.Body)
		switch {
		case err == nil:
			log.Info("took a message in", "outcome", outcome.Result, "detail", outcome.Detail)
			// Deleting it is a courtesy: received again, it is a duplicate.
			if err := c.Queue.Done(ctx, m); err != nil {
				log.Debug("the message could not be deleted", "error", err)
			}
			return true
		case ctx.Err() != nil:
			return false
		case permanent(err):
			log.Warn("a message is left to the dead-letter queue", "kind", troy.KindOf(err), "error", sentence(err), "received", m.Received)
			if c.Refused != nil {
				c.Refused()
			}
			return true
		}
		log.Warn("a message could not be taken in", "error", err, "again_in", delay)
		if !wait(ctx, delay) {
			return false
		}
	}
}

// giveBack lets others have what was not taken in.
func (c Consumer) giveBack(ctx context.Context, messages []cloud.Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := c.Queue.Hold(ctx, 0, messages...); err != nil {
		c.Log.Debug("messages come back only after their hold", "error", fmt.Errorf("give back: %w", err))
	}
}

// wait waits, and reports whether the context is still good.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
