package cloud

import (
	"context"
	"time"
)

// Queue holds messages that others send to Troy, each at least once and in no
// order: SQS. Workers take them from it.
type Queue interface {
	// Receive waits for messages, for up to 20 seconds, and returns at most
	// ten; none is not an error. Nobody else gets them for the time of hold.
	Receive(ctx context.Context, hold time.Duration) ([]Message, error)
	// Hold keeps messages from others for d from now on; 0 gives them back.
	Hold(ctx context.Context, d time.Duration, messages ...Message) error
	// Done deletes messages. One that is gone is not an error.
	Done(ctx context.Context, messages ...Message) error
	// DeadLetters names the queue that messages go to which were received too
	// often and not done, or "" if there is none.
	DeadLetters(ctx context.Context) (string, error)
}

// Message is a message as it was received.
type Message struct {
	ID       string
	Receipt  string // for Hold and Done; differs each time that it is received
	Body     []byte
	Received int // how often, this time included
}
