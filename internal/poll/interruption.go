package poll

import (
	"context"
	"errors"
	"time"
)

// ErrInterrupted is the cause of an Interruption.
var ErrInterrupted = errors.New("interrupted by the test")

// Interruption is a context that ends in the middle of an operation, after a
// number of calls of Tick or Err.
type Interruption struct {
	context.Context
	// At is the time when it ended.
	At time.Time

	cancel context.CancelCauseFunc
	left   int
}

// Interrupt returns a context that ends at the n-th tick.
func Interrupt(ctx context.Context, after int) *Interruption {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Interruption{Context: ctx, cancel: cancel, left: after}
}

// Tick counts one step of the operation.
func (i *Interruption) Tick() {
	if i.left--; i.left == 0 {
		i.At = time.Now()
		i.cancel(ErrInterrupted)
	}
}

// Err returns the context's error, and ticks.
func (i *Interruption) Err() error {
	i.Tick()
	return i.Context.Err()
}
