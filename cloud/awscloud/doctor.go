package awscloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	cftypes "github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/checkup"
)

// Examination is what of a configuration is looked at beside Config.
type Examination struct {
	Sites   bool              // whether sites live in the account
	Suffix  string            // the domain of the sites
	Project string            // CodeBuild's, may be empty
	Queues  map[string]string // URLs by their settings
	Topics  []string
	// Updates is the address that the topics are to post to, and Heard tells
	// when the last of them about a build arrived.
	Updates string
	Heard   func(context.Context) (time.Time, error)
}

type examiner struct {
	ctx    context.Context
	loaded aws.Config
	cfg    Config
	x      Examination
	tell   checkup.Tell
}

// Examine looks at the account as work needs it, and tells each finding as it
// is made. It changes nothing but an object that it writes and removes again:
// where a permission can't be seen, a call is made that can have no effect.
func Examine(ctx context.Context, loaded aws.Config, cfg Config, x Examination, tell checkup.Tell) {
	e := examiner{ctx, loaded, cfg, x, tell}
	if !e.credentials() {
		return // the rest would only repeat it
	}
	if x.Sites {
		e.bucket("TROY_AWS_SITES_BUCKET", cfg.SitesBucket)
		e.bucket("TROY_AWS_WORK_BUCKET", cfg.WorkBucket)
		e.certificate()
		e.zone()
		e.distributions()
		e.pointers()
	}
	for setting, address := range x.Queues {
		e.queue(setting, address)
	}
	if x.Project != "" {
		e.project()
	}
	for _, topic := range x.Topics {
		e.topic(topic)
	}
	if x.Project != "" && len(x.Topics) > 0 && x.Heard != nil {
		e.updates()
	}
}

// denied reports whether AWS refuses a call for want of a permission.
func denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (strings.HasPrefix(api.ErrorCode(), "AccessDenied") || api.ErrorCode() == "AuthorizationError" || api.ErrorCode() == "UnauthorizedOperation")
}

// words is an error without the SDK's own.
func words(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); len(text) > 300 && i > 0 {
		text = text[i+2:]
	}
	return text
}

// may tells of permissions by calls that can't have an effect: whoever lacks
// one is told so before what is wrong with the call. It returns those denied.
func (e examiner) may(calls map[string]func(context.Context) error) (lacking []string) {
	for _, action := range slices.Sorted(maps.Keys(calls)) {
		ctx, cancel := context.WithTimeout(e.ctx, awsapi.CallTimeout)
		if err := calls[action](ctx); denied(err) {
			lacking = append(lacking, action)
		}
		cancel()
	}
	return lacking
}

// maxSkew is how far this machine's clock may be from AWS's. Signatures are
// refused at five minutes.
const maxSkew = time.Minute

func (e examiner) credentials() bool {
	out, err := awsapi.Call(e.ctx, func(ctx context.Context) (*sts.GetCallerIdentityOutput, error) {
		return sts.NewFromConfig(e.loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	})
	if err != nil {
		e.tell.Wrong("credentials", words(err), "give credentials as every AWS SDK finds them (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in TROY_AWS_PROFILE, the role of the machine), and check TROY_AWS_ROLE if it is set")
		return false
	}
	e.tell.Well("credentials", "%s", aws.ToString(out.Arn))
	if now, ok := awsmiddleware.GetServerTime(out.ResultMetadata); ok {
		received, _ := awsmiddleware.GetResponseAt(out.ResultMetadata)
		if skew := received.Sub(now); skew.Abs() > maxSkew {
			side := "ahead of"
			if skew < 0 {
				side = "behind"
			}
			e.tell.Wrong("clock", fmt.Sprintf("this machine's clock is %s %s AWS's", skew.Abs().Round(time.Second), side), "set it by NTP: AWS refuses signatures that are five minutes off")
		} else {
			e.tell.Well("clock", "within %s of AWS's", maxSkew)
		}
	}
	return true
}

func (e examiner) bucket(setting, name string) {
	b := bucket{awsapi.Bucket{Client: awsapi.NewS3(e.loaded, e.cfg.Config), Name: name}}
	key := "doctor/" + uuid.NewString()
	err := b.Put(e.ctx, key, []byte("troyd doctor"), "text/plain", true)
	if err == nil {
		_, err = b.Get(e.ctx, key, 100)
	}
	if err == nil {
		err = b.List(e.ctx, "doctor/", func(awsapi.Object) error { return nil })
	}
	if err == nil {
		_, err = b.Versioned(e.ctx)
	}
	if err = errors.Join(err, b.Remove(e.ctx, key)); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		e.tell.Wrong("bucket "+name, first, "%s has to be a bucket in %s that the role may list, read, write and delete in (docs/aws.md)", setting, e.cfg.Region)
		return
	}
	e.tell.Well("bucket "+name, "written, read, listed, removed")
}

// renewBy is how long before its end a certificate is told of.
const renewBy = 14 * 24 * time.Hour

func (e examiner) certificate() {
	const part = "certificate"
	client := acm.NewFromConfig(e.loaded, func(o *acm.Options) { o.Region = "us-east-1" })
	out, err := awsapi.Call(e.ctx, func(ctx context.Context) (*acm.DescribeCertificateOutput, error) {
		return client.DescribeCertificate(ctx, &acm.DescribeCertificateInput{CertificateArn: &e.cfg.CertificateARN})
	})
	if err != nil {
		e.tell.Wrong(part, words(err), "TROY_AWS_CERTIFICATE has to be a certificate of ACM in us-east-1 and in this account, which the role may describe")
		return
	}
	c := out.Certificate
	want := "*." + e.x.Suffix
	covered := false
	for _, name := range c.SubjectAlternativeNames {
		covered = covered || strings.EqualFold(name, want)
	}
	switch {
	case !covered:
		e.tell.Wrong(part, "it covers "+strings.Join(c.SubjectAlternativeNames, ", ")+" and not "+want, "request one in us-east-1 for %s and set TROY_AWS_CERTIFICATE to it", want)
	case c.Status != acmtypes.CertificateStatusIssued:
		e.tell.Wrong(part, "it is "+string(c.Status), "finish its validation in ACM: the CNAME that ACM names has to be in the zone")
	case c.NotAfter != nil && time.Until(*c.NotAfter) < renewBy:
		e.tell.Wrong(part, "it ends on "+c.NotAfter.Format(time.DateOnly), "see in ACM why it is not renewed: the CNAME of its validation has to stay in the zone")
	default:
		e.tell.Well(part, "issued, covers %s", want)
	}
}

func (e examiner) zone() {
	const part = "hosted zone"
	client := route53.NewFromConfig(e.loaded)
	out, err := awsapi.Call(e.ctx, func(ctx context.Context) (*route53.GetHostedZoneOutput, error) {
		return client.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &e.cfg.Zone})
	})
	if err != nil {
		e.tell.Wrong(part, words(err), "TROY_AWS_ZONE has to be the id of a hosted zone of this account, which the role may read")
		return
	}
	name := strings.TrimSuffix(aws.ToString(out.HostedZone.Name), ".")
	switch {
	case e.x.Suffix != name && !strings.HasSuffix(e.x.Suffix, "."+name):
		e.tell.Wrong(part, "it is of "+name, "TROY_SITES_SUFFIX, %s, has to be %s or lie under it; else set TROY_AWS_ZONE to the zone that it lies in", e.x.Suffix, name)
		return
	case out.HostedZone.Config != nil && out.HostedZone.Config.PrivateZone:
		e.tell.Wrong(part, "it is private", "set TROY_AWS_ZONE to the public zone of %s", name)
		return
	}
	// Removing a record that is not there is refused, after the permission.
	absent := &r53types.ResourceRecordSet{
		Name: aws.String("troy-doctor-" + uuid.NewString()[:8] + "." + e.x.Suffix), Type: r53types.RRTypeTxt, TTL: aws.Int64(60),
		ResourceRecords: []r53types.ResourceRecord{{Value: aws.String(`"troy"`)}},
	}
	e.permissions(part, "of "+name, e.may(map[string]func(context.Context) error{
		"route53:ListResourceRecordSets": func(ctx context.Context) error {
			_, err := client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: &e.cfg.Zone, MaxItems: aws.Int32(1)})
			return err
		},
		"route53:ChangeResourceRecordSets": func(ctx context.Context) error {
			_, err := client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: &e.cfg.Zone, ChangeBatch: &r53types.ChangeBatch{
				Changes: []r53types.Change{{Action: r53types.ChangeActionDelete, ResourceRecordSet: absent}},
			}})
			return err
		},
	}))
}

func (e examiner) permissions(part, said string, lacking []string) {
	if len(lacking) == 0 {
		e.tell.Well(part, "%s", said)
		return
	}
	e.tell.Wrong(part, said+"; AWS denies "+strings.Join(lacking, ", "), "add what is denied to the role (docs/aws.md)")
}

// The quota "Web distributions per AWS account"
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
const quotaDistributions = "L-24B04930"

func (e examiner) distributions() {
	const part, nobody = "distributions", "E00000000TROY"
	cdn := NewCDN(e.loaded, e.cfg)
	count := 0
	if err := cdn.each(e.ctx, func(cftypes.DistributionSummary) (bool, error) { count++; return true, nil }); err != nil {
		e.tell.Wrong(part, words(err), "the role has to be allowed cloudfront:ListDistributions (docs/aws.md)")
		return
	}
	out, err := awsapi.Call(e.ctx, func(ctx context.Context) (*servicequotas.GetServiceQuotaOutput, error) {
		client := servicequotas.NewFromConfig(e.loaded, func(o *servicequotas.Options) { o.Region = "us-east-1" })
		return client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("cloudfront"), QuotaCode: aws.String(quotaDistributions)})
	})
	said := fmt.Sprintf("%d, their quota could not be read (%s)", count, words(errOr(err)))
	if err == nil {
		quota := int(aws.ToFloat64(out.Quota.Value))
		said = fmt.Sprintf("%d of %d", count, quota)
		if count*10 >= quota*9 {
			e.tell.Wrong(part, said, "ask for more (Service Quotas, Amazon CloudFront, Web distributions per AWS account): one is made for each pipeline")
			return
		}
	}
	e.permissions(part, said, e.may(cdn.trials(e.x.Suffix)))
	e.functions(cdn)
}

// functions tells whether the distributions run this version's functions, with
// this installation's pointers.
func (e examiner) functions(cdn *CDN) {
	const part = "functions"
	said, err := cdn.astray(e.ctx)
	switch {
	case err != nil:
		e.tell.Wrong(part, words(err), "the role has to be allowed cloudfront:DescribeFunction and cloudfront:GetFunction (docs/aws.md)")
	case len(said) > 0:
		e.tell.Wrong(part, strings.Join(said, "; "), "keep `troyd work` of this version running: it mends this within %s. Until then such sites may answer 404", UpkeepInterval)
	default:
		e.tell.Well(part, "of this version, reading this installation's pointers")
	}
}

func errOr(err error) error {
	if err == nil {
		return errors.New("")
	}
	return err
}

func (e examiner) pointers() {
	const part = "pointer store"
	if err := NewCDN(e.loaded, e.cfg).pointers.probe(e.ctx); err != nil {
		e.tell.Wrong(part, words(err), "TROY_AWS_POINTER_STORE has to be the ARN of a CloudFront KeyValueStore of this account, which the role may describe and read (docs/aws.md)")
		return
	}
	e.tell.Well(part, "read")
}

func (e examiner) queue(setting, address string) {
	q := NewQueue(e.loaded, address)
	target, err := q.DeadLetters(e.ctx)
	switch {
	case err != nil:
		e.tell.Wrong(setting, words(err), "it has to be the URL of a queue in %s, which the role may read", e.cfg.Region)
		return
	case target == "":
		e.tell.Wrong(setting, "it has no dead-letter queue", "give it a redrive policy: what can't be taken in would be received again and again")
		return
	}
	nobody := cloud.Message{Receipt: "none"}
	e.permissions(setting, "its dead letters go to "+target[strings.LastIndexByte(target, ':')+1:], e.may(map[string]func(context.Context) error{
		// More than a call may receive is refused, after the permission.
		"sqs:ReceiveMessage": func(ctx context.Context) error {
			_, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, MaxNumberOfMessages: batch + 1})
			return err
		},
		"sqs:ChangeMessageVisibility": func(ctx context.Context) error { return q.Hold(ctx, 0, nobody) },
		"sqs:DeleteMessage":           func(ctx context.Context) error { return q.Done(ctx, nobody) },
	}))
}

func (e examiner) project() {
	const part = "CodeBuild"
	client := codebuild.NewFromConfig(e.loaded)
	out, err := awsapi.Call(e.ctx, func(ctx context.Context) (*codebuild.BatchGetProjectsOutput, error) {
		return client.BatchGetProjects(ctx, &codebuild.BatchGetProjectsInput{Names: []string{e.x.Project}})
	})
	if err == nil && len(out.Projects) == 0 {
		err = fmt.Errorf("there is no project %s", e.x.Project)
	}
	if err != nil {
		e.tell.Wrong(part, words(err), "TROY_AWS_PROJECT has to be a project in %s, which the role may read", e.cfg.Region)
		return
	}
	e.permissions(part, "the project "+e.x.Project, e.may(map[string]func(context.Context) error{
		// A time limit that is too short is refused, after the permission.
		"codebuild:StartBuild": func(ctx context.Context) error {
			_, err := client.StartBuild(ctx, &codebuild.StartBuildInput{ProjectName: &e.x.Project, TimeoutInMinutesOverride: aws.Int32(1)})
			return err
		},
		"codebuild:StopBuild": func(ctx context.Context) error {
			_, err := client.StopBuild(ctx, &codebuild.StopBuildInput{Id: aws.String(e.x.Project + ":" + uuid.Nil.String())})
			return err
		},
		"codebuild:BatchGetBuilds": func(ctx context.Context) error {
			_, err := client.BatchGetBuilds(ctx, &codebuild.BatchGetBuildsInput{Ids: []string{e.x.Project + ":" + uuid.Nil.String()}})
			return err
		},
		"codebuild:ListBuildsForProject": func(ctx context.Context) error {
			_, err := client.ListBuildsForProject(ctx, &codebuild.ListBuildsForProjectInput{ProjectName: &e.x.Project})
			return err
		},
		"logs:GetLogEvents": func(ctx context.Context) error {
			_, err := cloudwatchlogs.NewFromConfig(e.loaded).GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{
				LogGroupName: aws.String("/aws/codebuild/" + e.x.Project), LogStreamName: aws.String(uuid.Nil.String()),
			})
			return err
		},
	}))
}

func (e examiner) topic(arn string) {
	part := "topic " + arn[strings.LastIndexByte(arn, ':')+1:]
	region := e.loaded.Region
	if parts := strings.Split(arn, ":"); len(parts) == 6 {
		region = parts[3]
	}
	client := sns.NewFromConfig(e.loaded, func(o *sns.Options) { o.Region = region })
	pages := sns.NewListSubscriptionsByTopicPaginator(client, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	pending := false
	for pages.HasMorePages() {
		page, err := awsapi.Call(e.ctx, func(ctx context.Context) (*sns.ListSubscriptionsByTopicOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			e.tell.Wrong(part, words(err), "TROY_SNS_TOPICS has to list topics of this account, whose subscriptions the role may list")
			return
		}
		for _, s := range page.Subscriptions {
			if aws.ToString(s.Endpoint) != e.x.Updates {
				continue
			}
			if aws.ToString(s.SubscriptionArn) != "PendingConfirmation" {
				e.tell.Well(part, "posts to %s", e.x.Updates)
				return
			}
			pending = true
		}
	}
	if pending {
		e.tell.Wrong(part, "the subscription of "+e.x.Updates+" is not confirmed", "run `troyd web` where SNS reaches %s, with the topic in TROY_SNS_TOPICS, and ask for the confirmation once more", e.x.Updates)
		return
	}
	e.tell.Wrong(part, "it does not post to "+e.x.Updates, "subscribe it: aws sns subscribe --topic-arn %s --protocol https --notification-endpoint %s; until then builds are polled", arn, e.x.Updates)
}
