package codebuild

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/internal/awsapi"
)

// Examination is the part of a configuration that Examine checks in addition to
// Config.
type Examination struct {
	Topics []string
	// Updates is the address to which the topics should post, and Heard returns
	// when the latest update about a build arrived.
	Updates string
	Heard   func(context.Context) (time.Time, error)
}

type examiner struct {
	awsapi.Examiner
	cfg Config
	x   Examination
}

// Examine checks the project, if there is one, the topics that report its
// builds, and whether updates arrive.
func Examine(e awsapi.Examiner, cfg Config, x Examination) {
	all := examiner{e, cfg, x}
	if cfg.Project != "" {
		all.project()
	}
	for _, topic := range x.Topics {
		all.topic(topic)
	}
	if cfg.Project != "" && len(x.Topics) > 0 && x.Heard != nil {
		all.updates()
	}
}

func (e examiner) project() {
	const part = "CodeBuild"
	client := codebuild.NewFromConfig(e.Loaded)
	out, err := awsapi.Call(e.Context, func(ctx context.Context) (*codebuild.BatchGetProjectsOutput, error) {
		return client.BatchGetProjects(ctx, &codebuild.BatchGetProjectsInput{Names: []string{e.cfg.Project}})
	})
	if err == nil && len(out.Projects) == 0 {
		err = fmt.Errorf("project not found: %s", e.cfg.Project)
	}
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "TROY_AWS_PROJECT must be a project in %s, which the role may read", e.cfg.Region)
		return
	}
	e.Permissions(part, "the project "+e.cfg.Project, e.May(map[string]func(context.Context) error{
		// CodeBuild checks the permission before it refuses a time limit that
		// is too short.
		"codebuild:StartBuild": func(ctx context.Context) error {
			_, err := client.StartBuild(ctx, &codebuild.StartBuildInput{ProjectName: &e.cfg.Project, TimeoutInMinutesOverride: aws.Int32(1)})
			return err
		},
		"codebuild:StopBuild": func(ctx context.Context) error {
			_, err := client.StopBuild(ctx, &codebuild.StopBuildInput{Id: aws.String(e.cfg.Project + ":" + uuid.Nil.String())})
			return err
		},
		"codebuild:BatchGetBuilds": func(ctx context.Context) error {
			_, err := client.BatchGetBuilds(ctx, &codebuild.BatchGetBuildsInput{Ids: []string{e.cfg.Project + ":" + uuid.Nil.String()}})
			return err
		},
		"codebuild:ListBuildsForProject": func(ctx context.Context) error {
			_, err := client.ListBuildsForProject(ctx, &codebuild.ListBuildsForProjectInput{ProjectName: &e.cfg.Project})
			return err
		},
		"logs:GetLogEvents": func(ctx context.Context) error {
			_, err := cloudwatchlogs.NewFromConfig(e.Loaded).GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{
				LogGroupName: aws.String("/aws/codebuild/" + e.cfg.Project), LogStreamName: aws.String(uuid.Nil.String()),
			})
			return err
		},
	}))
}

func (e examiner) topic(arn string) {
	part := "topic " + arn[strings.LastIndexByte(arn, ':')+1:]
	region := e.Loaded.Region
	if parts := strings.Split(arn, ":"); len(parts) == 6 {
		region = parts[3]
	}
	client := sns.NewFromConfig(e.Loaded, func(o *sns.Options) { o.Region = region })
	pages := sns.NewListSubscriptionsByTopicPaginator(client, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	pending := false
	for pages.HasMorePages() {
		page, err := awsapi.Call(e.Context, func(ctx context.Context) (*sns.ListSubscriptionsByTopicOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			e.Wrong(part, awsapi.Words(err), "TROY_SNS_TOPICS must list topics of this account, whose subscriptions the role may list")
			return
		}
		for _, s := range page.Subscriptions {
			if aws.ToString(s.Endpoint) != e.x.Updates {
				continue
			}
			if aws.ToString(s.SubscriptionArn) != "PendingConfirmation" {
				e.Well(part, "posts to %s", e.x.Updates)
				return
			}
			pending = true
		}
	}
	if pending {
		e.Wrong(part, "the subscription of "+e.x.Updates+" is not confirmed", "run `troyd web` where SNS reaches %s, with the topic in TROY_SNS_TOPICS, and request the confirmation again", e.x.Updates)
		return
	}
	e.Wrong(part, "it does not post to "+e.x.Updates, "subscribe it: aws sns subscribe --topic-arn %s --protocol https --notification-endpoint %s; until then builds are polled", arn, e.x.Updates)
}

// heardFor is how far back arrivals are known: message ids are kept as long.
const heardFor = 30 * 24 * time.Hour

// updates checks that CodeBuild's events arrive: some should have arrived for
// the newest ended build.
func (e examiner) updates() {
	const part = "updates of builds"
	last, err := New(e.Loaded, e.cfg).lastEnded(e.Context)
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "the role must be allowed codebuild:ListBuildsForProject and codebuild:BatchGetBuilds (docs/aws.md)")
		return
	}
	began := aws.ToTime(last.StartTime)
	if time.Since(began) > heardFor {
		e.Well(part, "not known yet: no build has ended in the last 30 days")
		return
	}
	heard, err := e.x.Heard(e.Context)
	at := began.UTC().Format("2006-01-02 15:04")
	switch {
	case err != nil:
		e.Wrong(part, awsapi.Words(err), "see the finding about Postgres")
	case heard.Before(began.Add(-awsapi.MaxSkew)):
		e.Wrong(part, "none arrived for the build that began on "+at+" UTC", "builds are polled until then. Check whether the rule of EventBridge matches the project's events and names the topic, "+
			"whether the topic's policy lets events.amazonaws.com publish without a condition (deploy/aws/troy.yaml), and whether SNS reaches %s", e.x.Updates)
	default:
		e.Well(part, "arrive; the latest build began on %s UTC", at)
	}
}

// lastEnded returns the newest ended build of the project, or a build without
// times.
func (b *Builder) lastEnded(ctx context.Context) (last types.Build, err error) {
	newest, err := b.newest(ctx)
	for _, one := range newest {
		if one.EndTime != nil && one.StartTime != nil && one.StartTime.After(aws.ToTime(last.StartTime)) {
			last = one
		}
	}
	return last, err
}
