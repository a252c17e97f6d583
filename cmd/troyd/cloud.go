package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
)

// onAWS reports whether the sites are on AWS.
func (c config) onAWS() bool { return c.Cloud == "aws" }

// checkAWS reports what is wrong with the AWS settings. They apply only with
// TROY_CLOUD=aws.
func (c config) checkAWS(wrong wrongly) {
	if missing := c.needsAWS(); missing != "" && !hasAWS {
		wrong(missing, "is set, but this program was built without AWS; expected one that make build or the image has")
		return
	}
	if c.Cloud != "local" && c.Cloud != "aws" {
		wrong("TROY_CLOUD", "%q is neither local nor aws", c.Cloud)
	}
	for _, s := range []struct{ setting, address string }{
		{"TROY_AWS_ENDPOINT", c.AWSEndpoint}, {"TROY_AWS_S3_ENDPOINT", c.AWSS3Endpoint},
		{"TROY_AWS_APPS_QUEUE", c.AWSAppsQueue}, {"TROY_AWS_BUILDS_QUEUE", c.AWSBuildsQueue},
	} {
		if u, err := url.Parse(s.address); s.address != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
			wrong(s.setting, "%q is not an http or https address", s.address)
		}
	}
	for _, topic := range c.SNSTopics {
		if !strings.HasPrefix(topic, "arn:") || strings.Count(topic, ":") != 5 {
			wrong("TROY_SNS_TOPICS", "%q is not the ARN of a topic", topic)
		}
	}
	if c.AWSProject != "" && !c.onAWS() {
		wrong("TROY_AWS_PROJECT", "is set, but CodeBuild needs the buckets of TROY_CLOUD=aws")
	}
	if !c.onAWS() {
		if c.AWSRegion == "" && (c.AWSAppsQueue != "" || c.AWSBuildsQueue != "") {
			wrong("TROY_AWS_REGION", "not set; expected the region of the queues")
		}
		return
	}
	for _, s := range []struct{ setting, value, what string }{
		{"TROY_AWS_REGION", c.AWSRegion, "a region, like eu-central-1"},
		{"TROY_AWS_SITES_BUCKET", c.AWSSitesBucket, "the name of a bucket"},
		{"TROY_AWS_WORK_BUCKET", c.AWSWorkBucket, "the name of a bucket"},
		{"TROY_AWS_ZONE", c.AWSZone, "the id of a hosted zone, like Z0123456789"},
	} {
		if s.value == "" {
			wrong(s.setting, "not set; with TROY_CLOUD=aws expected %s", s.what)
		}
	}
	if c.AWSSitesBucket != "" && c.AWSSitesBucket == c.AWSWorkBucket {
		wrong("TROY_AWS_WORK_BUCKET", "is the bucket of the sites too; CloudFront would serve private objects")
	}
	for _, s := range []struct{ setting, value, prefix string }{
		{"TROY_AWS_CERTIFICATE", c.AWSCertificate, "arn:aws:acm:us-east-1:"},
		{"TROY_AWS_POINTER_STORE", c.AWSPointerStore, "arn:aws:cloudfront::"},
		{"TROY_AWS_PREVIEW_CERTIFICATE", c.AWSPreviewCert, "arn:aws:acm:us-east-1:"},
	} {
		if s.setting == "TROY_AWS_PREVIEW_CERTIFICATE" && s.value == "" {
			continue // that of the sites
		}
		if !strings.HasPrefix(s.value, s.prefix) {
			wrong(s.setting, "%q does not begin with %s", s.value, s.prefix)
		}
	}
	c.checkAWSChoices(wrong)
	if c.AWSLogBucket != "" && (c.AWSLogBucket == c.AWSSitesBucket || c.AWSLogBucket == c.AWSWorkBucket) {
		wrong("TROY_AWS_LOG_BUCKET", "is a bucket of sites or of work too; access logs need a separate bucket")
	}
	if c.AWSRole != "" && !strings.HasPrefix(c.AWSRole, "arn:") {
		wrong("TROY_AWS_ROLE", "%q is not the ARN of a role", c.AWSRole)
	}
	if c.SitesSuffix == "localhost" {
		wrong("TROY_SITES_SUFFIX", "is localhost; on AWS expected the domain of the hosted zone, or a subdomain")
	}
}

// needsAWS returns the setting that needs the parts for AWS, or "".
func (c config) needsAWS() string {
	switch {
	case c.onAWS():
		return "TROY_CLOUD"
	case c.AWSProject != "":
		return "TROY_AWS_PROJECT"
	case c.AWSAppsQueue != "":
		return "TROY_AWS_APPS_QUEUE"
	case c.AWSBuildsQueue != "":
		return "TROY_AWS_BUILDS_QUEUE"
	case len(c.SNSTopics) > 0:
		return "TROY_SNS_TOPICS"
	case c.TLS.ACMEDNS == "route53":
		return "TROY_ACME_DNS"
	}
	return ""
}

// maxSignIn is the maximum length of TROY_URL in CloudFront's functions.
const maxSignIn = 400

// noPasswords says why sites can't have passwords; "" means that they can. On
// AWS, visitors type them at TROY_URL.
func (c config) noPasswords() string {
	switch {
	case !c.onAWS():
	case !strings.HasPrefix(c.URL, "https://"):
		return "visitors of sites on AWS type the password at TROY_URL, which is not https; set it to an https address that they can reach"
	case len(c.URL) > maxSignIn:
		return fmt.Sprintf("visitors of sites on AWS type the password at TROY_URL, which has %d bytes; expected at most %d", len(c.URL), maxSignIn)
	}
	return ""
}

// openCloud opens the cloud that serves the sites.
func openCloud(ctx context.Context, cfg config, db *pgxpool.Pool) (cloud.Cloud, error) {
	if cfg.onAWS() {
		return openAWS(ctx, cfg, db)
	}
	addresses, err := cfg.edgeAddresses()
	if err != nil {
		return cloud.Cloud{}, usageError{fmt.Errorf("TROY_EDGE_ADDRESSES: %w", err)}
	}
	return localcloud.New(localcloud.Config{
		Root: cfg.cloudRoot(), PropagationDelay: cfg.PropagationDelay, Limits: cfg.readLimits(), Addresses: addresses, Certificates: cfg.TLS.EdgeAddr != "",
	})
}

// openBuilder opens the builder and returns its poll interval; 0 means never.
func openBuilder(ctx context.Context, cfg config, log *slog.Logger) (b builder.Builder, poll time.Duration, shut func() error, err error) {
	if cfg.AWSProject == "" {
		local, err := newBuilder(cfg, log)
		if err != nil {
			return nil, 0, nil, err
		}
		return local, 0, local.Close, nil
	}
	b, poll, err = openCodeBuild(ctx, cfg)
	return b, poll, func() error { return nil }, err
}
