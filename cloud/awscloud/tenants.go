package awscloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// The parameters of a distribution tenant, which the viewer-request function
// reads.
const (
	siteParameter = "site" // the id of the distribution whose site it serves
	toParameter   = "to"   // the host to which it redirects, or noRedirect
	noRedirect    = "none"
	// referenceParameter is the reference of that distribution, which is part
	// of the path of the 404 page.
	referenceParameter = "reference"
)

// tenancy is what the custom domains of an installation share.
type tenancy struct {
	distribution string // the id of the multi-tenant distribution
	group        string // the id of the connection group
	endpoint     string // the name that DNS records lead to
}

// tenantsReference is the reference of the installation's multi-tenant
// distribution.
func (c *CDN) tenantsReference() string { return c.installation() + "-tenants" }

// tenancy returns the installation's tenancy. The first use makes it.
func (c *CDN) tenancy(ctx context.Context) (tenancy, error) {
	if made := c.shared.Load(); made != nil {
		return *made, nil
	}
	var t tenancy
	err := c.cfg.Lock(ctx, distributionsLock, func(ctx context.Context) (err error) {
		if t.group, t.endpoint, err = c.connectionGroup(ctx); err == nil {
			t.distribution, err = c.multiTenant(ctx)
		}
		return err
	})
	if troy.KindOf(err) == troy.Forbidden {
		err = fmt.Errorf("custom domains need distribution tenants, or TROY_AWS_DOMAINS=%s: %w", DomainAliases, err)
	}
	if err != nil {
		return t, err
	}
	c.shared.Store(&t)
	return t, nil
}

// connectionGroup returns the installation's connection group, and makes it if
// it does not exist.
func (c *CDN) connectionGroup(ctx context.Context) (id, endpoint string, err error) {
	name := c.installation()
	got, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.GetConnectionGroupOutput, error) {
		return c.client.GetConnectionGroup(ctx, &cloudfront.GetConnectionGroupInput{Identifier: &name})
	})
	if err == nil {
		return aws.ToString(got.ConnectionGroup.Id), aws.ToString(got.ConnectionGroup.RoutingEndpoint), nil
	}
	if err = awsapi.Failed("read the connection group "+name, err); !errors.Is(err, cloud.ErrNotFound) {
		return "", "", err
	}
	made, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateConnectionGroupOutput, error) {
		return c.client.CreateConnectionGroup(ctx, &cloudfront.CreateConnectionGroupInput{
			Name: &name, Enabled: aws.Bool(true), Ipv6Enabled: aws.Bool(true), Tags: c.tags(name),
		})
	})
	if err != nil {
		return "", "", awsapi.Failed("create the connection group "+name, err)
	}
	return aws.ToString(made.ConnectionGroup.Id), aws.ToString(made.ConnectionGroup.RoutingEndpoint), nil
}

func (c *CDN) tags(reference string) *types.Tags {
	return &types.Tags{Items: []types.Tag{{Key: aws.String(referenceTag), Value: &reference}}}
}

// multiTenant returns the id of the installation's multi-tenant distribution,
// and makes it if it does not exist.
func (c *CDN) multiTenant(ctx context.Context) (string, error) {
	reference := c.tenantsReference()
	found, err := c.Find(ctx, reference)
	if err == nil {
		return found.ID, nil
	}
	if !errors.Is(err, cloud.ErrNotFound) {
		return "", err
	}
	s, err := c.shard(ctx, reference)
	if err != nil {
		return "", err
	}
	made, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateDistributionWithTagsOutput, error) {
		return c.client.CreateDistributionWithTags(ctx, &cloudfront.CreateDistributionWithTagsInput{
			DistributionConfigWithTags: &types.DistributionConfigWithTags{DistributionConfig: c.multiTenantConfig(reference, s), Tags: c.tags(reference)},
		})
	})
	if err != nil {
		return "", awsapi.Failed("create the multi-tenant distribution", err)
	}
	return aws.ToString(made.Distribution.Id), nil
}

// multiTenantConfig returns the configuration of the multi-tenant distribution.
// It has no aliases, which belong to its tenants, no IPv6 setting, which belongs to
// the connection group, and no price class
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/distribution-config-options.html).
func (c *CDN) multiTenantConfig(reference string, s shard) *types.DistributionConfig {
	config := c.config(reference, "", s)
	config.Aliases, config.IsIPV6Enabled, config.PriceClass = nil, nil, ""
	config.ConnectionMode = types.ConnectionModeTenantOnly
	// The 404 page is another one for each tenant. Only an origin's path can
	// depend on the tenant, so the page has an origin of its own.
	pages := config.Origins.Items[0]
	pages.Id, pages.OriginPath = aws.String("errors"), aws.String("/errors/{{"+referenceParameter+"}}")
	config.Origins = &types.Origins{Quantity: aws.Int32(2), Items: append(config.Origins.Items, pages)}
	page := tenantErrorPath
	for i := range config.CustomErrorResponses.Items {
		config.CustomErrorResponses.Items[i].ResponsePagePath = &page
	}
	behavior := config.DefaultCacheBehavior
	config.CacheBehaviors = &types.CacheBehaviors{Quantity: aws.Int32(1), Items: []types.CacheBehavior{{
		PathPattern: &page, TargetOriginId: pages.Id, ViewerProtocolPolicy: behavior.ViewerProtocolPolicy, Compress: behavior.Compress,
		AllowedMethods: behavior.AllowedMethods, CachePolicyId: behavior.CachePolicyId, FunctionAssociations: behavior.FunctionAssociations,
	}}}
	config.TenantConfig = &types.TenantConfig{}
	for _, name := range []string{siteParameter, toParameter, referenceParameter} {
		config.TenantConfig.ParameterDefinitions = append(config.TenantConfig.ParameterDefinitions, types.ParameterDefinition{
			Name: aws.String(name), Definition: &types.ParameterDefinitionSchema{StringSchema: &types.StringSchemaConfig{Required: aws.Bool(true)}},
		})
	}
	return config
}

// isShared reports whether a distribution is a multi-tenant distribution.
func isShared(d types.DistributionSummary) bool {
	return d.ConnectionMode == types.ConnectionModeTenantOnly
}

// tenantName is the name of a custom host's tenant. Lists of tenants show it, but
// no parameters.
func (c *CDN) tenantName(id, host string) string {
	sum := sha256.Sum256([]byte(host))
	return c.installation() + "-" + id + "-" + hex.EncodeToString(sum[:8])
}

// ownerOf returns the distribution in a tenant's name, or "" if this installation
// did not make the tenant.
func (c *CDN) ownerOf(name string) string {
	rest, ours := strings.CutPrefix(name, c.installation()+"-")
	id, _, _ := strings.Cut(rest, "-")
	if !ours {
		return ""
	}
	return id
}

// tenant is a distribution tenant and its version.
type tenant struct {
	*types.DistributionTenant
	etag *string
}

func (t tenant) id() string    { return aws.ToString(t.Id) }
func (t tenant) enabled() bool { return aws.ToBool(t.Enabled) }

// certificate returns the ARN of the tenant's own certificate, or "".
func (t tenant) certificate() string {
	if t.Customizations == nil || t.Customizations.Certificate == nil {
		return ""
	}
	return aws.ToString(t.Customizations.Certificate.Arn)
}

// tenantOf returns the account's tenant with this domain.
func (c *CDN) tenantOf(ctx context.Context, host string) (tenant, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.GetDistributionTenantByDomainOutput, error) {
		return c.client.GetDistributionTenantByDomain(ctx, &cloudfront.GetDistributionTenantByDomainInput{Domain: &host})
	})
	if err != nil {
		return tenant{}, awsapi.Failed("look for the distribution tenant of "+host, err)
	}
	return tenant{out.DistributionTenant, out.ETag}, nil
}

func (c *CDN) attachTenant(ctx context.Context, shared tenancy, id, reference string, h cloud.CustomHost) error {
	t, err := c.tenantOf(ctx, h.Host)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return c.createTenant(ctx, shared, id, reference, h)
	case err != nil:
		return err
	case c.ownerOf(aws.ToString(t.Name)) == id:
		return c.updateTenant(ctx, shared, t, parameters(id, reference, h), h.Again)
	}
	owner := c.ownerOf(aws.ToString(t.Name))
	if owner == "" {
		return taken(h.Host)
	}
	if _, err := c.get(ctx, owner); err == nil && t.enabled() {
		return taken(h.Host)
	} else if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	// It is being removed, or its distribution was deleted without it.
	if err := c.detachTenant(ctx, owner, h.Host); err != nil {
		return err
	}
	return c.createTenant(ctx, shared, id, reference, h)
}

func parameters(id, reference string, h cloud.CustomHost) []types.Parameter {
	to := h.Redirect
	if to == "" {
		to = noRedirect
	}
	return []types.Parameter{
		{Name: aws.String(siteParameter), Value: &id}, {Name: aws.String(toParameter), Value: &to}, {Name: aws.String(referenceParameter), Value: &reference},
	}
}

func managedRequest(host string) *types.ManagedCertificateRequest {
	return &types.ManagedCertificateRequest{ValidationTokenHost: types.ValidationTokenHostCloudFront, PrimaryDomainName: &host}
}

func (c *CDN) createTenant(ctx context.Context, shared tenancy, id, reference string, h cloud.CustomHost) error {
	if err := c.prepareMissing(ctx, reference); err != nil {
		return err
	}
	in := &cloudfront.CreateDistributionTenantInput{
		DistributionId: &shared.distribution, ConnectionGroupId: &shared.group, Name: aws.String(c.tenantName(id, h.Host)),
		Domains: []types.DomainItem{{Domain: &h.Host}}, Enabled: aws.Bool(true), Parameters: parameters(id, reference, h), Tags: c.tags(c.certificateReference(id)),
	}
	if isWildcard(h.Host) {
		// CloudFront gets no certificates for wildcards itself.
		made, err := c.claim(ctx, id, h.Host, h.Again)
		if err != nil || made.Status != acmtypes.CertificateStatusIssued {
			return err
		}
		in.Customizations = &types.Customizations{Certificate: &types.Certificate{Arn: made.CertificateArn}}
	} else {
		in.ManagedCertificateRequest = managedRequest(h.Host)
	}
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.CreateDistributionTenantOutput, error) {
		return c.client.CreateDistributionTenant(ctx, in)
	})
	if err = tenantFailed(shared, h.Host, err); errors.Is(err, cloud.ErrNotFound) {
		c.shared.Store(nil) // it was removed since this process began
	}
	return err
}

// prepareMissing makes the 404 page for the custom domains of a site.
func (c *CDN) prepareMissing(ctx context.Context, reference string) error {
	own, err := c.sites.tag(ctx, errorKey(reference))
	if err == nil && own == "" { // the site has no deployment yet
		err = c.sites.Put(ctx, errorKey(reference), []byte(plainMissing), "text/html; charset=utf-8", false)
	}
	if err != nil {
		return err
	}
	there, err := c.sites.tag(ctx, tenantErrorKey(reference))
	if err != nil {
		return err
	}
	return c.copyMissing(ctx, reference, there)
}

// tenantFailed returns the error of a call that makes or changes a tenant. All
// settings except for the domain are Troy's own. So a refused argument means that
// CloudFront does not see where the domain leads, which may change.
func tenantFailed(shared tenancy, host string, err error) error {
	if refused := (*types.InvalidArgument)(nil); errors.As(err, &refused) {
		return fmt.Errorf("CloudFront refuses %s until it sees that its records lead to %s; if they are aliases of Route 53, also set a TXT record of _cf-challenge.%s to %s (%s)",
			host, shared.endpoint, strings.TrimPrefix(host, "*."), shared.endpoint, refused.ErrorMessage())
	}
	return awsapi.Failed("make CloudFront serve "+host, err)
}

// updateTenant makes a tenant serve its host again, with its certificate and
// these parameters. If again is true, it repeats a failed request for the
// certificate.
func (c *CDN) updateTenant(ctx context.Context, shared tenancy, t tenant, wanted []types.Parameter, again bool) error {
	host := aws.ToString(t.Domains[0].Domain)
	certificate := t.certificate()
	var request *types.ManagedCertificateRequest
	if !isWildcard(host) {
		managed, err := c.managed(ctx, t)
		if err != nil {
			return err
		}
		switch {
		case managed == nil && certificate == "" || managed != nil && managed.again(time.Now(), again):
			request = managedRequest(host)
		case managed != nil && managed.Status == acmtypes.CertificateStatusIssued:
			certificate = aws.ToString(managed.CertificateArn)
		}
	}
	if t.enabled() && request == nil && certificate == t.certificate() && sameParameters(t.Parameters, wanted) {
		return nil
	}
	return tenantFailed(shared, host, c.changeTenant(ctx, t, func(in *cloudfront.UpdateDistributionTenantInput) {
		in.Enabled, in.Parameters, in.ManagedCertificateRequest = aws.Bool(true), wanted, request
		if certificate != t.certificate() {
			in.Customizations = &types.Customizations{Certificate: &types.Certificate{Arn: &certificate}}
		}
	}))
}

func sameParameters(has, wanted []types.Parameter) bool {
	for _, w := range wanted {
		if !slices.ContainsFunc(has, func(p types.Parameter) bool {
			return aws.ToString(p.Name) == aws.ToString(w.Name) && aws.ToString(p.Value) == aws.ToString(w.Value)
		}) {
			return false
		}
	}
	return true
}

// changeTenant sends a tenant's whole configuration back, with a change.
func (c *CDN) changeTenant(ctx context.Context, t tenant, change func(*cloudfront.UpdateDistributionTenantInput)) error {
	in := &cloudfront.UpdateDistributionTenantInput{
		Id: t.Id, IfMatch: t.etag, DistributionId: t.DistributionId, ConnectionGroupId: t.ConnectionGroupId,
		Customizations: t.Customizations, Enabled: t.Enabled, Parameters: t.Parameters,
	}
	for _, d := range t.Domains {
		in.Domains = append(in.Domains, types.DomainItem{Domain: d.Domain})
	}
	change(in)
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.UpdateDistributionTenantOutput, error) {
		return c.client.UpdateDistributionTenant(ctx, in)
	})
	return err
}

// tenantState returns what CloudFront and ACM know about a custom host.
func (c *CDN) tenantState(ctx context.Context, id, host string) (cloud.HostState, error) {
	t, err := c.tenantOf(ctx, host)
	if errors.Is(err, cloud.ErrNotFound) && isWildcard(host) {
		return c.requestedState(ctx, id, host)
	}
	if err == nil && (c.ownerOf(aws.ToString(t.Name)) != id || !t.enabled()) {
		err = fmt.Errorf("the distribution tenant of %s: %w", host, cloud.ErrNotFound)
	}
	if err != nil {
		return cloud.HostState{}, err
	}
	serving := slices.ContainsFunc(t.Domains, func(d types.DomainResult) bool {
		return aws.ToString(d.Domain) == host && d.Status == types.DomainStatusActive
	})
	if arn := t.certificate(); arn != "" {
		used, err := c.certificate(ctx, arn)
		if err != nil {
			return cloud.HostState{}, err
		}
		state := used.state()
		state.Serving = serving
		return state, nil
	}
	managed, err := c.managed(ctx, t)
	if err != nil {
		return cloud.HostState{}, err
	}
	if managed == nil {
		return cloud.HostState{Serving: serving, Certificate: cloud.CertificateWaiting}, nil
	}
	state := managed.state()
	state.Serving = serving
	switch state.Certificate {
	case cloud.CertificateActive:
		state.Certificate, state.Problem = cloud.CertificateIssuing, notUsedYet
	case cloud.CertificateIssuing:
		state.Problem = c.unverified(ctx, t)
	}
	return state, nil
}

// unverified returns what CloudFront sees wrong with the DNS records of a tenant's
// host, in a sentence, or "".
func (c *CDN) unverified(ctx context.Context, t tenant) string {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.VerifyDnsConfigurationOutput, error) {
		return c.client.VerifyDnsConfiguration(ctx, &cloudfront.VerifyDnsConfigurationInput{Identifier: t.Id})
	})
	if err != nil {
		return "" // it only explains
	}
	for _, d := range out.DnsConfigurationList {
		if d.Status == types.DnsConfigurationStatusInvalid {
			return "CloudFront can't validate the certificate: " + aws.ToString(d.Reason)
		}
	}
	return ""
}

// detachTenant takes the next step of removing a host's tenant and certificates.
func (c *CDN) detachTenant(ctx context.Context, id, host string) error {
	t, err := c.tenantOf(ctx, host)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return c.dropCertificates(ctx, id, host, true)
	case err != nil:
		return err
	case c.ownerOf(aws.ToString(t.Name)) != id:
		return c.dropCertificates(ctx, id, host, false)
	case t.enabled():
		if err := c.changeTenant(ctx, t, func(in *cloudfront.UpdateDistributionTenantInput) { in.Enabled = aws.Bool(false) }); err != nil {
			return awsapi.Failed("disable the distribution tenant of "+host, err)
		}
		return stillServed(host)
	case aws.ToString(t.Status) != "Deployed":
		return stillServed(host)
	}
	_, err = awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.DeleteDistributionTenantOutput, error) {
		return c.client.DeleteDistributionTenant(ctx, &cloudfront.DeleteDistributionTenantInput{Id: t.Id, IfMatch: t.etag})
	})
	if err = awsapi.Failed("delete the distribution tenant of "+host, err); err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	return c.dropCertificates(ctx, id, host, true)
}
