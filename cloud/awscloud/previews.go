package awscloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

var _ cloud.Previews = (*CDN)(nil)

// previewsReference is the reference of the installation's distribution for
// previews.
func (c *CDN) previewsReference() string { return c.installation() + "-previews" }

// showsPreviews reports whether a distribution is the installation's for previews.
func (c *CDN) showsPreviews(d types.DistributionSummary) bool {
	return aws.ToString(d.Comment) == c.previewsReference() && c.reads(d)
}

// ofPipeline reports whether this installation made a distribution for a pipeline.
func (c *CDN) ofPipeline(d types.DistributionSummary) bool {
	return c.ours(d) && !isShared(d) && !c.showsPreviews(d)
}

// ofPreviews returns the configuration with the zone and the certificate of the
// previews in place of those of the sites.
func (cfg Config) ofPreviews() Config {
	cfg.Zone = cmp.Or(cfg.PreviewZone, cfg.Zone)
	cfg.CertificateARN = cmp.Or(cfg.PreviewCertificateARN, cfg.CertificateARN)
	return cfg
}

// previewAlias is the wildcard that covers all previews.
func (cfg Config) previewAlias() string { return "*." + cfg.PreviewSuffix }

// Point implements cloud.Previews.
func (c *CDN) Point(ctx context.Context, id, label string, p site.Pointer) error {
	if err := site.CheckPreviewLabel(label); err != nil {
		return err
	}
	slug, err := c.slug(ctx, id)
	if err != nil {
		return err
	}
	if len(label) > troy.MaxPreviewLabel(slug) {
		return troy.Errorf(troy.Invalid, "the label %s is too long for the site %s", troy.Clip(label), slug)
	}
	if err := c.preparePreviews(ctx); err != nil {
		return fmt.Errorf("prepare what serves previews: %w", err)
	}
	rules, err := servedOf(ctx, c.work, p)
	if err != nil {
		return err
	}
	enabled := func(ctx context.Context) error {
		d, err := c.Get(ctx, id)
		if err == nil && !d.Enabled {
			err = fmt.Errorf("the distribution %s is disabled: %w", id, cloud.ErrNotFound)
		}
		return err
	}
	if err := c.pointers.point(ctx, id, slug, label, p, rules, enabled); err != nil {
		return fmt.Errorf("point %s of distribution %s to deployment %s: %w", label, id, p.Deployment, err)
	}
	return nil
}

// Unpoint implements cloud.Previews.
func (c *CDN) Unpoint(ctx context.Context, id, label string, sequence int64) error {
	if err := site.CheckPreviewLabel(label); err != nil {
		return err
	}
	if !distributionID.MatchString(id) {
		return nil
	}
	if err := c.pointers.unpoint(ctx, id, label, sequence); err != nil {
		return fmt.Errorf("remove %s of distribution %s: %w", label, id, err)
	}
	return nil
}

// slug returns the first part of the host of a distribution's site.
func (c *CDN) slug(ctx context.Context, id string) (string, error) {
	out, err := c.get(ctx, id)
	if err != nil {
		return "", err
	}
	_, own, err := c.customAliases(ctx, out.Distribution.DistributionConfig)
	if err != nil {
		return "", err
	}
	slug, _, _ := strings.Cut(own, ".")
	if slug == "" {
		return "", troy.Errorf(troy.Conflict, "the distribution %s has no host", id)
	}
	return slug, nil
}

// preparedFor is how long a process does not look again at what previews share.
const preparedFor = time.Minute

// prepared is what previews share, as of a moment.
type prepared struct {
	d    cloud.Distribution
	seen time.Time
}

// preparePreviews makes what previews share, if it is not there. It returns
// cloud.ErrNotDeployed until CloudFront serves it.
func (c *CDN) preparePreviews(ctx context.Context) error {
	was := c.prepared.Load()
	fresh := was != nil && time.Since(was.seen) < preparedFor
	if fresh && was.d.Deployed {
		return nil
	}
	if fresh {
		// One read instead of a list of all distributions.
		now, err := c.Get(ctx, was.d.ID)
		if err == nil && !now.Deployed {
			err = fmt.Errorf("the distribution %s: %w", now.ID, cloud.ErrNotDeployed)
		}
		if err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return err
		}
	}
	d, err := c.keepPreviews(ctx)
	if err != nil {
		return err
	}
	c.prepared.Store(&prepared{d, time.Now()})
	if !d.Deployed {
		return fmt.Errorf("the distribution %s: %w", d.ID, cloud.ErrNotDeployed)
	}
	return nil
}

// keepPreviews makes what of the things that previews share does not exist, or
// changes what differs from the settings: the distribution, its 404 page and the
// record. The upkeep keeps the functions.
func (c *CDN) keepPreviews(ctx context.Context) (d cloud.Distribution, err error) {
	err = c.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) (err error) {
		d, err = c.previewsDistribution(ctx)
		return err
	})
	if err != nil {
		return d, err
	}
	page := errorKey(c.previewsReference())
	there, err := c.sites.tag(ctx, page)
	if err == nil && there != plainTag() {
		err = c.sites.putPrivate(ctx, page, plainMissing)
	}
	if err != nil {
		return d, err
	}
	return d, c.previewDNS.upsert(ctx, c.cfg.previewAlias(), d.Domain)
}

// putPrivate writes a page that only CloudFront may keep.
func (b bucket) putPrivate(ctx context.Context, key, page string) error {
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*s3.PutObjectOutput, error) {
		return b.Client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &b.Name, Key: &key, Body: strings.NewReader(page), ContentType: aws.String("text/html; charset=utf-8"), CacheControl: aws.String("private, no-store"),
		})
	})
	return awsapi.Failed("write "+key, err)
}

// previewsDistribution returns the distribution for previews, with the settings'
// alias and certificate.
func (c *CDN) previewsDistribution(ctx context.Context) (cloud.Distribution, error) {
	found, err := c.Find(ctx, c.previewsReference())
	if errors.Is(err, cloud.ErrNotFound) {
		return c.createPreviews(ctx)
	}
	if err != nil {
		return found, err
	}
	out, err := c.get(ctx, found.ID)
	if err != nil {
		return found, err
	}
	config := out.Distribution.DistributionConfig
	if c.configured(aws.ToBool(config.Enabled), config.Aliases, config.ViewerCertificate) {
		return found, nil
	}
	// The record of an earlier suffix would lead nowhere.
	for _, alias := range config.Aliases.Items {
		if alias != c.cfg.previewAlias() {
			if err := c.previewDNS.delete(ctx, alias, found.Domain); err != nil {
				return found, err
			}
		}
	}
	c.configurePreviews(config)
	updated, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.UpdateDistributionOutput, error) {
		return c.client.UpdateDistribution(ctx, &cloudfront.UpdateDistributionInput{Id: &found.ID, IfMatch: out.ETag, DistributionConfig: config})
	})
	if err != nil {
		return found, awsapi.Failed("change the distribution for previews", err)
	}
	return distribution(updated.Distribution, updated.ETag), nil
}

// configured reports whether the distribution for previews has the settings' alias
// and certificate, and is enabled.
func (c *CDN) configured(enabled bool, names *types.Aliases, certificate *types.ViewerCertificate) bool {
	return enabled && names != nil && slices.Equal(names.Items, []string{c.cfg.previewAlias()}) &&
		certificate != nil && aws.ToString(certificate.ACMCertificateArn) == c.cfg.ofPreviews().CertificateARN
}

func (c *CDN) configurePreviews(config *types.DistributionConfig) {
	certificate := c.cfg.ofPreviews().CertificateARN
	config.Enabled = aws.Bool(true)
	config.Aliases = &types.Aliases{Quantity: aws.Int32(1), Items: []string{c.cfg.previewAlias()}}
	config.ViewerCertificate = &types.ViewerCertificate{
		ACMCertificateArn: &certificate, SSLSupportMethod: types.SSLSupportMethodSniOnly, MinimumProtocolVersion: types.MinimumProtocolVersionTLSv122021,
	}
}

func (c *CDN) createPreviews(ctx context.Context) (cloud.Distribution, error) {
	reference := c.previewsReference()
	request, _, err := c.function(ctx, previewProgram(), 0)
	if err != nil {
		return cloud.Distribution{}, err
	}
	s, err := c.shard(ctx, reference)
	if err != nil {
		return cloud.Distribution{}, err
	}
	config := c.config(reference, c.cfg.previewAlias(), s)
	c.configurePreviews(config)
	// CloudFront does not take a reference twice, even after a removal. The
	// alias keeps the distribution from being made twice.
	config.CallerReference = aws.String(reference + "-" + uuid.NewString())
	config.DefaultCacheBehavior.FunctionAssociations = s.previewFunctions(request)
	made, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateDistributionWithTagsOutput, error) {
		return c.client.CreateDistributionWithTags(ctx, &cloudfront.CreateDistributionWithTagsInput{
			DistributionConfigWithTags: &types.DistributionConfigWithTags{DistributionConfig: config, Tags: c.tags(reference)},
		})
	})
	if err != nil {
		return cloud.Distribution{}, awsapi.Failed("create the distribution for previews", err)
	}
	return distribution(made.Distribution, made.ETag), nil
}

// previewFunctions returns the functions of the distribution for previews, which
// has its own for viewers' requests.
func (s shard) previewFunctions(request string) *types.FunctionAssociations {
	f := s.functions()
	for i := range f.Items {
		if f.Items[i].EventType == types.EventTypeViewerRequest {
			f.Items[i].FunctionARN = &request
		}
	}
	return f
}

// forgetPreviews invalidates all previews after a tree was sealed again.
func (c *CDN) forgetPreviews(ctx context.Context, p site.Pointer) error {
	shared, err := c.Find(ctx, c.previewsReference())
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.invalidate(ctx, shared.ID, p, "tree", "/*")
}

// removePreviews takes the next step of removing what previews share, and returns
// whether nothing is left.
func (c *CDN) removePreviews(ctx context.Context) (gone bool, err error) {
	err = c.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) (err error) {
		gone, err = c.tryRemovePreviews(ctx)
		return err
	})
	return gone, err
}

func (c *CDN) tryRemovePreviews(ctx context.Context) (bool, error) {
	found, err := c.Find(ctx, c.previewsReference())
	if errors.Is(err, cloud.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	out, err := c.get(ctx, found.ID)
	if err != nil {
		return false, err
	}
	found = distribution(out.Distribution, out.ETag)
	if found.Enabled {
		return false, c.Disable(ctx, found.ID, found.ETag)
	}
	if !found.Deployed {
		return false, nil
	}
	if config := out.Distribution.DistributionConfig; config.Aliases != nil {
		for _, alias := range config.Aliases.Items {
			if err := c.previewDNS.delete(ctx, alias, found.Domain); err != nil {
				return false, err
			}
		}
	}
	if err := c.sites.Remove(ctx, errorKey(c.previewsReference())); err != nil {
		return false, err
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.DeleteDistributionOutput, error) {
		return c.client.DeleteDistribution(ctx, &cloudfront.DeleteDistributionInput{Id: &found.ID, IfMatch: &found.ETag})
	})
	err = awsapi.Failed("delete the distribution for previews", err)
	if errors.Is(err, cloud.ErrNotDisabled) {
		return false, nil
	}
	if errors.Is(err, cloud.ErrNotFound) {
		err = nil
	}
	return err == nil, err
}
