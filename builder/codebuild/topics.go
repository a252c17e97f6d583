package codebuild

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// ConfirmTopic confirms the subscription to a topic, in the topic's region.
// From then on only a holder of the account's credentials can end it.
func ConfirmTopic(loaded aws.Config) func(ctx context.Context, topic, token string) error {
	return func(ctx context.Context, topic, token string) error {
		parts := strings.Split(topic, ":") // arn:aws:sns:REGION:ACCOUNT:NAME
		if len(parts) != 6 {
			return troy.Errorf(troy.Invalid, "%q is not the ARN of a topic", topic)
		}
		client := sns.NewFromConfig(loaded, func(o *sns.Options) { o.Region = parts[3] })
		_, err := awsapi.Call(ctx, func(ctx context.Context) (*sns.ConfirmSubscriptionOutput, error) {
			return client.ConfirmSubscription(ctx, &sns.ConfirmSubscriptionInput{
				TopicArn: &topic, Token: &token, AuthenticateOnUnsubscribe: aws.String("true"),
			})
		})
		return awsapi.Failed("confirm the subscription", err)
	}
}
