// Package awscloud serves sites from a team's own AWS account: their files in
// S3, a CloudFront distribution for each pipeline, alias records in Route 53. It is the cloud of several machines; cmd/troyd makes it
// for TROY_CLOUD=aws.
//
// Nothing is kept in the process that could not be read again: any number of
// web and work processes share one account.
package awscloud

import (
	"context"
	"time"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// Config says where in AWS the sites live. deploy/aws makes all that it names.
type Config struct {
	awsapi.Config

	// SitesBucket holds the files of sites, which CloudFront reads.
	// WorkBucket holds what only Troy and its builds read: manifests, sources and
	// outputs. They are two so that nothing CloudFront can be asked for is
	// private.
	SitesBucket, WorkBucket string
	// Zone is the id of the hosted zone that the sites' records are made in.
	Zone string
	// CertificateARN is ACM's certificate for the sites' hosts, in us-east-1.
	CertificateARN string
	// KeyValueStoreARN is CloudFront's store of the pointers.
	KeyValueStoreARN string
	// PriceClass says from where in the world CloudFront serves:
	// PriceClass_100, PriceClass_200, or PriceClass_All if empty.
	PriceClass string

	// LogBucket, which may be empty, is the bucket that CloudFront writes access
	// logs to, each distribution under its reference.
	LogBucket string
	// Temp is the folder of large uploads until they are whole. It is made when
	// it is needed; empty means the system's folder of temporary files.
	Temp string

	// Lock runs f while nobody else holds the name, in any process. What AWS
	// wants one after another (the pointers' store, a zone's changes) is kept
	// in order by it.
	Lock func(ctx context.Context, name string, f func(context.Context) error) error
}

// PriceClasses lists what Config.PriceClass may be
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PriceClass.html).
func PriceClasses() []string { return []string{"PriceClass_100", "PriceClass_200", "PriceClass_All"} }

// New returns the cloud of an account. It does not call AWS.
func New(ctx context.Context, cfg Config, limits site.Limits, propagationDelay time.Duration) (cloud.Cloud, error) {
	loaded, err := awsapi.Load(ctx, cfg.Config)
	if err != nil {
		return cloud.Cloud{}, err
	}
	return cloud.Cloud{
		Store: NewStore(loaded, cfg, limits), CDN: NewCDN(loaded, cfg), DNS: NewDNS(loaded, cfg), PropagationDelay: propagationDelay,
	}, nil
}
