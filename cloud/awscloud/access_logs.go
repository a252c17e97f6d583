package awscloud

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
)

// logging is where a distribution writes its access logs; nil means nowhere.
// CloudFront's logs contain queries but not cookies.
func (c *CDN) logging(reference string) *types.LoggingConfig {
	if c.cfg.LogBucket == "" {
		return nil
	}
	return &types.LoggingConfig{
		Enabled: aws.Bool(true), IncludeCookies: aws.Bool(false), Bucket: aws.String(c.cfg.LogBucket + ".s3.amazonaws.com"), Prefix: aws.String(reference + "/"),
	}
}

// withLogging calls f, which sends a distribution's configuration. If AWS
// refuses it, withLogging calls f again without access logs: a log bucket that
// does not exist, or has access control lists disabled, must not prevent a site
// from being made or moved. refused is then the reason.
func withLogging(config *types.DistributionConfig, f func() error) (refused, err error) {
	err = f()
	if config.Logging == nil || !aws.ToBool(config.Logging.Enabled) || troy.KindOf(err) != troy.Invalid {
		return nil, err
	}
	refused, config.Logging = err, nil
	if err := f(); err != nil {
		return nil, refused // the cause was not the logs
	}
	return refused, nil
}

// logs reports whether a distribution writes its access logs where the
// configuration says; without a bucket, any setting is right. Lists of
// distributions don't show it, so each process reads it once for each
// distribution.
func (c *CDN) logs(ctx context.Context, d types.DistributionSummary) (bool, error) {
	if c.cfg.LogBucket == "" {
		return true, nil
	}
	id := aws.ToString(d.Id)
	if _, known := c.logged.Load(id); known {
		return true, nil
	}
	out, err := c.get(ctx, id)
	if errors.Is(err, cloud.ErrNotFound) {
		return true, nil // it was deleted meanwhile
	}
	if err != nil {
		return false, err
	}
	want, has := c.logging(aws.ToString(d.Comment)), out.Distribution.DistributionConfig.Logging
	same := has != nil && aws.ToBool(has.Enabled) && aws.ToString(has.Bucket) == *want.Bucket && aws.ToString(has.Prefix) == *want.Prefix
	if same {
		c.logged.Store(id, true)
	}
	return same, nil
}
