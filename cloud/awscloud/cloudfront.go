package awscloud

import (
	"context"
	"crypto/md5" //nolint:gosec // as plainTag says
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore"
	"golang.org/x/time/rate"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

//go:embed viewer_request.js
var viewerRequest []byte

const (
	// perShard is how many distributions may share a function, or an origin
	// access control
	// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
	perShard = 100
	// cachingOptimized is CloudFront's managed cache policy of that name
	// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html).
	cachingOptimized = "658327ea-f89d-4fab-a63d-7e88639e58f6"
	// errorTTL is how long, in seconds, CloudFront keeps the answer that
	// something is missing.
	errorTTL = 10
	// referenceTag is the tag with the reference that a distribution was made under.
	referenceTag = "troy:reference"
)

// distributionID is the form of CloudFront's ids; they become part of paths.
var distributionID = regexp.MustCompile(`^[A-Z0-9]{1,40}$`)

// CDN is CloudFront: a distribution for each pipeline, all of them reading one
// bucket, with the pointers in one KeyValueStore.
type CDN struct {
	cfg           Config
	client        *cloudfront.Client
	sites         bucket
	pointers      *pointers
	invalidations *rate.Limiter
}

var _ cloud.CDN = (*CDN)(nil)

// NewCDN returns the CDN of an account.
func NewCDN(loaded aws.Config, cfg Config) *CDN {
	kvs := cloudfrontkeyvaluestore.NewFromConfig(loaded, func(o *cloudfrontkeyvaluestore.Options) {
		if cfg.Endpoint != "" {
			o.EndpointResolverV2 = fixedEndpoint{cfg.Endpoint}
		}
	})
	return &CDN{
		cfg: cfg, client: cloudfront.NewFromConfig(loaded), sites: bucket{newS3(loaded, cfg), cfg.SitesBucket},
		pointers: newPointers(kvs, cfg),
		// CloudFront takes one invalidation a second of an account.
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
	// One after another: they share functions, and many at once are throttled.
	err = c.cfg.Lock(ctx, "cloudfront distributions", func(ctx context.Context) error {
		shard, err := c.shard(ctx, reference)
		if err != nil {
			return err
		}
		out, err := call(ctx, func(ctx context.Context) (*cloudfront.CreateDistributionWithTagsOutput, error) {
			return c.client.CreateDistributionWithTags(ctx, &cloudfront.CreateDistributionWithTagsInput{
				DistributionConfigWithTags: &types.DistributionConfigWithTags{
					DistributionConfig: c.config(reference, host, shard),
					Tags:               &types.Tags{Items: []types.Tag{{Key: aws.String(referenceTag), Value: &reference}}},
				},
			})
		})
		if err != nil {
			return failed("create a distribution", err)
		}
		made = distribution(out.Distribution, out.ETag)
		return nil
	})
	return made, err
}

// config is the distribution of a host.
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
			Id: aws.String(origin), DomainName: aws.String(c.cfg.SitesBucket + ".s3." + c.cfg.Region + ".amazonaws.com"),
			OriginAccessControlId: &s.access, S3OriginConfig: &types.S3OriginConfig{OriginAccessIdentity: aws.String("")},
		}}},
		DefaultCacheBehavior: &types.DefaultCacheBehavior{
			TargetOriginId: aws.String(origin), ViewerProtocolPolicy: types.ViewerProtocolPolicyRedirectToHttps, Compress: aws.Bool(true),
			CachePolicyId: aws.String(cachingOptimized),
			FunctionAssociations: &types.FunctionAssociations{Quantity: aws.Int32(1), Items: []types.FunctionAssociation{{
				EventType: types.EventTypeViewerRequest, FunctionARN: &s.function,
			}}},
		},
		CustomErrorResponses: &types.CustomErrorResponses{Quantity: aws.Int32(2), Items: []types.CustomErrorResponse{missing(403), missing(404)}},
		ViewerCertificate: &types.ViewerCertificate{
			ACMCertificateArn: &c.cfg.CertificateARN, SSLSupportMethod: types.SSLSupportMethodSniOnly, MinimumProtocolVersion: types.MinimumProtocolVersionTLSv122021,
		},
		HttpVersion: types.HttpVersionHttp2and3, IsIPV6Enabled: aws.Bool(true), PriceClass: types.PriceClassPriceClassAll,
	}
}

// shard is a function and an origin access control that a distribution uses.
type shard struct{ function, access string }

// shard finds one with room, made if there is none. How many use each is
// counted from CloudFront's own list, which also tells whether the reference
// was used.
func (c *CDN) shard(ctx context.Context, reference string) (shard, error) {
	used := map[string]int{}
	err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if aws.ToString(d.Comment) == reference {
			return false, fmt.Errorf("the distribution %s: %w", aws.ToString(d.Id), cloud.ErrExists)
		}
		if d.DefaultCacheBehavior != nil && d.DefaultCacheBehavior.FunctionAssociations != nil {
			for _, f := range d.DefaultCacheBehavior.FunctionAssociations.Items {
				used[aws.ToString(f.FunctionARN)]++
			}
		}
		return true, nil
	})
	if err != nil {
		return shard{}, err
	}
	for n := 0; ; n++ {
		name := fmt.Sprintf("troy-%d", n)
		arn, err := c.function(ctx, name)
		if err != nil {
			return shard{}, err
		}
		if used[arn] >= perShard {
			continue
		}
		access, err := c.access(ctx, name)
		return shard{arn, access}, err
	}
}

// function returns the ARN of the published function with this name, after
// making it if there is none.
func (c *CDN) function(ctx context.Context, name string) (string, error) {
	described, err := call(ctx, func(ctx context.Context) (*cloudfront.DescribeFunctionOutput, error) {
		return c.client.DescribeFunction(ctx, &cloudfront.DescribeFunctionInput{Name: &name, Stage: types.FunctionStageLive})
	})
	if err == nil {
		return aws.ToString(described.FunctionSummary.FunctionMetadata.FunctionARN), nil
	}
	var none *types.NoSuchFunctionExists
	if !errors.As(err, &none) {
		return "", failed("look for the function "+name, err)
	}
	created, err := call(ctx, func(ctx context.Context) (*cloudfront.CreateFunctionOutput, error) {
		return c.client.CreateFunction(ctx, &cloudfront.CreateFunctionInput{
			Name: &name, FunctionCode: viewerRequest, FunctionConfig: &types.FunctionConfig{
				Comment: aws.String("Troy: sends a request to the deployment that is live"), Runtime: types.FunctionRuntimeCloudfrontJs20,
				KeyValueStoreAssociations: &types.KeyValueStoreAssociations{Quantity: aws.Int32(1), Items: []types.KeyValueStoreAssociation{{
					KeyValueStoreARN: &c.cfg.KeyValueStoreARN,
				}}},
			},
		})
	})
	var etag *string
	switch err = failed("create the function "+name, err); {
	case err == nil:
		etag = created.ETag
	case errors.Is(err, cloud.ErrExists): // made before, and not published
		described, err := call(ctx, func(ctx context.Context) (*cloudfront.DescribeFunctionOutput, error) {
			return c.client.DescribeFunction(ctx, &cloudfront.DescribeFunctionInput{Name: &name, Stage: types.FunctionStageDevelopment})
		})
		if err != nil {
			return "", failed("look for the function "+name, err)
		}
		etag = described.ETag
	default:
		return "", err
	}
	published, err := call(ctx, func(ctx context.Context) (*cloudfront.PublishFunctionOutput, error) {
		return c.client.PublishFunction(ctx, &cloudfront.PublishFunctionInput{Name: &name, IfMatch: etag})
	})
	if err != nil {
		return "", failed("publish the function "+name, err)
	}
	return aws.ToString(published.FunctionSummary.FunctionMetadata.FunctionARN), nil
}

// access returns the id of the origin access control with this name, after
// making it if there is none.
func (c *CDN) access(ctx context.Context, name string) (string, error) {
	var marker *string
	for {
		page, err := call(ctx, func(ctx context.Context) (*cloudfront.ListOriginAccessControlsOutput, error) {
			return c.client.ListOriginAccessControls(ctx, &cloudfront.ListOriginAccessControlsInput{Marker: marker})
		})
		if err != nil {
			return "", failed("list the origin access controls", err)
		}
		for _, a := range page.OriginAccessControlList.Items {
			if aws.ToString(a.Name) == name {
				return aws.ToString(a.Id), nil
			}
		}
		if marker = page.OriginAccessControlList.NextMarker; aws.ToString(marker) == "" {
			break
		}
	}
	made, err := call(ctx, func(ctx context.Context) (*cloudfront.CreateOriginAccessControlOutput, error) {
		return c.client.CreateOriginAccessControl(ctx, &cloudfront.CreateOriginAccessControlInput{OriginAccessControlConfig: &types.OriginAccessControlConfig{
			Name: &name, Description: aws.String("Troy: reads the sites' bucket"), OriginAccessControlOriginType: types.OriginAccessControlOriginTypesS3,
			SigningBehavior: types.OriginAccessControlSigningBehaviorsAlways, SigningProtocol: types.OriginAccessControlSigningProtocolsSigv4,
		}})
	})
	if err != nil {
		return "", failed("create the origin access control "+name, err)
	}
	return aws.ToString(made.OriginAccessControl.Id), nil
}

// each walks all distributions of the account until f returns false.
func (c *CDN) each(ctx context.Context, f func(types.DistributionSummary) (bool, error)) error {
	pages := cloudfront.NewListDistributionsPaginator(c.client, &cloudfront.ListDistributionsInput{})
	for pages.HasMorePages() {
		page, err := call(ctx, func(ctx context.Context) (*cloudfront.ListDistributionsOutput, error) { return pages.NextPage(ctx) })
		if err != nil {
			return failed("list the distributions", err)
		}
		for _, d := range page.DistributionList.Items {
			if more, err := f(d); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// Find implements cloud.CDN by the comment, since lists don't show the
// CallerReference.
func (c *CDN) Find(ctx context.Context, reference string) (cloud.Distribution, error) {
	id := ""
	err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if aws.ToString(d.Comment) == reference {
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
	out, err := call(ctx, func(ctx context.Context) (*cloudfront.GetDistributionOutput, error) {
		return c.client.GetDistribution(ctx, &cloudfront.GetDistributionInput{Id: &id})
	})
	return out, failed("read the distribution "+id, err)
}

func distribution(d *types.Distribution, etag *string) cloud.Distribution {
	return cloud.Distribution{
		ID: aws.ToString(d.Id), Domain: aws.ToString(d.DomainName), ETag: aws.ToString(etag),
		Enabled: aws.ToBool(d.DistributionConfig.Enabled), Deployed: aws.ToString(d.Status) == "Deployed",
	}
}

// Disable implements cloud.CDN: the whole configuration is sent back.
func (c *CDN) Disable(ctx context.Context, id, etag string) error {
	out, err := c.get(ctx, id)
	if err != nil {
		return err
	}
	config := out.Distribution.DistributionConfig
	config.Enabled = aws.Bool(false)
	_, err = call(ctx, func(ctx context.Context) (*cloudfront.UpdateDistributionOutput, error) {
		return c.client.UpdateDistribution(ctx, &cloudfront.UpdateDistributionInput{Id: &id, IfMatch: &etag, DistributionConfig: config})
	})
	return failed("disable the distribution "+id, err)
}

// Delete implements cloud.CDN. The distribution goes last: as long as it is
// there, whoever repeats this finds what belongs to it.
func (c *CDN) Delete(ctx context.Context, id, etag string) error {
	out, err := c.get(ctx, id)
	if errors.Is(err, cloud.ErrNotFound) {
		return c.pointers.remove(ctx, id)
	}
	if err != nil {
		return err
	}
	if d := distribution(out.Distribution, out.ETag); d.Enabled || !d.Deployed {
		return fmt.Errorf("delete the distribution %s: %w", id, cloud.ErrNotDisabled)
	}
	if err := c.pointers.remove(ctx, id); err != nil {
		return err
	}
	if err := c.sites.remove(ctx, errorKey(aws.ToString(out.Distribution.DistributionConfig.CallerReference))); err != nil {
		return err
	}
	_, err = call(ctx, func(ctx context.Context) (*cloudfront.DeleteDistributionOutput, error) {
		return c.client.DeleteDistribution(ctx, &cloudfront.DeleteDistributionInput{Id: &id, IfMatch: &etag})
	})
	if err = failed("delete the distribution "+id, err); errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	return err
}

// Flip implements cloud.CDN: the pointer moves, then the page for what is
// missing is refreshed. Repeating it changes nothing.
func (c *CDN) Flip(ctx context.Context, id string, p site.Pointer) error {
	out, err := c.get(ctx, id)
	if err != nil {
		return err
	}
	if err := c.pointers.flip(ctx, id, p); err != nil {
		return err
	}
	return c.refresh(ctx, id, aws.ToString(out.Distribution.DistributionConfig.CallerReference), p)
}

// plainMissing is the page of sites that have no 404.html.
const plainMissing = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Not found</title><h1>Not found</h1></html>\n"

// plainTag is the ETag that plainMissing has in S3: the MD5 of its bytes.
func plainTag() string {
	sum := md5.Sum([]byte(plainMissing)) //nolint:gosec // S3's own, and it guards nothing
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// refresh brings the page for what is missing up to the deployment, and has
// CloudFront forget the one before.
func (c *CDN) refresh(ctx context.Context, id, reference string, p site.Pointer) error {
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
		err = c.sites.put(ctx, to, []byte(plainMissing), "text/html; charset=utf-8", false)
	case there:
		return nil
	default:
		err = c.sites.copy(ctx, from, to, page)
	}
	if err != nil || there == "" {
		return err // nothing is kept of a page that was not there
	}
	if err := c.invalidations.Wait(ctx); err != nil {
		return fmt.Errorf("wait for the turn to invalidate: %w", err)
	}
	_, err = call(ctx, func(ctx context.Context) (*cloudfront.CreateInvalidationOutput, error) {
		return c.client.CreateInvalidation(ctx, &cloudfront.CreateInvalidationInput{DistributionId: &id, InvalidationBatch: &types.InvalidationBatch{
			CallerReference: aws.String(fmt.Sprintf("%s-%d", p.Deployment, p.Sequence)),
			Paths:           &types.Paths{Quantity: aws.Int32(1), Items: []string{"/" + to}},
		}})
	})
	return failed("refresh the distribution "+id, err)
}
