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

// Examination is what of a configuration is looked at beside Config.
type Examination struct {
	Topics []string
	// Updates is the address that the topics are to post to, and Heard tells
	// when the last of them about a build arrived.
	Updates string
	Heard   func(context.Context) (time.Time, error)
}

type examiner struct {
	awsapi.Examiner
	cfg Config
	x   Examination
}

// Examine looks at the project, if there is one, at the topics that tell of its
// builds, and whether they do.
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
		err = fmt.Errorf("there is no project %s", e.cfg.Project)
	}
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "TROY_AWS_PROJECT has to be a project in %s, which the role may read", e.cfg.Region)
		return
	}
	e.Permissions(part, "the project "+e.cfg.Project, e.May(map[string]func(context.Context) error{
		// A time limit that is too short is refused, after the permission.
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
			e.Wrong(part, awsapi.Words(err), "TROY_SNS_TOPICS has to list topics of this account, whose subscriptions the role may list")
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
		e.Wrong(part, "the subscription of "+e.x.Updates+" is not confirmed", "run `troyd web` where SNS reaches %s, with the topic in TROY_SNS_TOPICS, and ask for the confirmation once more", e.x.Updates)
		return
	}
	e.Wrong(part, "it does not post to "+e.x.Updates, "subscribe it: aws sns subscribe --topic-arn %s --protocol https --notification-endpoint %s; until then builds are polled", arn, e.x.Updates)
}

// heardFor is how long back arrivals are known: ids of messages are kept as
// long.
const heardFor = 30 * 24 * time.Hour

// updates tells whether CodeBuild's events arrive: some of the newest build that
// has ended should have.
func (e examiner) updates() {
	const part = "updates of builds"
	last, err := New(e.Loaded, e.cfg).lastEnded(e.Context)
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "the role has to be allowed codebuild:ListBuildsForProject and codebuild:BatchGetBuilds (docs/aws.md)")
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
		e.Wrong(part, awsapi.Words(err), "see what is said of Postgres")
	case heard.Before(began.Add(-awsapi.MaxSkew)):
		e.Wrong(part, "none arrived of the build that began on "+at+" UTC", "builds are polled until then. See whether the rule of EventBridge matches the project's events and names the topic, "+
			"whether the topic's policy lets events.amazonaws.com publish without a condition (deploy/aws/troy.yaml), and whether SNS reaches %s", e.x.Updates)
	default:
		e.Well(part, "arrive; the last build began on %s UTC", at)
	}
}

// lastEnded returns the newest build of the project that has ended; without
// one, a build without times.
func (b *Builder) lastEnded(ctx context.Context) (last types.Build, err error) {
	newest, err := b.newest(ctx)
	for _, one := range newest {
		if one.EndTime != nil && one.StartTime != nil && one.StartTime.After(aws.ToTime(last.StartTime)) {
			last = one
		}
	}
	return last, err
}
