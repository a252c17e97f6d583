package awscloud

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

const (
	// longPoll is SQS's maximum wait of a receive.
	longPoll = 20 * time.Second
	// batch is the maximum number of messages in one call.
	batch = 10
)

// Queue is an SQS queue.
type Queue struct {
	client *sqs.Client
	url    string
}

var _ cloud.Queue = (*Queue)(nil)

// NewQueue returns the queue with this URL.
func NewQueue(loaded aws.Config, url string) *Queue {
	return &Queue{client: sqs.NewFromConfig(loaded), url: url}
}

// Receive implements cloud.Queue with a long poll.
func (q *Queue) Receive(ctx context.Context, hold time.Duration) ([]cloud.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, longPoll+awsapi.CallTimeout)
	defer cancel()
	out, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, MaxNumberOfMessages: batch, WaitTimeSeconds: int32(longPoll.Seconds()), VisibilityTimeout: seconds(hold),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameApproximateReceiveCount},
	})
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", q.url, err)
	}
	messages := make([]cloud.Message, len(out.Messages))
	for i, m := range out.Messages {
		received, err := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
		if err != nil {
			received = 1
		}
		messages[i] = cloud.Message{
			ID: aws.ToString(m.MessageId), Receipt: aws.ToString(m.ReceiptHandle), Body: []byte(aws.ToString(m.Body)), Received: received,
		}
	}
	return messages, nil
}

// Hold implements cloud.Queue with the messages' visibility timeout.
func (q *Queue) Hold(ctx context.Context, d time.Duration, messages ...cloud.Message) error {
	if len(messages) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, awsapi.CallTimeout)
	defer cancel()
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &q.url}
	for i, m := range messages {
		in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &m.Receipt, VisibilityTimeout: seconds(d),
		})
	}
	out, err := q.client.ChangeMessageVisibilityBatch(ctx, in)
	if err != nil {
		return fmt.Errorf("hold messages of %s: %w", q.url, err)
	}
	return q.failed("hold", out.Failed)
}

// Done implements cloud.Queue.
func (q *Queue) Done(ctx context.Context, messages ...cloud.Message) error {
	if len(messages) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, awsapi.CallTimeout)
	defer cancel()
	in := &sqs.DeleteMessageBatchInput{QueueUrl: &q.url}
	for i, m := range messages {
		in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &m.Receipt})
	}
	out, err := q.client.DeleteMessageBatch(ctx, in)
	if err != nil {
		return fmt.Errorf("delete messages of %s: %w", q.url, err)
	}
	return q.failed("delete", out.Failed)
}

// failed returns the first failed entry of a batch as an error.
func (q *Queue) failed(verb string, entries []types.BatchResultErrorEntry) error {
	if len(entries) == 0 {
		return nil
	}
	return fmt.Errorf("%s %d messages of %s: %s: %s", verb, len(entries), q.url, aws.ToString(entries[0].Code), aws.ToString(entries[0].Message))
}

// DeadLetters implements cloud.Queue with the queue's redrive policy.
func (q *Queue) DeadLetters(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, awsapi.CallTimeout)
	defer cancel()
	out, err := q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &q.url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameRedrivePolicy},
	})
	if err != nil {
		return "", fmt.Errorf("read the redrive policy of %s: %w", q.url, err)
	}
	text := out.Attributes[string(types.QueueAttributeNameRedrivePolicy)]
	if text == "" {
		return "", nil
	}
	var policy struct {
		Target string `json:"deadLetterTargetArn"`
	}
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		return "", fmt.Errorf("read the redrive policy of %s: %w", q.url, err)
	}
	return policy.Target, nil
}

func seconds(d time.Duration) int32 { return int32(d.Round(time.Second).Seconds()) }
