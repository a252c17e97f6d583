package awscloud

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// logWriter is the service that writes access logs.
const logWriter = "delivery.logs.amazonaws.com"

// accessLogs checks the log bucket, the permissions for deliveries and whether
// each distribution has one.
func (e examiner) accessLogs() {
	part := "log bucket " + e.cfg.LogBucket
	if err := e.readsLogs(); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		e.Wrong(part, first, "TROY_AWS_LOG_BUCKET must be a bucket in %s in which the role may list, read and delete objects, and whose policy it may read (docs/aws.md)", e.cfg.Region)
		return
	}
	client := awsapi.NewS3(e.Loaded, e.cfg.Config)
	policy, err := awsapi.Call(e.Context, func(ctx context.Context) (*s3.GetBucketPolicyOutput, error) {
		return client.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &e.cfg.LogBucket})
	})
	switch {
	case awsapi.Denied(err):
		e.Wrong(part, "AWS denies s3:GetBucketPolicy", "allow the denied actions for the role (docs/aws.md)")
		return
	case err != nil || !strings.Contains(aws.ToString(policy.Policy), logWriter):
		e.Wrong(part, "its policy does not let CloudFront write", "deploy deploy/aws/troy.yaml again with AccessLogs=true: the policy must let %s put objects", logWriter)
		return
	}
	e.Well(part, "listed, read; CloudFront may write")
	e.logDeliveries()
}

// readsLogs tries what the counting does with log files, on one that does not
// exist.
func (e examiner) readsLogs() error {
	logs := NewAccessLogs(e.Loaded, e.cfg)
	seen := errors.New("a file was seen")
	err := logs.Files(e.Context, func(cloud.LogFile) error { return seen })
	if err != nil && !errors.Is(err, seen) {
		return err
	}
	none := e.cfg.installation() + "/doctor/" + uuid.NewString()
	if _, err := logs.Read(e.Context, cloud.LogFile{Key: none}, func(cloud.Request) {}); err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	return logs.Remove(e.Context, none)
}

func (e examiner) logDeliveries() {
	const part = "access logs"
	cdn := NewCDN(e.Loaded, e.cfg)
	if lacking := e.May(cdn.logTrials()); len(lacking) > 0 {
		e.Permissions(part, "they go to "+e.cfg.LogBucket, lacking)
		return
	}
	all, without, err := cdn.logless(e.Context)
	switch {
	case err != nil:
		e.Wrong(part, awsapi.Words(err), "the role must be allowed logs:DescribeDeliveries and logs:DescribeDeliverySources (docs/aws.md)")
	case without > 0:
		e.Wrong(part, fmt.Sprintf("%d of %d distributions don't write any to %s", without, all, e.cfg.LogBucket),
			"keep `troyd work` running: it fixes this within %s, or logs the reason. CloudFront checks cloudfront:AllowVendedLogDeliveryForResource then", UpkeepInterval)
	default:
		e.Well(part, "%d of %d distributions write theirs to %s", all, all, e.cfg.LogBucket)
	}
}

// logTrials are calls without effect that show whether the role may make them.
func (c *CDN) logTrials() map[string]func(context.Context) error {
	name := c.logSource(referencePrefix + uuid.NewString())
	account := ""
	if parts := strings.Split(c.cfg.KeyValueStoreARN, ":"); len(parts) > 4 {
		account = parts[4]
	}
	return map[string]func(context.Context) error{
		"logs:GetDeliveryDestination": func(ctx context.Context) error {
			_, err := c.deliveries.GetDeliveryDestination(ctx, &cloudwatchlogs.GetDeliveryDestinationInput{Name: &name})
			return err
		},
		"logs:PutDeliveryDestination": func(ctx context.Context) error {
			_, err := c.deliveries.PutDeliveryDestination(ctx, &cloudwatchlogs.PutDeliveryDestinationInput{
				Name: &name, DeliveryDestinationConfiguration: &logtypes.DeliveryDestinationConfiguration{DestinationResourceArn: aws.String("none")},
			})
			return err
		},
		"logs:DescribeDeliverySources": func(ctx context.Context) error {
			_, err := c.deliveries.DescribeDeliverySources(ctx, &cloudwatchlogs.DescribeDeliverySourcesInput{Limit: aws.Int32(1)})
			return err
		},
		"logs:PutDeliverySource": func(ctx context.Context) error {
			_, err := c.deliveries.PutDeliverySource(ctx, &cloudwatchlogs.PutDeliverySourceInput{
				Name: &name, LogType: aws.String(logType), ResourceArn: aws.String("arn:aws:cloudfront::" + account + ":distribution/E00000000TROY"),
			})
			return err
		},
		"logs:DeleteDeliverySource": func(ctx context.Context) error {
			_, err := c.deliveries.DeleteDeliverySource(ctx, &cloudwatchlogs.DeleteDeliverySourceInput{Name: &name})
			return err
		},
		"logs:DescribeDeliveries": func(ctx context.Context) error {
			_, err := c.deliveries.DescribeDeliveries(ctx, &cloudwatchlogs.DescribeDeliveriesInput{Limit: aws.Int32(1)})
			return err
		},
		"logs:CreateDelivery": func(ctx context.Context) error {
			_, err := c.deliveries.CreateDelivery(ctx, &cloudwatchlogs.CreateDeliveryInput{
				DeliverySourceName: &name, DeliveryDestinationArn: aws.String("arn:aws:logs:" + logRegion + ":" + account + destination + name),
			})
			return err
		},
		"logs:DeleteDelivery": func(ctx context.Context) error {
			_, err := c.deliveries.DeleteDelivery(ctx, &cloudwatchlogs.DeleteDeliveryInput{Id: aws.String("none")})
			return err
		},
	}
}
