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
	// consumerDelay and maxConsumerDelay bound a consumer's wait after a
	// temporary failure.
	consumerDelay    = time.Second
	maxConsumerDelay = 30 * time.Second
)

// Consumer takes messages from a queue. It deletes a message once its effect is
// committed. A message that is invalid, or names something that does not exist,
// is left to the queue, which moves it to its dead-letter queue in the end.
// While Troy itself can't accept messages, the consumer holds those it has and
// receives no more, so that a fault of Troy moves none to the dead-letter
// queue.
type Consumer struct {
	Queue cloud.Queue
	// Take handles one message. A *troy.Error of a kind that retries do not fix
	// leaves the message to the dead-letter queue; any other error is retried.
	Take func(ctx context.Context, body []byte) (intake.Outcome, error)
	// Hold is how long a received message is hidden from other consumers; it is
	// renewed while Take runs. 0 means a minute. A message that can't be taken
	// returns to the queue after it.
	Hold time.Duration
	// Refused, if not nil, is called with each message that is left to the
	// dead-letter queue.
	Refused func()
	Log     *slog.Logger
}

// TakeAppEvent is the Take of the app events' queue. It does what POST
// /events/apps does with a signed body.
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

// Run receives until the context ends. It refuses a queue without a dead-letter
// queue: invalid messages would come back without end.
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
				return errors.New("the queue has no dead-letter queue; expected a redrive policy")
			}
		}
		var messages []cloud.Message
		if err == nil {
			messages, err = c.Queue.Receive(ctx, c.Hold)
		}
		if err != nil {
			if ctx.Err() == nil {
				c.Log.Warn("receiving messages failed", "error", err, "again_in", delay)
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

// batch takes the messages one after another and keeps all of them hidden
// meanwhile.
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
					c.Log.Debug("extending the hold on messages failed; other consumers may receive them too", "error", err)
				}
			}
		}
		messages = messages[1:]
	}
}

// take takes one message and retries without limit. It returns false if the
// context ended first.
func (c Consumer) take(ctx context.Context, m cloud.Message) bool {
	log := c.Log.With("message", m.ID)
	for delay := consumerDelay; ; delay = min(2*delay, maxConsumerDelay) {
		outcome, err := c.Take(ctx, m.Body)
		switch {
		case err == nil:
			log.Info("took a message", "outcome", outcome.Result, "detail", outcome.Detail)
			// Deleting it is optional: a message that is received again is a
			// duplicate.
			if err := c.Queue.Done(ctx, m); err != nil {
				log.Debug("deleting the message failed", "error", err)
			}
			return true
		case ctx.Err() != nil:
			return false
		case permanent(err):
			log.Warn("a message was left to the dead-letter queue", "kind", troy.KindOf(err), "error", sentence(err), "received", m.Received)
			if c.Refused != nil {
				c.Refused()
			}
			return true
		}
		log.Warn("taking a message failed", "error", err, "again_in", delay)
		if !wait(ctx, delay) {
			return false
		}
	}
}

// giveBack makes untaken messages visible to other consumers.
func (c Consumer) giveBack(ctx context.Context, messages []cloud.Message) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := c.Queue.Hold(ctx, 0, messages...); err != nil {
		c.Log.Debug("untaken messages stay hidden until their hold ends", "error", fmt.Errorf("give back: %w", err))
	}
}

// wait waits for d and reports whether the context is still valid.
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
