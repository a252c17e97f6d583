package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/cloud/localcloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/workers"
)

// onAWS reports whether the sites are on AWS.
func (c config) onAWS() bool { return c.Cloud == "aws" }

// checkAWS reports what is wrong with the AWS settings. They apply only with
// TROY_CLOUD=aws.
func (c config) checkAWS(wrong wrongly) {
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
	} {
		if !strings.HasPrefix(s.value, s.prefix) {
			wrong(s.setting, "%q does not begin with %s", s.value, s.prefix)
		}
	}
	if !slices.Contains(awscloud.PriceClasses(), c.AWSPriceClass) {
		wrong("TROY_AWS_PRICE_CLASS", "%q is not one of %s", c.AWSPriceClass, strings.Join(awscloud.PriceClasses(), ", "))
	}
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

// awsAPI returns how to reach the account.
func (c config) awsAPI() awsapi.Config {
	return awsapi.Config{Region: c.AWSRegion, Profile: c.AWSProfile, RoleARN: c.AWSRole, Endpoint: c.AWSEndpoint, S3Endpoint: c.AWSS3Endpoint}
}

// aws returns awscloud's configuration.
func (c config) aws(db *pgxpool.Pool) awscloud.Config {
	return awscloud.Config{
		Config:      c.awsAPI(),
		SitesBucket: c.AWSSitesBucket, WorkBucket: c.AWSWorkBucket, Zone: c.AWSZone, CertificateARN: c.AWSCertificate,
		KeyValueStoreARN: c.AWSPointerStore, PriceClass: c.AWSPriceClass, LogBucket: c.AWSLogBucket, Temp: filepath.Join(c.DataDir, "tmp"), Lock: advisoryLock(db),
	}
}

// codeBuild returns codebuild's configuration.
func (c config) codeBuild() codebuild.Config {
	return codebuild.Config{Config: c.awsAPI(), Project: c.AWSProject, WorkBucket: c.AWSWorkBucket, Temp: filepath.Join(c.DataDir, "tmp"), Path: c.BuildPath}
}

// openCloud opens the cloud that serves the sites.
func openCloud(ctx context.Context, cfg config, db *pgxpool.Pool) (cloud.Cloud, error) {
	if cfg.onAWS() {
		return awscloud.New(ctx, cfg.aws(db), cfg.readLimits(), cfg.PropagationDelay)
	}
	return localcloud.New(localcloud.Config{
		Root: cfg.cloudRoot(), PropagationDelay: cfg.PropagationDelay, Limits: cfg.readLimits(),
	})
}

// consumers returns the SQS queues from which work takes messages, by the names
// of their settings.
func consumers(ctx context.Context, cfg config, b *backend, log *slog.Logger) (map[string]workers.Consumer, error) {
	in := b.intake(cfg)
	all := map[string]workers.Consumer{}
	for _, q := range []struct {
		setting, url string
		take         func(context.Context, []byte) (intake.Outcome, error)
	}{
		{"TROY_AWS_APPS_QUEUE", cfg.AWSAppsQueue, workers.TakeAppEvent(in)},
		{"TROY_AWS_BUILDS_QUEUE", cfg.AWSBuildsQueue, workers.TakeBuildRequest(in)},
	} {
		if q.url == "" {
			continue
		}
		loaded, err := awsapi.Load(ctx, cfg.awsAPI())
		if err != nil {
			return nil, err
		}
		all[q.setting] = workers.Consumer{
			Queue: b.meters.Queue(awscloud.NewQueue(loaded, q.url)), Take: q.take, Refused: func() { b.meters.Refused(q.setting) }, Log: log.With("queue", q.url),
		}
	}
	return all, nil
}

// confirmTopic returns the function that confirms subscriptions, if there is a
// topic.
func confirmTopic(cfg config, b *backend) (func(ctx context.Context, topic, token string) error, error) {
	if len(cfg.SNSTopics) == 0 {
		return nil, nil
	}
	// The web command's lifetime has no separate context.
	loaded, err := awsapi.Load(context.Background(), cfg.awsAPI())
	if err != nil {
		return nil, err
	}
	return b.meters.ConfirmTopic(codebuild.ConfirmTopic(loaded)), nil
}

// codeBuildPoll is the poll interval of a build on CodeBuild when none of its
// events arrive.
const codeBuildPoll = 3 * time.Second

// openBuilder opens the builder and returns its poll interval; 0 means never.
func openBuilder(ctx context.Context, cfg config, log *slog.Logger) (b builder.Builder, poll time.Duration, shut func() error, err error) {
	if cfg.AWSProject == "" {
		local, err := newBuilder(cfg, log)
		if err != nil {
			return nil, 0, nil, err
		}
		return local, 0, local.Close, nil
	}
	loaded, err := awsapi.Load(ctx, cfg.awsAPI())
	if err != nil {
		return nil, 0, nil, err
	}
	acts := cfg.codeBuild()
	if acts.Environment, err = cfg.buildEnvironment(); err != nil {
		return nil, 0, nil, usageError{err}
	}
	return codebuild.New(loaded, acts), codeBuildPoll, func() error { return nil }, nil
}

// advisoryLock returns awscloud's Lock: it locks names in Postgres for as long
// as f runs. Only one waiter of this process waits there for a name, so that
// waiters don't use up the connections.
func advisoryLock(db *pgxpool.Pool) func(context.Context, string, func(context.Context) error) error {
	var mu sync.Mutex
	turns := map[string]chan struct{}{}
	return func(ctx context.Context, name string, f func(context.Context) error) error {
		mu.Lock()
		turn, ok := turns[name]
		if !ok {
			turn = make(chan struct{}, 1)
			turns[name] = turn
		}
		mu.Unlock()
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", name, ctx.Err())
		}
		var done error
		err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			if err := queries.New(tx).LockName(ctx, name); err != nil {
				return fmt.Errorf("lock %s: %w", name, err)
			}
			done = f(ctx)
			return nil
		})
		return errors.Join(err, done)
	}
}
