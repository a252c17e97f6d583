package poll

import (
	"context"
	"errors"
	"time"
)

// ErrInterrupted is the cause of an Interruption.
var ErrInterrupted = errors.New("interrupted by the test")

// Interruption is a context that ends in the middle of an operation: when Tick
// was called, or the context asked, as often as it takes.
type Interruption struct {
	context.Context
	// At is when it ended.
	At time.Time

	cancel context.CancelCauseFunc
	left   int
}

// Interrupt returns a context that ends at the tick of this number.
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

// Err is the context's, and ticks.
func (i *Interruption) Err() error {
	i.Tick()
	return i.Context.Err()
}
