package awscloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// Account is everything that Troy made in an account to serve sites, for any
// pipeline.
type Account struct {
	cdn   *CDN
	dns   *DNS
	store *Store
}

// NewAccount returns the account of a loaded configuration.
func NewAccount(loaded aws.Config, cfg Config, limits site.Limits) *Account {
	return &Account{NewCDN(loaded, cfg), NewDNS(loaded, cfg), NewStore(loaded, cfg, limits)}
}

const referencePrefix = "troy-"

// Pipelines lists what this installation made, by pipeline: "the distribution
// E1 of blog.example.com", "objects under sites/". It does not list other
// installations' resources in the account: their distributions read other
// buckets.
func (a *Account) Pipelines(ctx context.Context) (map[uuid.UUID][]string, error) {
	found := map[uuid.UUID][]string{}
	note := func(id, what string) {
		if pipeline, err := uuid.Parse(id); err == nil && !slices.Contains(found[pipeline], what) {
			found[pipeline] = append(found[pipeline], what)
		}
	}
	err := a.cdn.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if a.cdn.ours(d) {
			note(strings.TrimPrefix(aws.ToString(d.Comment), referencePrefix), "the distribution "+aws.ToString(d.Id)+" of "+strings.Join(aliases(d), ", "))
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, place := range []struct {
		bucket awsapi.Bucket
		prefix string
	}{
		{a.cdn.sites.Bucket, "sites/"}, {a.cdn.sites.Bucket, "errors/"}, {a.store.work.Bucket, "manifests/"},
	} {
		err := place.bucket.Folders(ctx, place.prefix, func(name string) {
			note(strings.TrimPrefix(name, referencePrefix), "objects under "+place.prefix+name+"/ in "+place.bucket.Name)
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Unused lists the functions and origin access controls of this installation
// that no distribution uses. With remove it deletes them.
func (a *Account) Unused(ctx context.Context, remove bool) (all []string, err error) {
	left, err := a.cdn.leftOver(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range left {
		if remove {
			if err := one.remove(ctx); err != nil {
				return nil, err
			}
		}
		all = append(all, one.what)
	}
	slices.Sort(all)
	return all, nil
}

func aliases(d types.DistributionSummary) []string {
	if d.Aliases == nil {
		return nil
	}
	return d.Aliases.Items
}

// Remove removes everything that was made for a pipeline without a row. It
// returns false while CloudFront still disables the distribution; call it again
// later.
func (a *Account) Remove(ctx context.Context, pipeline uuid.UUID) (bool, error) {
	reference := referencePrefix + pipeline.String()
	d, err := a.cdn.Find(ctx, reference)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
	case err != nil:
		return false, err
	default:
		if gone, err := a.removeDistribution(ctx, d); err != nil || !gone {
			return false, err
		}
	}
	if _, err := a.cdn.sites.RemoveAll(ctx, "errors/"+reference+"/"); err != nil {
		return false, err
	}
	if _, err := a.store.RemoveAll(ctx, pipeline); err != nil {
		return false, err
	}
	return true, nil
}

func (a *Account) removeDistribution(ctx context.Context, d cloud.Distribution) (bool, error) {
	if d.Enabled {
		return false, a.cdn.Disable(ctx, d.ID, d.ETag)
	}
	if !d.Deployed {
		return false, nil
	}
	full, err := a.cdn.get(ctx, d.ID)
	if err != nil {
		return false, err
	}
	if hosts := full.Distribution.DistributionConfig.Aliases; hosts != nil {
		for _, host := range hosts.Items {
			if err := a.dns.Delete(ctx, host, d.Domain); err != nil {
				return false, fmt.Errorf("delete the DNS record of %s: %w", host, err)
			}
		}
	}
	err = a.cdn.Delete(ctx, d.ID, d.ETag)
	if errors.Is(err, cloud.ErrNotDisabled) {
		return false, nil
	}
	return err == nil, err
}
