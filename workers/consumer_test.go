package workers

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
)

// line is a queue in memory that records its calls.
type line struct {
	mu       sync.Mutex
	waiting  []cloud.Message
	receives int
	events   chan string // "done m1", "hold m1 0s", "receive"
	dead     string
	err      error // of the next Receive
}

func newLine(bodies ...string) *line {
	l := &line{events: make(chan string, 1000), dead: "dead"}
	for _, body := range bodies {
		l.waiting = append(l.waiting, cloud.Message{ID: body, Receipt: body, Body: []byte(body), Received: 1})
	}
	return l
}

func (l *line) Receive(ctx context.Context, _ time.Duration) ([]cloud.Message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.receives++
	if err := l.err; err != nil {
		l.err = nil
		return nil, err
	}
	taken := l.waiting
	if l.waiting = nil; taken == nil {
		l.mu.Unlock()
		<-ctx.Done()
		l.mu.Lock()
		return nil, ctx.Err()
	}
	return taken, nil
}

func (l *line) Hold(_ context.Context, d time.Duration, messages ...cloud.Message) error {
	for _, m := range messages {
		l.events <- "hold " + m.ID + " " + d.String()
	}
	return nil
}

func (l *line) Done(_ context.Context, messages ...cloud.Message) error {
	for _, m := range messages {
		l.events <- "done " + m.ID
	}
	return nil
}

func (l *line) DeadLetters(context.Context) (string, error) { return l.dead, nil }

// consume runs a consumer until the returned function is called.
func consume(t *testing.T, c Consumer) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	c.Log = slog.New(slog.DiscardHandler)
	go func() { ended <- c.Run(ctx) }()
	return func() error { cancel(); return <-ended }
}

// A taken message is deleted, an invalid one is left, and neither delays the
// next.
func TestConsumerLeavesWhatCannotBeTakenIn(t *testing.T) {
	t.Parallel()
	l := newLine("good", "no json", "nowhere", "better")
	l.err = errors.New("connection reset") // of the first Receive
	refused := make(chan struct{}, 10)
	stop := consume(t, Consumer{Queue: l, Refused: func() { refused <- struct{}{} }, Take: func(_ context.Context, body []byte) (intake.Outcome, error) {
		switch string(body) {
		case "no json":
			return intake.Outcome{}, troy.Errorf(troy.Invalid, "it is not JSON")
		case "nowhere":
			return intake.Outcome{}, troy.Errorf(troy.NotFound, "no such pipeline")
		}
		return intake.Outcome{Result: intake.Created}, nil
	}})
	got := []string{<-l.events, <-l.events}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"done good", "done better"}; !slices.Equal(got, want) || len(l.events) != 0 {
		t.Errorf("the queue was called with %q and %d more, want %q", got, len(l.events), want)
	}
	if len(refused) != 2 {
		t.Errorf("%d were reported as refused, want 2", len(refused))
	}
}

// While Troy can't take a message, the message is held and no other is
// received. In the end it is taken and deleted once.
func TestConsumerHoldsWhileTroyIsAtFault(t *testing.T) {
	t.Parallel()
	l := newLine("one", "two")
	mended := make(chan struct{})
	stop := consume(t, Consumer{Queue: l, Hold: 300 * time.Millisecond, Take: func(context.Context, []byte) (intake.Outcome, error) {
		select {
		case <-mended:
			return intake.Outcome{}, nil
		default:
			return intake.Outcome{}, errors.New("the database is away")
		}
	}})
	if first, second := <-l.events, <-l.events; first != "hold one 300ms" || second != "hold two 300ms" {
		t.Errorf("the queue was called with %q and %q", first, second)
	}
	l.mu.Lock()
	receives := l.receives
	l.mu.Unlock()
	if receives != 1 {
		t.Errorf("received %d times meanwhile", receives)
	}
	close(mended)
	var done []string
	for len(done) < 2 {
		if e := <-l.events; e == "done one" || e == "done two" {
			done = append(done, e)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(done, []string{"done one", "done two"}) {
		t.Errorf("done: %q", done)
	}
}

// A consumer that stops gives back the messages that it has not taken.
func TestConsumerGivesBack(t *testing.T) {
	t.Parallel()
	l := newLine("one", "two", "three")
	at := make(chan struct{})
	stop := consume(t, Consumer{Queue: l, Take: func(ctx context.Context, body []byte) (intake.Outcome, error) {
		if string(body) == "two" {
			close(at)
			<-ctx.Done()
			return intake.Outcome{}, ctx.Err()
		}
		return intake.Outcome{}, nil
	}})
	<-at
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	close(l.events)
	var got []string
	for e := range l.events {
		got = append(got, e)
	}
	if want := []string{"done one", "hold two 0s", "hold three 0s"}; !slices.Equal(got, want) {
		t.Errorf("the queue was called with %q, want %q", got, want)
	}
}

func TestConsumerWantsADeadLetterQueue(t *testing.T) {
	t.Parallel()
	l := newLine("one")
	l.dead = ""
	err := Consumer{Queue: l, Log: slog.New(slog.DiscardHandler)}.Run(t.Context())
	if err == nil || l.receives != 0 {
		t.Errorf("a queue without a dead-letter queue: %v after %d receives", err, l.receives)
	}
}
