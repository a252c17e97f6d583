package awsdouble

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// QueueConfig configures a queue.
type QueueConfig struct {
	Name string
	// DeadLetters is the name of the queue for messages that were received
	// MaxReceives times; empty means none.
	DeadLetters string
	MaxReceives int
}

// queues is SQS, in its JSON protocol. See
// https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
type queues struct {
	d *Double

	mu      sync.Mutex
	byName  map[string]*queue
	changed chan struct{} // closed and replaced when a message may have arrived
}

type queue struct {
	QueueConfig
	messages []*queued
}

type queued struct {
	id, receipt, body string
	received          int
	visible           time.Time
}

func newQueues(d *Double) *queues {
	return &queues{d: d, byName: map[string]*queue{}, changed: make(chan struct{})}
}

// MakeQueue creates a queue and returns its URL.
func (d *Double) MakeQueue(cfg QueueConfig) string {
	s := d.queues
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[cfg.Name] = &queue{QueueConfig: cfg}
	return d.URL() + "/" + d.cfg.Account + "/" + cfg.Name
}

// Send puts a message into a queue.
func (d *Double) Send(name, body string) {
	d.queues.mu.Lock()
	defer d.queues.mu.Unlock()
	d.queues.send(d.queues.byName[name], body)
}

// Queued returns the bodies of a queue's messages, including those in flight.
func (d *Double) Queued(name string) []string {
	d.queues.mu.Lock()
	defer d.queues.mu.Unlock()
	var bodies []string
	for _, m := range d.queues.byName[name].messages {
		bodies = append(bodies, m.body)
	}
	return bodies
}

// send requires the lock.
func (s *queues) send(q *queue, body string) *queued {
	m := &queued{id: uuid.NewString(), body: body}
	q.messages = append(q.messages, m)
	close(s.changed)
	s.changed = make(chan struct{})
	return m
}

func (s *queues) action(r *http.Request, _ []byte) string {
	_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return action
}

func (s *queues) fail(w http.ResponseWriter, status int, code, message string) {
	if code == "Throttling" {
		code = "RequestThrottled"
	}
	answerJSON(w, status, map[string]string{"__type": "com.amazonaws.sqs#" + code, "message": message})
}

// answerJSON writes a response of the JSON protocols.
func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// sqsRequest has the members of all actions.
type sqsRequest struct {
	QueueURL            string `json:"QueueUrl"`
	MessageBody         string
	MaxNumberOfMessages int
	WaitTimeSeconds     int
	VisibilityTimeout   *int
	Entries             []struct {
		ID                string `json:"Id"`
		ReceiptHandle     string
		VisibilityTimeout int
	}
}

func (s *queues) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	var in sqsRequest
	if err := json.Unmarshal(body, &in); err != nil {
		s.fail(w, http.StatusBadRequest, "InvalidParameterValue", err.Error())
		return
	}
	name := in.QueueURL[strings.LastIndexByte(in.QueueURL, '/')+1:]
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.byName[name]
	if q == nil {
		s.fail(w, http.StatusBadRequest, "QueueDoesNotExist", "The specified queue does not exist.")
		return
	}
	switch action := s.action(r, body); action {
	case "SendMessage":
		answerJSON(w, http.StatusOK, map[string]string{"MessageId": s.send(q, in.MessageBody).id})
	case "ReceiveMessage":
		s.receive(w, r, q, in)
	case "ChangeMessageVisibilityBatch", "DeleteMessageBatch":
		s.change(w, q, in, action == "DeleteMessageBatch")
	case "GetQueueAttributes":
		attributes := map[string]string{"QueueArn": s.arn(q.Name)}
		if q.DeadLetters != "" {
			attributes["RedrivePolicy"] = fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, s.arn(q.DeadLetters), q.MaxReceives)
		}
		answerJSON(w, http.StatusOK, map[string]any{"Attributes": attributes})
	default:
		s.fail(w, http.StatusBadRequest, "UnsupportedOperation", action)
	}
}

func (s *queues) arn(name string) string {
	return "arn:aws:sqs:" + s.d.cfg.Region + ":" + s.d.cfg.Account + ":" + name
}

// receive waits for messages up to the caller's limit.
func (s *queues) receive(w http.ResponseWriter, r *http.Request, q *queue, in sqsRequest) {
	if in.MaxNumberOfMessages > 10 {
		s.fail(w, http.StatusBadRequest, "InvalidParameterValue", "MaxNumberOfMessages must be between 1 and 10.")
		return
	}
	deadline := time.NewTimer(time.Duration(in.WaitTimeSeconds) * time.Second)
	defer deadline.Stop()
	hold := 30 * time.Second
	if in.VisibilityTimeout != nil {
		hold = time.Duration(*in.VisibilityTimeout) * time.Second
	}
	for {
		messages, next := s.take(q, max(in.MaxNumberOfMessages, 1), hold)
		if len(messages) > 0 || in.WaitTimeSeconds == 0 {
			answerJSON(w, http.StatusOK, map[string]any{"Messages": messages})
			return
		}
		changed, wake := s.changed, time.NewTimer(time.Until(next))
		s.mu.Unlock()
		select {
		case <-changed:
		case <-wake.C:
		case <-deadline.C:
			in.WaitTimeSeconds = 0
		case <-r.Context().Done():
			in.WaitTimeSeconds = 0
		}
		wake.Stop()
		s.mu.Lock()
		if r.Context().Err() != nil {
			return // the client would not get the messages
		}
	}
}

// take makes up to n messages invisible. It also returns when the next one
// becomes visible.
func (s *queues) take(q *queue, n int, hold time.Duration) (taken []map[string]any, next time.Time) {
	now := time.Now()
	next = now.Add(time.Hour)
	var kept []*queued
	for _, m := range q.messages {
		switch {
		case m.visible.After(now):
			if m.visible.Before(next) {
				next = m.visible
			}
		case q.DeadLetters != "" && m.received >= q.MaxReceives:
			dead := s.byName[q.DeadLetters]
			dead.messages = append(dead.messages, &queued{id: m.id, body: m.body})
			continue
		case len(taken) < n:
			m.received++
			m.receipt, m.visible = uuid.NewString(), now.Add(hold)
			taken = append(taken, map[string]any{
				"MessageId": m.id, "ReceiptHandle": m.receipt, "Body": m.body,
				"Attributes": map[string]string{"ApproximateReceiveCount": fmt.Sprint(m.received)},
			})
		}
		kept = append(kept, m)
	}
	q.messages = kept
	return taken, next
}

// change deletes messages or changes when they become visible again, by their
// receipts.
func (s *queues) change(w http.ResponseWriter, q *queue, in sqsRequest, remove bool) {
	successful, failed := []map[string]any{}, []map[string]any{}
	for _, e := range in.Entries {
		found := false
		for i, m := range q.messages {
			if m.receipt != e.ReceiptHandle {
				continue
			}
			found = true
			if remove {
				q.messages = append(q.messages[:i], q.messages[i+1:]...)
			} else {
				m.visible = time.Now().Add(time.Duration(e.VisibilityTimeout) * time.Second)
			}
			break
		}
		if found || remove {
			successful = append(successful, map[string]any{"Id": e.ID})
		} else {
			failed = append(failed, map[string]any{"Id": e.ID, "SenderFault": true, "Code": "ReceiptHandleIsInvalid", "Message": "The receipt handle is not valid."})
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	answerJSON(w, http.StatusOK, map[string]any{"Successful": successful, "Failed": failed})
}
