package cloud

import (
	"context"
	"time"
)

// Queue holds messages to Troy, each delivered at least once and in any order:
// SQS. Workers take messages from it.
type Queue interface {
	// Receive waits up to 20 seconds for messages and returns at most ten, or
	// none. No other receiver gets them for the time of hold.
	Receive(ctx context.Context, hold time.Duration) ([]Message, error)
	// Hold hides messages from other receivers for d from now on; 0 gives them
	// back.
	Hold(ctx context.Context, d time.Duration, messages ...Message) error
	// Done deletes messages. It ignores deleted ones.
	Done(ctx context.Context, messages ...Message) error
	// DeadLetters names the dead-letter queue, to which messages go that were
	// received too often without Done, or "" if there is none.
	DeadLetters(ctx context.Context) (string, error)
}

// Message is a received message.
type Message struct {
	ID       string
	Receipt  string // for Hold and Done; changes with each receive
	Body     []byte
	Received int // the number of receives, including this one
}
