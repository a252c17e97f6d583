//go:build !noaws

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/troy-iaas/troy/builder"
	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/certificates"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/checkup"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/workers"
)

// hasAWS reports whether this program has the parts for AWS. The build tag
// noaws leaves them out, which saves a third of the compilation.
const hasAWS = true

// checkAWSChoices reports the settings that are none of awscloud's choices.
func (c config) checkAWSChoices(wrong wrongly) {
	if !slices.Contains(awscloud.PriceClasses(), c.AWSPriceClass) {
		wrong("TROY_AWS_PRICE_CLASS", "%q is not one of %s", c.AWSPriceClass, strings.Join(awscloud.PriceClasses(), ", "))
	}
	if !slices.Contains(awscloud.DomainWays(), c.AWSDomains) {
		wrong("TROY_AWS_DOMAINS", "%q is not one of %s", c.AWSDomains, strings.Join(awscloud.DomainWays(), ", "))
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
		PreviewSuffix: c.previewSuffix(), PreviewZone: c.AWSPreviewZone, PreviewCertificateARN: c.AWSPreviewCert,
		KeyValueStoreARN: c.AWSPointerStore, PriceClass: c.AWSPriceClass, LogBucket: c.AWSLogBucket, Domains: c.AWSDomains, SignIn: c.URL, Temp: filepath.Join(c.DataDir, "tmp"), Lock: advisoryLock(db),
	}
}

// codeBuild returns codebuild's configuration.
func (c config) codeBuild() codebuild.Config {
	return codebuild.Config{Config: c.awsAPI(), Project: c.AWSProject, WorkBucket: c.AWSWorkBucket, Temp: filepath.Join(c.DataDir, "tmp"), Path: c.BuildPath, AllCachesBytes: c.BuildCaches << 20}
}

// openAWS opens the cloud on AWS.
func openAWS(ctx context.Context, cfg config, db *pgxpool.Pool) (cloud.Cloud, error) {
	return awscloud.New(ctx, cfg.aws(db), cfg.readLimits(), cfg.PropagationDelay)
}

// route53 returns what makes the records of DNS-01 challenges at Route 53, which
// is the same in every region.
func (c config) route53() (*certificates.DNS, error) {
	return certificates.Route53(cmp.Or(c.AWSRegion, "us-east-1"), c.AWSProfile, c.TLS.ACMEDNSZone), nil
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

// openCodeBuild opens the builder on CodeBuild and returns its poll interval.
func openCodeBuild(ctx context.Context, cfg config) (builder.Builder, time.Duration, error) {
	loaded, err := awsapi.Load(ctx, cfg.awsAPI())
	if err != nil {
		return nil, 0, err
	}
	acts := cfg.codeBuild()
	if acts.Environment, err = cfg.buildEnvironment(); err != nil {
		return nil, 0, usageError{err}
	}
	return codebuild.New(loaded, acts), codeBuildPoll, nil
}

// startUpkeep starts the upkeep of the account. stop ends it.
func startUpkeep(ctx context.Context, cfg config, b *backend, log *slog.Logger) (stop func() error, err error) {
	loaded, err := awsapi.Load(ctx, cfg.awsAPI())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- keepUp(ctx, awscloud.NewCDN(loaded, cfg.aws(b.db)), log) }()
	return func() error { cancel(); return <-ended }, nil
}

// keepUp runs the upkeep of the account, at once and then every interval, until
// the context ends. It logs a failure, and the next upkeep retries.
func keepUp(ctx context.Context, cdn *awscloud.CDN, log *slog.Logger) error {
	ticker := time.NewTicker(awscloud.UpkeepInterval)
	defer ticker.Stop()
	for {
		done, err := cdn.Upkeep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.Warn("the upkeep of CloudFront failed; the next one retries", "in", awscloud.UpkeepInterval, "error", err)
		case done != awscloud.Upkept{}:
			log.Info("brought CloudFront up to date", "shards_of_functions", done.Functions, "distributions", done.Distributions, "deliveries_of_logs", done.Deliveries)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (d *doctor) aws(ctx context.Context, cfg config) error {
	loaded, err := awsapi.Load(ctx, cfg.awsAPI())
	if err != nil {
		d.tell(checkup.Finding{Part: "credentials", Said: oneLine(err), Remedy: "check TROY_AWS_PROFILE and the shared configuration files"})
		return nil
	}
	e := awsapi.Examiner{Context: ctx, Loaded: loaded, Tell: d.tell}
	if !e.Credentials() {
		return nil // further checks would only repeat this
	}
	if cfg.onAWS() {
		awscloud.Examine(e, cfg.aws(nil), cfg.SitesSuffix)
	}
	queues := map[string]string{}
	for setting, url := range map[string]string{"TROY_AWS_APPS_QUEUE": cfg.AWSAppsQueue, "TROY_AWS_BUILDS_QUEUE": cfg.AWSBuildsQueue} {
		if url != "" {
			queues[setting] = url
		}
	}
	awscloud.ExamineQueues(e, queues)
	codebuild.Examine(e, cfg.codeBuild(), codebuild.Examination{
		Topics: cfg.SNSTopics, Updates: strings.TrimSuffix(cfg.URL, "/") + "/events/sns",
		Heard: func(ctx context.Context) (time.Time, error) { return buildHeardOf(ctx, cfg) },
	})
	return nil
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
