package awscloud

import (
	"context"
	"crypto/md5" //nolint:gosec // as plainTag says
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

const (
	// cachingOptimized is the id of CloudFront's managed cache policy
	// CachingOptimized
	// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html).
	cachingOptimized = "658327ea-f89d-4fab-a63d-7e88639e58f6"
	// errorTTL is how long CloudFront caches a 404, in seconds.
	errorTTL = 10
	// referenceTag is the tag that holds a distribution's reference.
	referenceTag = "troy:reference"
)

// distributionID matches CloudFront's ids; they become part of paths.
var distributionID = regexp.MustCompile(`^[A-Z0-9]{1,40}$`)

// CDN is CloudFront: a distribution for each pipeline, all with the same bucket
// as origin, and the pointers in one KeyValueStore.
type CDN struct {
	cfg           Config
	client        *cloudfront.Client
	sites, work   bucket
	pointers      *pointers
	invalidations *rate.Limiter
	deliveries    *cloudwatchlogs.Client
	read          sync.Map // ids of distributions that have no legacy access logs
	acm           *acm.Client
	shared        atomic.Pointer[tenancy] // nil until it was used
	previewDNS    *DNS
	prepared      atomic.Pointer[prepared] // nil until a preview was shown
}

var (
	_ cloud.CDN       = (*CDN)(nil)
	_ cloud.Protector = (*CDN)(nil)
)

// NewCDN returns the CDN of an account.
func NewCDN(loaded aws.Config, cfg Config) *CDN {
	kvs := cloudfrontkeyvaluestore.NewFromConfig(loaded, func(o *cloudfrontkeyvaluestore.Options) {
		if cfg.Endpoint != "" {
			o.EndpointResolverV2 = fixedEndpoint{cfg.Endpoint}
		}
	})
	objects := awsapi.NewS3(loaded, cfg.Config)
	return &CDN{
		cfg: cfg, client: cloudfront.NewFromConfig(loaded),
		sites: bucket{awsapi.Bucket{Client: objects, Name: cfg.SitesBucket}}, work: bucket{awsapi.Bucket{Client: objects, Name: cfg.WorkBucket}},
		pointers:   newPointers(kvs, cfg),
		deliveries: newDeliveries(loaded), acm: newACM(loaded), previewDNS: NewDNS(loaded, cfg.ofPreviews()),
		// CloudFront accepts one invalidation per second and account.
		invalidations: rate.NewLimiter(rate.Every(time.Second), 1),
	}
}

// Create implements cloud.CDN. The reference becomes the distribution's
// CallerReference, comment and tag.
func (c *CDN) Create(ctx context.Context, reference, host string) (made cloud.Distribution, err error) {
	host, err = site.NormalizeHost(host)
	if err != nil {
		return made, troy.Errorf(troy.Invalid, "%w", err)
	}
	// One at a time: distributions share functions, and AWS throttles
	// concurrent creations.
	err = c.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) error {
		shard, err := c.shard(ctx, reference)
		if err != nil {
			return err
		}
		out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateDistributionWithTagsOutput, error) {
			return c.client.CreateDistributionWithTags(ctx, &cloudfront.CreateDistributionWithTagsInput{
				DistributionConfigWithTags: &types.DistributionConfigWithTags{
					DistributionConfig: c.config(reference, host, shard),
					Tags:               &types.Tags{Items: []types.Tag{{Key: aws.String(referenceTag), Value: &reference}}},
				},
			})
		})
		if err != nil {
			return awsapi.Failed("create a distribution", err)
		}
		made = distribution(out.Distribution, out.ETag)
		if c.cfg.LogBucket != "" {
			// A site must not fail because of its logs. The upkeep tries again,
			// and reports the reason.
			_ = c.deliver(ctx, c.logSource(reference), aws.ToString(out.Distribution.ARN))
		}
		return nil
	})
	return made, err
}

// origin is the domain name of the sites' bucket in a distribution. It
// distinguishes this installation's distributions from others in the account.
func (c *CDN) origin() string { return c.cfg.SitesBucket + ".s3." + c.cfg.Region + ".amazonaws.com" }

// ours reports whether this installation made a distribution.
func (c *CDN) ours(d types.DistributionSummary) bool {
	return strings.HasPrefix(aws.ToString(d.Comment), referencePrefix) && c.reads(d)
}

func (c *CDN) reads(d types.DistributionSummary) bool {
	return d.Origins != nil && slices.ContainsFunc(d.Origins.Items, func(o types.Origin) bool { return aws.ToString(o.DomainName) == c.origin() })
}

func (c *CDN) priceClass() types.PriceClass {
	if c.cfg.PriceClass == "" {
		return types.PriceClassPriceClassAll
	}
	return types.PriceClass(c.cfg.PriceClass)
}

// config returns the configuration of a host's distribution.
func (c *CDN) config(reference, host string, s shard) *types.DistributionConfig {
	const origin = "sites"
	page := "/" + errorKey(reference)
	missing := func(code int32) types.CustomErrorResponse {
		return types.CustomErrorResponse{ErrorCode: &code, ResponseCode: aws.String("404"), ResponsePagePath: &page, ErrorCachingMinTTL: aws.Int64(errorTTL)}
	}
	return &types.DistributionConfig{
		CallerReference: &reference, Comment: &reference, Enabled: aws.Bool(true),
		Aliases: &types.Aliases{Quantity: aws.Int32(1), Items: []string{host}},
		Origins: &types.Origins{Quantity: aws.Int32(1), Items: []types.Origin{{
			Id: aws.String(origin), DomainName: aws.String(c.origin()),
			OriginAccessControlId: &s.access, S3OriginConfig: &types.S3OriginConfig{OriginAccessIdentity: aws.String("")},
		}}},
		DefaultCacheBehavior: &types.DefaultCacheBehavior{
			TargetOriginId: aws.String(origin), ViewerProtocolPolicy: types.ViewerProtocolPolicyRedirectToHttps, Compress: aws.Bool(true),
			AllowedMethods:       allowedMethods(),
			CachePolicyId:        aws.String(cachingOptimized),
			FunctionAssociations: s.functions(),
		},
		CustomErrorResponses: &types.CustomErrorResponses{Quantity: aws.Int32(2), Items: []types.CustomErrorResponse{missing(403), missing(404)}},
		ViewerCertificate: &types.ViewerCertificate{
			ACMCertificateArn: &c.cfg.CertificateARN, SSLSupportMethod: types.SSLSupportMethodSniOnly, MinimumProtocolVersion: types.MinimumProtocolVersionTLSv122021,
		},
		HttpVersion: types.HttpVersionHttp2and3, IsIPV6Enabled: aws.Bool(true), PriceClass: c.priceClass(),
	}
}

// allowedMethods are the methods that reach the functions, which answer
// OPTIONS. CloudFront refuses others with 403.
func allowedMethods() *types.AllowedMethods {
	read := []types.Method{types.MethodGet, types.MethodHead}
	return &types.AllowedMethods{
		Quantity: aws.Int32(3), Items: append(slices.Clone(read), types.MethodOptions),
		CachedMethods: &types.CachedMethods{Quantity: aws.Int32(2), Items: read},
	}
}

// each walks all distributions of the account until f returns false.
func (c *CDN) each(ctx context.Context, f func(types.DistributionSummary) (bool, error)) error {
	pages := cloudfront.NewListDistributionsPaginator(c.client, &cloudfront.ListDistributionsInput{})
	for pages.HasMorePages() {
		page, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.ListDistributionsOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return awsapi.Failed("list the distributions", err)
		}
		for _, d := range page.DistributionList.Items {
			if more, err := f(d); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// Find implements cloud.CDN. It searches by comment, since lists don't show the
// CallerReference.
func (c *CDN) Find(ctx context.Context, reference string) (cloud.Distribution, error) {
	id := ""
	err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if aws.ToString(d.Comment) == reference && c.reads(d) {
			id = aws.ToString(d.Id)
		}
		return id == "", nil
	})
	if err != nil {
		return cloud.Distribution{}, err
	}
	if id == "" {
		return cloud.Distribution{}, fmt.Errorf("a distribution with the reference %s: %w", reference, cloud.ErrNotFound)
	}
	return c.Get(ctx, id)
}

// Get implements cloud.CDN.
func (c *CDN) Get(ctx context.Context, id string) (cloud.Distribution, error) {
	out, err := c.get(ctx, id)
	if err != nil {
		return cloud.Distribution{}, err
	}
	return distribution(out.Distribution, out.ETag), nil
}

func (c *CDN) get(ctx context.Context, id string) (*cloudfront.GetDistributionOutput, error) {
	if !distributionID.MatchString(id) {
		return nil, fmt.Errorf("the distribution %q: %w", id, cloud.ErrNotFound)
	}
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.GetDistributionOutput, error) {
		return c.client.GetDistribution(ctx, &cloudfront.GetDistributionInput{Id: &id})
	})
	return out, awsapi.Failed("read the distribution "+id, err)
}

func distribution(d *types.Distribution, etag *string) cloud.Distribution {
	return cloud.Distribution{
		ID: aws.ToString(d.Id), Domain: aws.ToString(d.DomainName), ETag: aws.ToString(etag),
		Enabled: aws.ToBool(d.DistributionConfig.Enabled), Deployed: aws.ToString(d.Status) == "Deployed",
	}
}

// Disable implements cloud.CDN. It sends the whole configuration back. The site's
// previews, which another distribution serves, end first.
func (c *CDN) Disable(ctx context.Context, id, etag string) error {
	out, err := c.get(ctx, id)
	if err == nil {
		err = c.pointers.unpointAll(ctx, id)
	}
	if err != nil {
		return err
	}
	config := out.Distribution.DistributionConfig
	config.Enabled = aws.Bool(false)
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.UpdateDistributionOutput, error) {
		return c.client.UpdateDistribution(ctx, &cloudfront.UpdateDistributionInput{Id: &id, IfMatch: &etag, DistributionConfig: config})
	})
	return awsapi.Failed("disable the distribution "+id, err)
}

// Delete implements cloud.CDN. It removes the pointer with the protection. The
// distribution goes last: until then, a repeated call finds what belongs to it.
func (c *CDN) Delete(ctx context.Context, id, etag string) error {
	out, err := c.get(ctx, id)
	if errors.Is(err, cloud.ErrNotFound) {
		return c.removePointers(ctx, id)
	}
	if err != nil {
		return err
	}
	if d := distribution(out.Distribution, out.ETag); d.Enabled || !d.Deployed {
		return fmt.Errorf("delete the distribution %s: %w", id, cloud.ErrNotDisabled)
	}
	if err := c.detachAll(ctx, id, out.Distribution.DistributionConfig); err != nil {
		return err
	}
	if err := c.removePointers(ctx, id); err != nil {
		return err
	}
	if c.cfg.LogBucket != "" {
		err := c.withdraw(ctx, c.logSource(aws.ToString(out.Distribution.DistributionConfig.CallerReference)), aws.ToString(out.Distribution.ARN))
		if err != nil {
			return err
		}
	}
	reference := aws.ToString(out.Distribution.DistributionConfig.CallerReference)
	for _, key := range []string{errorKey(reference), tenantErrorKey(reference)} {
		if err := c.sites.Remove(ctx, key); err != nil {
			return err
		}
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.DeleteDistributionOutput, error) {
		return c.client.DeleteDistribution(ctx, &cloudfront.DeleteDistributionInput{Id: &id, IfMatch: &etag})
	})
	if err = awsapi.Failed("delete the distribution "+id, err); errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	return err
}

// removePointers removes the pointers of a distribution's previews, then its own
// with the protection, so that no preview outlives what protects it.
func (c *CDN) removePointers(ctx context.Context, id string) error {
	if err := c.pointers.unpointAll(ctx, id); err != nil {
		return err
	}
	return c.pointers.remove(ctx, id)
}

// Flip implements cloud.CDN: it moves the pointer together with the tree's
// rules, then refreshes the 404 page.
// Repeating it changes nothing.
func (c *CDN) Flip(ctx context.Context, id string, p site.Pointer) error {
	out, err := c.get(ctx, id)
	if err != nil {
		return err
	}
	before, err := c.pointers.get(ctx, id)
	if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	rules, err := servedOf(ctx, c.work, p)
	if err != nil {
		return err
	}
	if err := c.pointers.flip(ctx, id, p, rules); err != nil {
		return err
	}
	if before.Deployment == p.Deployment && before.Sequence < p.Sequence {
		if err := c.invalidate(ctx, id, p, "tree", "/*"); err != nil {
			return err
		}
		// Its previews may show the tree too.
		if err := c.forgetPreviews(ctx, p); err != nil {
			return err
		}
		if err := c.forgetTenants(ctx, id, fmt.Sprintf("%s-%d-tree", p.Deployment, p.Sequence)); err != nil {
			return err
		}
	}
	return c.refresh(ctx, id, aws.ToString(out.Distribution.DistributionConfig.CallerReference), p)
}

// plainMissing is the 404 page of sites without a 404.html.
const plainMissing = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Not found</title><h1>Not found</h1></html>\n"

// plainTag is the ETag that plainMissing has in S3: the MD5 of its bytes.
func plainTag() string {
	sum := md5.Sum([]byte(plainMissing)) //nolint:gosec // S3's own, and it guards nothing
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// refresh updates the 404 page to the deployment's and invalidates the previous
// one.
func (c *CDN) refresh(ctx context.Context, id, reference string, p site.Pointer) error {
	if err := c.refreshOwn(ctx, id, reference, p); err != nil || c.usesAliases() {
		return err
	}
	there, err := c.sites.tag(ctx, tenantErrorKey(reference))
	if err != nil || there == "" {
		return err // the site had no custom domain yet
	}
	return c.copyMissing(ctx, reference, there)
}

// copyMissing makes the 404 page at custom domains that of the site's own host.
// there is the tag of the one that is there. Caches ask for it again each time.
func (c *CDN) copyMissing(ctx context.Context, reference, there string) error {
	wanted, err := c.sites.tag(ctx, errorKey(reference))
	if err != nil || wanted == there {
		return err
	}
	page := site.File{Path: "404.html"}
	return c.sites.copy(ctx, errorKey(reference), tenantErrorKey(reference), page, nil, site.CacheControl(page.Path))
}

func (c *CDN) refreshOwn(ctx context.Context, id, reference string, p site.Pointer) error {
	page := site.File{Path: "404.html"}
	from := treePrefix(site.Tree{Pipeline: p.Pipeline, Deployment: p.Deployment}) + page.Path
	to := errorKey(reference)
	there, err := c.sites.tag(ctx, to)
	if err != nil {
		return err
	}
	wanted, err := c.sites.tag(ctx, from)
	if err != nil {
		return err
	}
	switch wanted {
	case "":
		if there == plainTag() {
			return nil
		}
		err = c.sites.Put(ctx, to, []byte(plainMissing), "text/html; charset=utf-8", false)
	case there:
		return nil
	default:
		err = c.sites.copy(ctx, from, to, page, nil, site.CacheControl(page.Path))
	}
	if err != nil || there == "" {
		return err // a missing page is not cached
	}
	return c.invalidate(ctx, id, p, "missing", "/"+to)
}

// invalidate invalidates a path. why is part of the caller reference, since a
// pointer may have several invalidations.
func (c *CDN) invalidate(ctx context.Context, id string, p site.Pointer, why, path string) error {
	if err := c.invalidations.Wait(ctx); err != nil {
		return fmt.Errorf("wait for the turn to invalidate: %w", err)
	}
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateInvalidationOutput, error) {
		return c.client.CreateInvalidation(ctx, &cloudfront.CreateInvalidationInput{DistributionId: &id, InvalidationBatch: &types.InvalidationBatch{
			CallerReference: aws.String(fmt.Sprintf("%s-%d-%s", p.Deployment, p.Sequence, why)),
			Paths:           &types.Paths{Quantity: aws.Int32(1), Items: []string{path}},
		}})
	})
	return awsapi.Failed("refresh the distribution "+id, err)
}
