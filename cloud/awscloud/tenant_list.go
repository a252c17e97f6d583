package awscloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// eachTenant walks the tenants of the installation. Without a multi-tenant
// distribution there are none.
func (c *CDN) eachTenant(ctx context.Context, each func(name string, hosts []string)) error {
	shared := c.shared.Load()
	if shared == nil {
		found, err := c.Find(ctx, c.tenantsReference())
		if errors.Is(err, cloud.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		shared = &tenancy{distribution: found.ID}
	}
	var marker *string
	for {
		page, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.ListDistributionTenantsOutput, error) {
			return c.client.ListDistributionTenants(ctx, &cloudfront.ListDistributionTenantsInput{
				AssociationFilter: &types.DistributionTenantAssociationFilter{DistributionId: &shared.distribution}, Marker: marker,
			})
		})
		if err != nil {
			return awsapi.Failed("list the distribution tenants", err)
		}
		for _, t := range page.DistributionTenantList {
			var hosts []string
			for _, d := range t.Domains {
				hosts = append(hosts, aws.ToString(d.Domain))
			}
			each(aws.ToString(t.Name), hosts)
		}
		if marker = page.NextMarker; aws.ToString(marker) == "" {
			return nil
		}
	}
}

// forgetTenants invalidates everything that CloudFront keeps for the custom hosts
// of a distribution.
func (c *CDN) forgetTenants(ctx context.Context, id string, reference string) error {
	var names []string
	if err := c.eachTenant(ctx, func(name string, _ []string) {
		if c.ownerOf(name) == id {
			names = append(names, name)
		}
	}); err != nil {
		return err
	}
	for _, name := range names {
		if err := c.invalidations.Wait(ctx); err != nil {
			return fmt.Errorf("wait for the turn to invalidate: %w", err)
		}
		got, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.GetDistributionTenantOutput, error) {
			return c.client.GetDistributionTenant(ctx, &cloudfront.GetDistributionTenantInput{Identifier: &name})
		})
		if err == nil {
			_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateInvalidationForDistributionTenantOutput, error) {
				return c.client.CreateInvalidationForDistributionTenant(ctx, &cloudfront.CreateInvalidationForDistributionTenantInput{
					Id: got.DistributionTenant.Id, InvalidationBatch: &types.InvalidationBatch{
						CallerReference: &reference, Paths: &types.Paths{Quantity: aws.Int32(1), Items: []string{"/*"}},
					},
				})
			})
		}
		if err = awsapi.Failed("refresh the distribution tenant "+name, err); err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return err
		}
	}
	return nil
}
