// Package awscloud serves sites from a team's own AWS account: their files in
// S3, a CloudFront distribution for each pipeline, alias records in Route 53.
// It is the cloud for several machines; cmd/troyd makes it for TROY_CLOUD=aws.
//
// The process holds only caches: any number of web and work processes share one
// account.
package awscloud

import (
	"context"
	"time"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// Config names the AWS resources that serve the sites. deploy/aws makes all of
// them.
type Config struct {
	awsapi.Config

	// SitesBucket holds the files of sites, which CloudFront reads. WorkBucket
	// holds manifests, sources and build outputs, which only Troy and its
	// builds read. They are two buckets so that CloudFront can reach nothing
	// private.
	SitesBucket, WorkBucket string
	// Zone is the id of the hosted zone for the sites' records.
	Zone string
	// CertificateARN is the ACM certificate for the sites' hosts, in us-east-1.
	CertificateARN string
	// KeyValueStoreARN is CloudFront's store of the pointers.
	KeyValueStoreARN string
	// PriceClass selects the CloudFront locations: PriceClass_100,
	// PriceClass_200 or PriceClass_All, the default.
	PriceClass string

	// Domains says how CloudFront serves custom domains: DomainTenants, the
	// default, or DomainAliases.
	Domains string

	// PreviewSuffix is the domain of the previews; without it there are none.
	// PreviewZone is its hosted zone, and PreviewCertificateARN the certificate
	// for its hosts; empty means those of the sites.
	PreviewSuffix, PreviewZone, PreviewCertificateARN string

	// SignIn is Troy's own address, at which visitors of protected sites type
	// the password. Without it no site can have passwords.
	SignIn string

	// LogBucket, which may be empty, is the bucket for CloudFront's access
	// logs, with the installation's name as prefix.
	LogBucket string
	// Temp is the folder for large uploads until they are complete. It is
	// created when needed; empty means the system's temporary folder.
	Temp string

	// Lock runs f while no other process holds the name. It serializes calls
	// that AWS does not accept concurrently: writes to the pointers' store and
	// changes of a zone.
	Lock func(ctx context.Context, name string, f func(context.Context) error) error
}

// PriceClasses lists the values of Config.PriceClass
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PriceClass.html).
func PriceClasses() []string { return []string{"PriceClass_100", "PriceClass_200", "PriceClass_All"} }

// New returns the cloud of an account. It does not call AWS.
func New(ctx context.Context, cfg Config, limits site.Limits, propagationDelay time.Duration) (cloud.Cloud, error) {
	loaded, err := awsapi.Load(ctx, cfg.Config)
	if err != nil {
		return cloud.Cloud{}, err
	}
	cdn := NewCDN(loaded, cfg)
	made := cloud.Cloud{
		Store: NewStore(loaded, cfg, limits), CDN: cdn, Domains: cdn, DNS: NewDNS(loaded, cfg), PropagationDelay: propagationDelay,
		AccessLogs: NewAccessLogs(loaded, cfg), Functions: true,
	}
	if cfg.PreviewSuffix != "" {
		made.Previews = cdn
	}
	return made, nil
}
