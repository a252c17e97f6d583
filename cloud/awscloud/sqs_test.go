package awscloud_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
)

// load returns the SDK's configuration for the double.
func load(t *testing.T, d *awsdouble.Double) aws.Config {
	t.Helper()
	loaded, err := awsapi.Load(t.Context(), awsapi.Config{Region: "us-east-1", Endpoint: d.URL()})
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")
	return loaded
}

func receive(t *testing.T, q *awscloud.Queue, hold time.Duration) []cloud.Message {
	t.Helper()
	messages, err := q.Receive(t.Context(), hold)
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

func TestQueue(t *testing.T) {
	t.Parallel()
	d := awsdouble.Start(awsdouble.Config{})
	defer d.Close()
	d.MakeQueue(awsdouble.QueueConfig{Name: "dead"})
	url := d.MakeQueue(awsdouble.QueueConfig{Name: "apps", DeadLetters: "dead", MaxReceives: 2})
	q := awscloud.NewQueue(load(t, d), url)
	if dead, err := q.DeadLetters(t.Context()); err != nil || dead != "arn:aws:sqs:us-east-1:123456789012:dead" {
		t.Errorf("the dead-letter queue is %q, %v", dead, err)
	}
	bare := awscloud.NewQueue(load(t, d), d.MakeQueue(awsdouble.QueueConfig{Name: "bare"}))
	if dead, err := bare.DeadLetters(t.Context()); err != nil || dead != "" {
		t.Errorf("the dead-letter queue of one without is %q, %v", dead, err)
	}
	if _, err := awscloud.NewQueue(load(t, d), d.URL()+"/123456789012/none").DeadLetters(t.Context()); err == nil {
		t.Error("a queue that does not exist is not an error")
	}

	// A message wakes a waiting receive.
	got := make(chan []cloud.Message, 1)
	go func() { m, _ := q.Receive(t.Context(), time.Minute); got <- m }()
	d.Send("apps", "one")
	first := <-got
	if len(first) != 1 || string(first[0].Body) != "one" || first[0].Received != 1 || first[0].ID == "" {
		t.Fatalf("received %+v", first)
	}
	// While held, no other receive gets it; given back, it comes at once and
	// counts.
	if err := q.Hold(t.Context(), 0, first...); err != nil {
		t.Fatal(err)
	}
	second := receive(t, q, time.Minute)
	if len(second) != 1 || second[0].Received != 2 || second[0].Receipt == first[0].Receipt {
		t.Fatalf("received again %+v", second)
	}
	if err := q.Hold(t.Context(), time.Minute, first...); err == nil {
		t.Error("a stale receipt holds")
	}
	if err := q.Done(t.Context(), second...); err != nil {
		t.Fatal(err)
	}
	if err := q.Done(t.Context(), second...); err != nil {
		t.Errorf("deleting a deleted message: %v", err)
	}
	// Twelve come in two batches.
	for range 12 {
		d.Send("apps", "many")
	}
	batch := receive(t, q, time.Minute)
	if rest := receive(t, q, time.Minute); len(batch) != 10 || len(rest) != 2 {
		t.Errorf("batches of %d and %d", len(batch), len(rest))
	}
	if err := errors.Join(q.Hold(t.Context(), time.Minute), q.Done(t.Context())); err != nil {
		t.Errorf("nothing to hold and delete: %v", err)
	}
}

// The SDK retries a lost answer; the call fails only when all of its attempts
// were lost.
func TestQueueLostAnswers(t *testing.T) {
	t.Parallel()
	var fault atomic.Int64
	d := awsdouble.Start(awsdouble.Config{Fault: func(awsdouble.Call) awsdouble.Fault { return awsdouble.Fault(fault.Load()) }})
	defer d.Close()
	url := d.MakeQueue(awsdouble.QueueConfig{Name: "apps"})
	q := awscloud.NewQueue(load(t, d), url)
	d.Send("apps", "one")
	messages := receive(t, q, time.Minute)
	for _, f := range []awsdouble.Fault{awsdouble.Throttled, awsdouble.Failed, awsdouble.LostBefore, awsdouble.LostAfter} {
		fault.Store(int64(f))
		err := q.Done(t.Context(), messages...)
		if err == nil {
			t.Errorf("fault %d: no error", f)
		}
		if kind := troy.KindOf(err); kind != troy.Internal {
			t.Errorf("fault %d is permanent: %s", f, kind)
		}
	}
	if left := d.Queued("apps"); len(left) != 0 {
		t.Errorf("the call whose answer was lost had no effect: %q is left", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fault.Store(int64(awsdouble.None))
	cancel()
	if _, err := q.Receive(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("a receive ended with %v", err)
	}
}
