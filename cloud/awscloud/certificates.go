package awscloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// certificateRegion is the region of certificates for CloudFront
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cnames-and-https-requirements.html).
const certificateRegion = "us-east-1"

// requestAgain is the time after which a failed request for a certificate is
// repeated. ACM limits the requests of a year
// (docs.aws.amazon.com/acm/latest/userguide/acm-limits.html).
const requestAgain = 6 * time.Hour

// notUsedYet is what a host waits for once its certificate was issued.
const notUsedYet = "The certificate has been issued, and CloudFront is being told to use it"

func newACM(loaded aws.Config) *acm.Client {
	return acm.NewFromConfig(loaded, func(o *acm.Options) { o.Region = certificateRegion })
}

// certificateReference is the tag of what is made for the custom hosts of a
// distribution.
func (c *CDN) certificateReference(id string) string { return c.installation() + "-" + id }

// certificate is a certificate of ACM.
type certificate struct{ *acmtypes.CertificateDetail }

func (c *CDN) certificate(ctx context.Context, arn string) (certificate, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*acm.DescribeCertificateOutput, error) {
		return c.acm.DescribeCertificate(ctx, &acm.DescribeCertificateInput{CertificateArn: &arn})
	})
	if err != nil {
		return certificate{}, awsapi.Failed("read the certificate "+arn, err)
	}
	return certificate{out.Certificate}, nil
}

// managed returns the certificate that CloudFront requested for a tenant, or nil.
func (c *CDN) managed(ctx context.Context, t tenant) (*certificate, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.GetManagedCertificateDetailsOutput, error) {
		return c.client.GetManagedCertificateDetails(ctx, &cloudfront.GetManagedCertificateDetailsInput{Identifier: t.Id})
	})
	if err = awsapi.Failed("read the certificate of the distribution tenant "+t.id(), err); errors.Is(err, cloud.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if out.ManagedCertificateDetails == nil || aws.ToString(out.ManagedCertificateDetails.CertificateArn) == "" {
		return nil, nil
	}
	made, err := c.certificate(ctx, aws.ToString(out.ManagedCertificateDetails.CertificateArn))
	if errors.Is(err, cloud.ErrNotFound) {
		return nil, nil // it was deleted
	}
	return &made, err
}

// pending reports whether ACM still validates the certificate.
func (c certificate) pending() bool {
	return c.Status == acmtypes.CertificateStatusPendingValidation
}

// failed reports whether the certificate can't be used, and never will be.
func (c certificate) failed() bool {
	return !c.pending() && c.Status != acmtypes.CertificateStatusIssued
}

// again reports whether a failed certificate is to be requested once more: after
// some time, or if people asked for it.
func (c certificate) again(now time.Time, asked bool) bool {
	return c.failed() && (asked || !now.Before(aws.ToTime(c.CreatedAt).Add(requestAgain)))
}

// state returns the certificate's part of a host's state.
func (c certificate) state() cloud.HostState {
	switch {
	case c.pending():
		return cloud.HostState{Certificate: cloud.CertificateIssuing, Records: c.records()}
	case c.failed():
		return cloud.HostState{
			Certificate: cloud.CertificateFailed, Problem: c.why(), NotAfter: aws.ToTime(c.NotAfter), Records: c.records(),
			NextTry: aws.ToTime(c.CreatedAt).Add(requestAgain),
		}
	}
	state := cloud.HostState{Certificate: cloud.CertificateActive, NotAfter: aws.ToTime(c.NotAfter), Records: c.records()}
	if r := c.RenewalSummary; r != nil && (r.RenewalStatus == acmtypes.RenewalStatusFailed || r.RenewalStatus == acmtypes.RenewalStatusPendingValidation) {
		state.Problem = "ACM can't validate the renewal of the certificate: the records must stay as they were when it was issued"
	}
	return state
}

// records returns the DNS records that validate the certificate.
func (c certificate) records() (records []cloud.HostRecord) {
	for _, o := range c.DomainValidationOptions {
		if r := o.ResourceRecord; r != nil {
			record := recordOf(r)
			if !slices.Contains(records, record) {
				records = append(records, record)
			}
		}
	}
	return records
}

// recordsOf returns the records that validate the certificate for one of its
// names.
func (c certificate) recordsOf(host string) (records []cloud.HostRecord) {
	for _, o := range c.DomainValidationOptions {
		if aws.ToString(o.DomainName) == host && o.ResourceRecord != nil {
			records = append(records, recordOf(o.ResourceRecord))
		}
	}
	return records
}

func recordOf(r *acmtypes.ResourceRecord) cloud.HostRecord {
	return cloud.HostRecord{Type: string(r.Type), Name: plain(aws.ToString(r.Name)), Value: plain(aws.ToString(r.Value))}
}

// why returns the reason for a missing certificate, as a sentence.
func (c certificate) why() string {
	switch {
	case c.FailureReason == acmtypes.FailureReasonCaaError:
		return "a CAA record forbids Amazon to issue a certificate: allow amazon.com, amazontrust.com, awstrust.com or amazonaws.com"
	case c.FailureReason == acmtypes.FailureReasonDomainNotAllowed || c.FailureReason == acmtypes.FailureReasonAdditionalVerificationRequired:
		return fmt.Sprintf("Amazon refuses a certificate for the domain (%s): ask AWS Support", c.FailureReason)
	case c.Status == acmtypes.CertificateStatusValidationTimedOut:
		return "ACM could not validate the domain within 72 hours"
	case c.FailureReason != "":
		return fmt.Sprintf("ACM gives the reason %s", c.FailureReason)
	}
	return "ACM says that the certificate is " + strings.ToLower(strings.ReplaceAll(string(c.Status), "_", " "))
}

// requestedState returns the state of a host for which only a certificate was
// requested yet.
func (c *CDN) requestedState(ctx context.Context, id, host string) (cloud.HostState, error) {
	made, err := c.findCertificate(ctx, id, []string{host})
	if err != nil {
		return cloud.HostState{}, err
	}
	state := made.state()
	if state.Certificate == cloud.CertificateActive {
		state.Certificate, state.Problem = cloud.CertificateIssuing, notUsedYet
	}
	return state, nil
}

// eachCertificate walks the account's certificates.
func (c *CDN) eachCertificate(ctx context.Context, each func(acmtypes.CertificateSummary) error) error {
	pages := acm.NewListCertificatesPaginator(c.acm, &acm.ListCertificatesInput{})
	for pages.HasMorePages() {
		page, err := awsapi.Call(ctx, func(ctx context.Context) (*acm.ListCertificatesOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return awsapi.Failed("list the certificates", err)
		}
		for _, s := range page.CertificateSummaryList {
			if err := each(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// referenceOf returns the reference in a certificate's tags, or "".
func (c *CDN) referenceOf(ctx context.Context, arn string) (string, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*acm.ListTagsForCertificateOutput, error) {
		return c.acm.ListTagsForCertificate(ctx, &acm.ListTagsForCertificateInput{CertificateArn: &arn})
	})
	if err = awsapi.Failed("read the tags of the certificate "+arn, err); errors.Is(err, cloud.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, t := range out.Tags {
		if aws.ToString(t.Key) == referenceTag {
			return aws.ToString(t.Value), nil
		}
	}
	return "", nil
}

// findCertificate returns the certificate that was requested for exactly these
// names of a distribution: the latest one that did not fail, or else the latest.
// It returns cloud.ErrNotFound if there is none.
func (c *CDN) findCertificate(ctx context.Context, id string, names []string) (certificate, error) {
	var found certificate
	err := c.eachCertificate(ctx, func(s acmtypes.CertificateSummary) error {
		if aws.ToString(s.DomainName) != names[0] || s.ManagedBy != "" {
			return nil
		}
		reference, err := c.referenceOf(ctx, aws.ToString(s.CertificateArn))
		if err != nil || reference != c.certificateReference(id) {
			return err
		}
		one, err := c.certificate(ctx, aws.ToString(s.CertificateArn))
		if errors.Is(err, cloud.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if sameNames(one.SubjectAlternativeNames, names) && (found.CertificateDetail == nil || one.betterThan(found)) {
			found = one
		}
		return nil
	})
	if err == nil && found.CertificateDetail == nil {
		err = fmt.Errorf("a certificate for %s: %w", strings.Join(names, ", "), cloud.ErrNotFound)
	}
	return found, err
}

func (c certificate) betterThan(other certificate) bool {
	if c.failed() != other.failed() {
		return other.failed()
	}
	return aws.ToTime(c.CreatedAt).After(aws.ToTime(other.CreatedAt))
}

func sameNames(a, b []string) bool {
	sorted := func(names []string) []string { return slices.Compact(slices.Sorted(slices.Values(names))) }
	return slices.Equal(sorted(a), sorted(b))
}

// ensureCertificate returns the certificate for names of a distribution, and
// requests it if it was not requested yet, or is to be again. DNS validates it.
// If the answer to a request was lost, the next call finds the certificate by its
// tag.
func (c *CDN) ensureCertificate(ctx context.Context, id string, names []string, again bool) (certificate, error) {
	found, err := c.findCertificate(ctx, id, names)
	if err == nil && !found.again(time.Now(), again) {
		return found, nil
	}
	if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return found, err
	}
	reference := c.certificateReference(id)
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*acm.RequestCertificateOutput, error) {
		in := &acm.RequestCertificateInput{
			DomainName: &names[0], ValidationMethod: acmtypes.ValidationMethodDns, IdempotencyToken: aws.String(rand.Text()),
			Tags: []acmtypes.Tag{{Key: aws.String(referenceTag), Value: &reference}},
		}
		if len(names) > 1 {
			in.SubjectAlternativeNames = names[1:]
		}
		return c.acm.RequestCertificate(ctx, in)
	})
	if err != nil {
		return found, awsapi.Failed("request a certificate for "+strings.Join(names, ", "), err)
	}
	return c.certificate(ctx, aws.ToString(out.CertificateArn))
}

// claim returns the certificate for a host of a distribution, as ensureCertificate
// does. Its request is what gives the host to the distribution before CloudFront
// serves it: claim returns a Conflict if another distribution has one.
func (c *CDN) claim(ctx context.Context, id, host string, again bool) (certificate, error) {
	err := c.eachCertificate(ctx, func(s acmtypes.CertificateSummary) error {
		if aws.ToString(s.DomainName) != host || s.ManagedBy != "" {
			return nil
		}
		arn := aws.ToString(s.CertificateArn)
		reference, err := c.referenceOf(ctx, arn)
		other, ours := strings.CutPrefix(reference, c.installation()+"-")
		if err != nil || !ours || other == id {
			return err
		}
		if _, err := c.get(ctx, other); !errors.Is(err, cloud.ErrNotFound) {
			return errors.Join(err, taken(host))
		}
		return c.dropCertificate(ctx, arn) // of a deleted distribution
	})
	if err != nil {
		return certificate{}, err
	}
	return c.ensureCertificate(ctx, id, []string{host}, again)
}

// dropCertificates deletes the certificates that were requested for a host of a
// distribution. If unserved is true, no tenant has the host; then it also deletes
// those that CloudFront requested for it.
func (c *CDN) dropCertificates(ctx context.Context, id, host string, unserved bool) error {
	return c.eachCertificate(ctx, func(s acmtypes.CertificateSummary) error {
		if aws.ToString(s.DomainName) != host {
			return nil
		}
		arn := aws.ToString(s.CertificateArn)
		if s.ManagedBy != "" {
			if !unserved {
				return nil
			}
			return c.dropCertificate(ctx, arn)
		}
		reference, err := c.referenceOf(ctx, arn)
		if err != nil || reference != c.certificateReference(id) {
			return err
		}
		return c.dropCertificate(ctx, arn)
	})
}

func (c *CDN) dropCertificate(ctx context.Context, arn string) error {
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*acm.DeleteCertificateOutput, error) {
		return c.acm.DeleteCertificate(ctx, &acm.DeleteCertificateInput{CertificateArn: &arn})
	})
	if err = awsapi.Failed("delete the certificate "+arn, err); errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	return err
}
