package awscloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	cftypes "github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

type examiner struct {
	awsapi.Examiner
	cfg    Config
	suffix string
}

// Examine checks the account's resources for serving sites. suffix is the
// domain of the sites. It changes nothing except for an object that it writes
// and removes again.
func Examine(x awsapi.Examiner, cfg Config, suffix string) {
	e := examiner{x, cfg, suffix}
	e.bucket("TROY_AWS_SITES_BUCKET", cfg.SitesBucket)
	e.bucket("TROY_AWS_WORK_BUCKET", cfg.WorkBucket)
	e.certificate("certificate", "TROY_AWS_CERTIFICATE", cfg.CertificateARN, suffix)
	zone := e.zone("hosted zone", "TROY_SITES_SUFFIX", "TROY_AWS_ZONE", cfg.Zone, suffix)
	e.distributions()
	e.pointers()
	e.domains()
	if cfg.PreviewSuffix != "" {
		e.previews(zone)
	}
	if cfg.LogBucket != "" {
		e.accessLogs()
	}
}

// ExamineQueues checks the queues whose URLs these settings have.
func ExamineQueues(x awsapi.Examiner, queues map[string]string) {
	for setting, address := range queues {
		examineQueue(x, setting, address)
	}
}

func (e examiner) bucket(setting, name string) {
	b := bucket{awsapi.Bucket{Client: awsapi.NewS3(e.Loaded, e.cfg.Config), Name: name}}
	key := "doctor/" + uuid.NewString()
	err := b.Put(e.Context, key, []byte("troyd doctor"), "text/plain", true)
	if err == nil {
		_, err = b.Get(e.Context, key, 100)
	}
	if err == nil {
		err = b.List(e.Context, "doctor/", func(awsapi.Object) error { return nil })
	}
	if err == nil {
		_, err = b.Versioned(e.Context)
	}
	if err = errors.Join(err, b.Remove(e.Context, key)); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		e.Wrong("bucket "+name, first, "%s must be a bucket in %s that the role may list, read, write and delete in (docs/aws.md)", setting, e.cfg.Region)
		return
	}
	e.Well("bucket "+name, "written, read, listed, removed")
}

// renewBy is the time before a certificate's end from which Examine reports it.
const renewBy = 14 * 24 * time.Hour

func (e examiner) certificate(part, setting, arn, suffix string) {
	client := acm.NewFromConfig(e.Loaded, func(o *acm.Options) { o.Region = "us-east-1" })
	out, err := awsapi.Call(e.Context, func(ctx context.Context) (*acm.DescribeCertificateOutput, error) {
		return client.DescribeCertificate(ctx, &acm.DescribeCertificateInput{CertificateArn: &arn})
	})
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "%s must be an ACM certificate in us-east-1 and in this account, which the role may describe", setting)
		return
	}
	c := out.Certificate
	want := "*." + suffix
	covered := false
	for _, name := range c.SubjectAlternativeNames {
		covered = covered || strings.EqualFold(name, want)
	}
	switch {
	case !covered:
		e.Wrong(part, "it covers "+strings.Join(c.SubjectAlternativeNames, ", ")+" and not "+want, "request one in us-east-1 for %s and set %s to it", want, setting)
	case c.Status != acmtypes.CertificateStatusIssued:
		e.Wrong(part, "it is "+string(c.Status), "finish its validation in ACM: the CNAME that ACM names must be in the zone")
	case c.NotAfter != nil && time.Until(*c.NotAfter) < renewBy:
		e.Wrong(part, "it ends on "+c.NotAfter.Format(time.DateOnly), "see in ACM why it is not renewed: the CNAME of its validation must stay in the zone")
	default:
		e.Well(part, "issued, covers %s", want)
	}
}

func (e examiner) zone(part, domain, setting, id, suffix string) bool {
	client := route53.NewFromConfig(e.Loaded)
	out, err := awsapi.Call(e.Context, func(ctx context.Context) (*route53.GetHostedZoneOutput, error) {
		return client.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &id})
	})
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "%s must be the id of a hosted zone of this account, which the role may read", setting)
		return false
	}
	name := strings.TrimSuffix(aws.ToString(out.HostedZone.Name), ".")
	switch {
	case suffix != name && !strings.HasSuffix(suffix, "."+name):
		e.Wrong(part, "it is of "+name, "%s, %s, must be %s or a subdomain of it; otherwise set %s to the zone that contains it", domain, suffix, name, setting)
		return false
	case out.HostedZone.Config != nil && out.HostedZone.Config.PrivateZone:
		e.Wrong(part, "it is private", "set %s to the public zone of %s", setting, name)
		return false
	}
	// Route 53 checks the permission before it refuses to remove a record that
	// does not exist.
	absent := &r53types.ResourceRecordSet{
		Name: aws.String("troy-doctor-" + uuid.NewString()[:8] + "." + suffix), Type: r53types.RRTypeTxt, TTL: aws.Int64(60),
		ResourceRecords: []r53types.ResourceRecord{{Value: aws.String(`"troy"`)}},
	}
	e.Permissions(part, "of "+name, e.May(map[string]func(context.Context) error{
		"route53:ListResourceRecordSets": func(ctx context.Context) error {
			_, err := client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: &id, MaxItems: aws.Int32(1)})
			return err
		},
		"route53:ChangeResourceRecordSets": func(ctx context.Context) error {
			_, err := client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: &id, ChangeBatch: &r53types.ChangeBatch{
				Changes: []r53types.Change{{Action: r53types.ChangeActionDelete, ResourceRecordSet: absent}},
			}})
			return err
		},
	}))
	return true
}

// The quota "Web distributions per AWS account"
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
const quotaDistributions = "L-24B04930"

func (e examiner) distributions() {
	const part, absent = "distributions", "E00000000TROY"
	cdn := NewCDN(e.Loaded, e.cfg)
	count := 0
	if err := cdn.each(e.Context, func(cftypes.DistributionSummary) (bool, error) { count++; return true, nil }); err != nil {
		e.Wrong(part, awsapi.Words(err), "the role must be allowed cloudfront:ListDistributions (docs/aws.md)")
		return
	}
	out, err := awsapi.Call(e.Context, func(ctx context.Context) (*servicequotas.GetServiceQuotaOutput, error) {
		client := servicequotas.NewFromConfig(e.Loaded, func(o *servicequotas.Options) { o.Region = "us-east-1" })
		return client.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("cloudfront"), QuotaCode: aws.String(quotaDistributions)})
	})
	said := fmt.Sprintf("%d, their quota could not be read (%s)", count, awsapi.Words(errOr(err)))
	if err == nil {
		quota := int(aws.ToFloat64(out.Quota.Value))
		said = fmt.Sprintf("%d of %d", count, quota)
		if count*10 >= quota*9 {
			e.Wrong(part, said, "request a higher quota (Service Quotas, Amazon CloudFront, Web distributions per AWS account): Troy makes one for each pipeline")
			return
		}
	}
	e.Permissions(part, said, e.May(cdn.trials(e.suffix)))
	e.functions(cdn)
}

// functions checks that the distributions run this version's functions, with
// this installation's pointers.
func (e examiner) functions(cdn *CDN) {
	const part = "functions"
	said, err := cdn.astray(e.Context)
	switch {
	case err != nil:
		e.Wrong(part, awsapi.Words(err), "the role must be allowed cloudfront:DescribeFunction and cloudfront:GetFunction (docs/aws.md)")
	case len(said) > 0:
		e.Wrong(part, strings.Join(said, "; "), "keep `troyd work` of this version running: it fixes this within %s. Until then such sites may answer 404", UpkeepInterval)
	default:
		e.Well(part, "of this version, reading this installation's pointers")
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
	if err := NewCDN(e.Loaded, e.cfg).pointers.probe(e.Context); err != nil {
		e.Wrong(part, awsapi.Words(err), "TROY_AWS_POINTER_STORE must be the ARN of a CloudFront KeyValueStore of this account, which the role may describe and read (docs/aws.md)")
		return
	}
	e.Well(part, "read")
}

func examineQueue(e awsapi.Examiner, setting, address string) {
	q := NewQueue(e.Loaded, address)
	target, err := q.DeadLetters(e.Context)
	switch {
	case err != nil:
		e.Wrong(setting, awsapi.Words(err), "it must be the URL of a queue in %s, which the role may read", e.Loaded.Region)
		return
	case target == "":
		e.Wrong(setting, "it has no dead-letter queue", "give it a redrive policy: invalid messages would be received again and again")
		return
	}
	none := cloud.Message{Receipt: "none"}
	e.Permissions(setting, "its dead letters go to "+target[strings.LastIndexByte(target, ':')+1:], e.May(map[string]func(context.Context) error{
		// SQS checks the permission before it refuses a batch that is too
		// large.
		"sqs:ReceiveMessage": func(ctx context.Context) error {
			_, err := q.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &q.url, MaxNumberOfMessages: batch + 1})
			return err
		},
		"sqs:ChangeMessageVisibility": func(ctx context.Context) error { return q.Hold(ctx, 0, none) },
		"sqs:DeleteMessage":           func(ctx context.Context) error { return q.Done(ctx, none) },
	}))
}
