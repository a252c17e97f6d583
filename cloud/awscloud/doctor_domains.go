package awscloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
)

// domains checks the permissions for custom domains.
func (e examiner) domains() {
	cdn := NewCDN(e.Loaded, e.cfg)
	trials, said := cdn.certificateTrials(), "as aliases"
	if !cdn.usesAliases() {
		said = "as distribution tenants"
		for action, try := range cdn.tenantTrials() {
			trials[action] = try
		}
	}
	lacking := e.May(trials)
	if len(lacking) > 0 && !cdn.usesAliases() {
		said += " (if the account allows none, set TROY_AWS_DOMAINS=" + DomainAliases + ")"
	}
	e.Permissions("custom domains", said, lacking)
}

// tenantTrials are calls without effect that show whether the role may make them.
// Nothing that they name exists.
func (c *CDN) tenantTrials() map[string]func(context.Context) error {
	none, guard, host := aws.String("troy-doctor"), aws.String("E0"), aws.String("troy-doctor.invalid")
	domains := []types.DomainItem{{Domain: host}}
	return map[string]func(context.Context) error{
		"cloudfront:GetConnectionGroup": func(ctx context.Context) error {
			_, err := c.client.GetConnectionGroup(ctx, &cloudfront.GetConnectionGroupInput{Identifier: none})
			return err
		},
		"cloudfront:GetDistributionTenant": func(ctx context.Context) error {
			_, err := c.client.GetDistributionTenant(ctx, &cloudfront.GetDistributionTenantInput{Identifier: none})
			return err
		},
		"cloudfront:GetDistributionTenantByDomain": func(ctx context.Context) error {
			_, err := c.client.GetDistributionTenantByDomain(ctx, &cloudfront.GetDistributionTenantByDomainInput{Domain: host})
			return err
		},
		"cloudfront:ListDistributionTenants": func(ctx context.Context) error {
			_, err := c.client.ListDistributionTenants(ctx, &cloudfront.ListDistributionTenantsInput{MaxItems: aws.Int32(1)})
			return err
		},
		"cloudfront:CreateDistributionTenant": func(ctx context.Context) error {
			_, err := c.client.CreateDistributionTenant(ctx, &cloudfront.CreateDistributionTenantInput{
				DistributionId: aws.String("E00000000TROY"), Name: none, Domains: domains, Enabled: aws.Bool(false),
			})
			return err
		},
		"cloudfront:UpdateDistributionTenant": func(ctx context.Context) error {
			_, err := c.client.UpdateDistributionTenant(ctx, &cloudfront.UpdateDistributionTenantInput{Id: none, IfMatch: guard, Domains: domains})
			return err
		},
		"cloudfront:DeleteDistributionTenant": func(ctx context.Context) error {
			_, err := c.client.DeleteDistributionTenant(ctx, &cloudfront.DeleteDistributionTenantInput{Id: none, IfMatch: guard})
			return err
		},
		"cloudfront:GetManagedCertificateDetails": func(ctx context.Context) error {
			_, err := c.client.GetManagedCertificateDetails(ctx, &cloudfront.GetManagedCertificateDetailsInput{Identifier: none})
			return err
		},
		"cloudfront:VerifyDnsConfiguration": func(ctx context.Context) error {
			_, err := c.client.VerifyDnsConfiguration(ctx, &cloudfront.VerifyDnsConfigurationInput{Identifier: none})
			return err
		},
	}
}

func (c *CDN) certificateTrials() map[string]func(context.Context) error {
	none := aws.String(c.cfg.CertificateARN[:max(0, len(c.cfg.CertificateARN)-1)] + "0-troy-doctor")
	return map[string]func(context.Context) error{
		"acm:ListCertificates": func(ctx context.Context) error {
			_, err := c.acm.ListCertificates(ctx, &acm.ListCertificatesInput{MaxItems: aws.Int32(1)})
			return err
		},
		"acm:ListTagsForCertificate": func(ctx context.Context) error {
			_, err := c.acm.ListTagsForCertificate(ctx, &acm.ListTagsForCertificateInput{CertificateArn: none})
			return err
		},
		"acm:DeleteCertificate": func(ctx context.Context) error {
			_, err := c.acm.DeleteCertificate(ctx, &acm.DeleteCertificateInput{CertificateArn: none})
			return err
		},
	}
}
