package awscloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// CloudFront writes access logs (standard logging v2) by deliveries of
// CloudWatch Logs, which are in us-east-1. A delivery connects a source, which
// is a distribution, to a destination, which is the log bucket with the
// installation's prefix
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logging.html).
const (
	logRegion   = "us-east-1"
	logType     = "ACCESS_LOGS"
	destination = ":delivery-destination:"
)

// recordFields are the fields of each line. None identifies a visitor.
func recordFields() []string {
	return []string{"date", "time", "cs-uri-stem", "sc-status", "sc-bytes", "cs(Referer)"}
}

func newDeliveries(loaded aws.Config) *cloudwatchlogs.Client {
	return cloudwatchlogs.NewFromConfig(loaded, func(o *cloudwatchlogs.Options) { o.Region = logRegion })
}

// logSource is the name of a distribution's delivery source.
func (c *CDN) logSource(reference string) string {
	return c.installation() + "-" + strings.TrimPrefix(reference, referencePrefix)
}

// logResource is the ARN of the log bucket. With a prefix in it, AWS does not
// add one of its own.
func (c *CDN) logResource() string { return "arn:aws:s3:::" + c.cfg.LogBucket + "/" + c.installation() }

// logDestination returns the ARN of the delivery destination, which it creates
// or changes if needed.
func (c *CDN) logDestination(ctx context.Context) (string, error) {
	name := c.installation()
	got, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.GetDeliveryDestinationOutput, error) {
		return c.deliveries.GetDeliveryDestination(ctx, &cloudwatchlogs.GetDeliveryDestinationInput{Name: &name})
	})
	if err = awsapi.Failed("read the delivery destination "+name, err); err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return "", err
	}
	if err == nil {
		d := got.DeliveryDestination
		if to := d.DeliveryDestinationConfiguration; to != nil && aws.ToString(to.DestinationResourceArn) == c.logResource() && d.OutputFormat == logtypes.OutputFormatJson {
			return aws.ToString(d.Arn), nil
		}
	}
	put, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.PutDeliveryDestinationOutput, error) {
		return c.deliveries.PutDeliveryDestination(ctx, &cloudwatchlogs.PutDeliveryDestinationInput{
			Name: &name, OutputFormat: logtypes.OutputFormatJson,
			DeliveryDestinationConfiguration: &logtypes.DeliveryDestinationConfiguration{DestinationResourceArn: aws.String(c.logResource())},
		})
	})
	if err != nil {
		return "", awsapi.Failed("make the log bucket "+c.cfg.LogBucket+" a delivery destination", err)
	}
	return aws.ToString(put.DeliveryDestination.Arn), nil
}

// deliver connects a distribution to the log bucket. Repeating it changes
// nothing. The caller holds distributionsLock, because CloudWatch Logs refuses
// concurrent changes of a destination
// (github.com/hashicorp/terraform-provider-aws/issues/42194).
func (c *CDN) deliver(ctx context.Context, source, arn string) error {
	to, err := c.logDestination(ctx)
	if err != nil {
		return err
	}
	if strings.HasPrefix(source, c.logSource("")) { // an operator's source stays as it is
		_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.PutDeliverySourceOutput, error) {
			return c.deliveries.PutDeliverySource(ctx, &cloudwatchlogs.PutDeliverySourceInput{Name: &source, LogType: aws.String(logType), ResourceArn: &arn})
		})
		if err != nil {
			return awsapi.Failed("make "+arn+" a delivery source", err)
		}
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.CreateDeliveryOutput, error) {
		return c.deliveries.CreateDelivery(ctx, &cloudwatchlogs.CreateDeliveryInput{
			DeliverySourceName: &source, DeliveryDestinationArn: &to, RecordFields: recordFields(),
			S3DeliveryConfiguration: &logtypes.S3DeliveryConfiguration{SuffixPath: aws.String("{DistributionId}"), EnableHiveCompatiblePath: aws.Bool(false)},
		})
	})
	err = awsapi.Failed("deliver the access logs of "+arn+" to "+c.cfg.LogBucket, err)
	if !errors.Is(err, cloud.ErrPrecondition) {
		return err
	}
	// A conflict means that the delivery exists, or that another change is in
	// progress.
	state, stateErr := c.logState(ctx)
	if stateErr != nil {
		return stateErr
	}
	if state.delivers(arn, c.installation()) {
		return nil
	}
	return err
}

// logState is what CloudWatch Logs knows of the account's deliveries.
type logState struct {
	sources    []logtypes.DeliverySource
	deliveries []logtypes.Delivery
}

func (c *CDN) logState(ctx context.Context) (s logState, err error) {
	sources := cloudwatchlogs.NewDescribeDeliverySourcesPaginator(c.deliveries, &cloudwatchlogs.DescribeDeliverySourcesInput{})
	for sources.HasMorePages() {
		page, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.DescribeDeliverySourcesOutput, error) {
			return sources.NextPage(ctx)
		})
		if err != nil {
			return s, awsapi.Failed("list the delivery sources", err)
		}
		s.sources = append(s.sources, page.DeliverySources...)
	}
	deliveries := cloudwatchlogs.NewDescribeDeliveriesPaginator(c.deliveries, &cloudwatchlogs.DescribeDeliveriesInput{})
	for deliveries.HasMorePages() {
		page, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.DescribeDeliveriesOutput, error) {
			return deliveries.NextPage(ctx)
		})
		if err != nil {
			return s, awsapi.Failed("list the deliveries of logs", err)
		}
		s.deliveries = append(s.deliveries, page.Deliveries...)
	}
	return s, nil
}

// source returns the name of the source of a distribution's logs, or "". It may
// be an operator's: a distribution has at most one.
func (s logState) source(arn string) string {
	for _, one := range s.sources {
		if slices.Contains(one.ResourceArns, arn) && aws.ToString(one.LogType) == logType {
			return aws.ToString(one.Name)
		}
	}
	return ""
}

// delivers reports whether a distribution's logs go to a destination.
func (s logState) delivers(arn, name string) bool {
	source := s.source(arn)
	return source != "" && slices.ContainsFunc(s.deliveries, func(d logtypes.Delivery) bool {
		return aws.ToString(d.DeliverySourceName) == source && strings.HasSuffix(aws.ToString(d.DeliveryDestinationArn), destination+name)
	})
}

// deliverAll connects those of the distributions that are not connected to the
// log bucket yet. A failure with one does not stop the others.
func (u *upkeep) deliverAll(ctx context.Context, all []types.DistributionSummary) error {
	if u.cfg.LogBucket == "" || len(all) == 0 {
		return nil
	}
	if _, err := u.logDestination(ctx); err != nil { // the bucket may have changed
		return err
	}
	state, err := u.logState(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, d := range all {
		arn := aws.ToString(d.ARN)
		if ctx.Err() != nil || !u.ofPipeline(d) || state.delivers(arn, u.installation()) {
			continue
		}
		source := state.source(arn)
		if source == "" {
			source = u.logSource(aws.ToString(d.Comment))
		}
		err := u.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) error { return u.deliver(ctx, source, arn) })
		if err == nil {
			u.done.Deliveries++
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// withdraw ends the delivery of a distribution's logs, and removes its source if
// it has this name. It leaves an operator's source and its other deliveries.
func (c *CDN) withdraw(ctx context.Context, source, arn string) error {
	return c.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) error {
		state, err := c.logState(ctx)
		if err != nil {
			return err
		}
		other := state.source(arn)
		for _, d := range state.deliveries {
			from := aws.ToString(d.DeliverySourceName)
			ours := strings.HasSuffix(aws.ToString(d.DeliveryDestinationArn), destination+c.installation())
			if from != source && (from != other || !ours) {
				continue
			}
			_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.DeleteDeliveryOutput, error) {
				return c.deliveries.DeleteDelivery(ctx, &cloudwatchlogs.DeleteDeliveryInput{Id: d.Id})
			})
			if err = awsapi.Failed("end the delivery of the access logs of "+from, err); err != nil && !errors.Is(err, cloud.ErrNotFound) {
				return err
			}
		}
		if !slices.ContainsFunc(state.sources, func(s logtypes.DeliverySource) bool { return aws.ToString(s.Name) == source }) {
			return nil
		}
		_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudwatchlogs.DeleteDeliverySourceOutput, error) {
			return c.deliveries.DeleteDeliverySource(ctx, &cloudwatchlogs.DeleteDeliverySourceInput{Name: &source})
		})
		if err = awsapi.Failed("delete the delivery source "+source, err); errors.Is(err, cloud.ErrNotFound) {
			return nil
		}
		return err
	})
}

// logSources lists the names of this installation's delivery sources. Without a
// log bucket, a role that may not list them has none.
func (c *CDN) logSources(ctx context.Context) (names []string, err error) {
	state, err := c.logState(ctx)
	if c.cfg.LogBucket == "" && troy.KindOf(err) == troy.Forbidden {
		return nil, nil
	}
	for _, s := range state.sources {
		if name := aws.ToString(s.Name); strings.HasPrefix(name, c.logSource("")) {
			names = append(names, name)
		}
	}
	return names, err
}

// withdrawOrphan removes a source whose distribution does not exist any more.
func (c *CDN) withdrawOrphan(ctx context.Context, source string) error {
	err := c.withdraw(ctx, source, "")
	if c.cfg.LogBucket == "" && troy.KindOf(err) == troy.Forbidden {
		return nil
	}
	return err
}

// isLegacy reports whether these are access logs that an earlier version turned
// on: standard logging (legacy), whose lines have visitors' addresses.
func (c *CDN) isLegacy(l *types.LoggingConfig, reference string) bool {
	return c.cfg.LogBucket != "" && l != nil && aws.ToBool(l.Enabled) &&
		aws.ToString(l.Bucket) == c.cfg.LogBucket+".s3.amazonaws.com" && aws.ToString(l.Prefix) == reference+"/"
}

// legacy reports whether a distribution has an earlier version's access logs.
// Lists of distributions don't show it, so each process reads it once for each
// distribution.
func (c *CDN) legacy(ctx context.Context, d types.DistributionSummary) (bool, error) {
	if c.cfg.LogBucket == "" {
		return false, nil
	}
	id := aws.ToString(d.Id)
	if _, known := c.read.Load(id); known {
		return false, nil
	}
	out, err := c.get(ctx, id)
	if errors.Is(err, cloud.ErrNotFound) {
		return false, nil // it was deleted meanwhile
	}
	if err != nil {
		return false, err
	}
	if c.isLegacy(out.Distribution.DistributionConfig.Logging, aws.ToString(d.Comment)) {
		return true, nil
	}
	c.read.Store(id, true)
	return false, nil
}

// logless counts the installation's distributions, and those of them whose logs
// don't go to the log bucket.
func (c *CDN) logless(ctx context.Context) (all, without int, err error) {
	state, err := c.logState(ctx)
	if err != nil {
		return 0, 0, err
	}
	err = c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if c.ofPipeline(d) && aws.ToBool(d.Enabled) {
			all++
			if !state.delivers(aws.ToString(d.ARN), c.installation()) {
				without++
			}
		}
		return true, nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count the deliveries: %w", err)
	}
	return all, without, nil
}
