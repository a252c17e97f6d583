package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	kvstypes "github.com/aws/aws-sdk-go-v2/service/cloudfrontkeyvaluestore/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// The ways in which CloudFront serves custom domains: as distribution tenants, or
// as aliases of a pipeline's own distribution.
const (
	DomainTenants = "tenants"
	DomainAliases = "aliases"
)

// DomainWays lists the values of Config.Domains.
func DomainWays() []string { return []string{DomainTenants, DomainAliases} }

// maxAliases is the maximum number of a distribution's custom hosts: ACM's default
// quota of a certificate's names, less the one for the site's own host
// (docs.aws.amazon.com/acm/latest/userguide/acm-limits.html).
const maxAliases = 9

func (c *CDN) usesAliases() bool { return c.cfg.Domains == DomainAliases }

// attachAlias takes the next step of making a host an alias. A distribution has
// one certificate for all its aliases. So a certificate for the host alone comes
// first: it proves that DNS has the record of its validation, and a host without
// it does not hold up the others. Then ACM issues the certificate for all aliases
// without further records.
func (c *CDN) attachAlias(ctx context.Context, id string, h cloud.CustomHost) error {
	if isWildcard(h.Host) && h.Redirect != "" {
		return troy.Errorf(troy.Invalid, "the wildcard %s can't redirect with TROY_AWS_DOMAINS=%s", h.Host, DomainAliases)
	}
	attached, err := c.hasAlias(ctx, id, h.Host)
	if err != nil {
		return err
	}
	if !attached {
		issued := false
		if err := c.lockName(ctx, h.Host, func(ctx context.Context) error {
			alone, err := c.claim(ctx, id, h.Host, h.Again)
			issued = err == nil && alone.Status == acmtypes.CertificateStatusIssued
			return err
		}); err != nil {
			return err
		}
		if !issued {
			return nil
		}
	}
	if err := c.pointers.redirect(ctx, id, h); err != nil || attached {
		return err
	}
	return c.lockName(ctx, id, func(ctx context.Context) error {
		out, err := c.get(ctx, id)
		if err != nil {
			return err
		}
		custom, own, err := c.customAliases(ctx, out.Distribution.DistributionConfig)
		if err != nil || slices.Contains(custom, h.Host) {
			return err
		}
		if len(custom) >= maxAliases {
			return troy.Errorf(troy.Conflict, "the distribution has %d custom hosts, which is the maximum with TROY_AWS_DOMAINS=%s", len(custom), DomainAliases)
		}
		names, err := c.aliasNames(ctx, own, append(custom, h.Host))
		if err != nil {
			return err
		}
		all, err := c.ensureCertificate(ctx, id, names, h.Again)
		if err != nil || all.Status != acmtypes.CertificateStatusIssued {
			return err
		}
		if err := c.setAliases(ctx, out, append(custom, h.Host), own, aws.ToString(all.CertificateArn)); err != nil {
			return err
		}
		if err := c.dropSharedCertificates(ctx, id, names[0], aws.ToString(all.CertificateArn)); err != nil {
			return err
		}
		return c.dropCertificates(ctx, id, h.Host, false)
	})
}

// hasAlias reports whether a host is an alias of the distribution. It returns a
// Conflict if it is one of another distribution, or the site's own host.
func (c *CDN) hasAlias(ctx context.Context, id, host string) (bool, error) {
	has := false
	err := c.each(ctx, func(d types.DistributionSummary) (bool, error) {
		if !slices.Contains(aliases(d), host) {
			return true, nil
		}
		if aws.ToString(d.Id) != id {
			return false, taken(host)
		}
		own, err := c.ownHost(ctx, aliases(d))
		if err == nil && own == host {
			err = troy.Errorf(troy.Conflict, "%s is the own host of the distribution", own)
		}
		has = true
		return false, err
	})
	return has, err
}

// customAliases returns a distribution's aliases without the site's own host, in
// order, and that host.
func (c *CDN) customAliases(ctx context.Context, config *types.DistributionConfig) (custom []string, own string, err error) {
	if config.Aliases == nil || len(config.Aliases.Items) == 0 {
		return nil, "", nil
	}
	if own, err = c.ownHost(ctx, config.Aliases.Items); err != nil {
		return nil, "", err
	}
	for _, host := range config.Aliases.Items {
		if host != own {
			custom = append(custom, host)
		}
	}
	slices.Sort(custom)
	return custom, own, nil
}

// ownHost returns the site's own host among the aliases of its distribution: the
// one that the installation's certificate covers.
func (c *CDN) ownHost(ctx context.Context, aliases []string) (string, error) {
	if len(aliases) == 1 {
		return aliases[0], nil
	}
	for _, host := range aliases {
		if name, err := c.ownName(ctx, host); err != nil || name != "" {
			return host, err
		}
	}
	return "", troy.Errorf(troy.Conflict, "TROY_AWS_CERTIFICATE covers none of the distribution's hosts %s", strings.Join(aliases, ", "))
}

// ownName returns the name of the installation's certificate that covers a host,
// or "".
func (c *CDN) ownName(ctx context.Context, host string) (string, error) {
	installed, err := c.certificate(ctx, c.cfg.CertificateARN)
	if err != nil {
		return "", err
	}
	_, parent, _ := strings.Cut(host, ".")
	for _, name := range installed.SubjectAlternativeNames {
		if strings.EqualFold(name, host) || strings.EqualFold(name, "*."+parent) {
			return name, nil
		}
	}
	return "", nil
}

// aliasNames returns the names of the certificate for all aliases. The first one
// covers the site's own host. Its validation has a record already: that of the
// installation's certificate.
func (c *CDN) aliasNames(ctx context.Context, own string, custom []string) ([]string, error) {
	name, err := c.ownName(ctx, own)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = own
	}
	return append([]string{name}, slices.Sorted(slices.Values(custom))...), nil
}

// setAliases changes a distribution's aliases, guarded by its ETag.
func (c *CDN) setAliases(ctx context.Context, out *cloudfront.GetDistributionOutput, custom []string, own, certificate string) error {
	config := out.Distribution.DistributionConfig
	items := append([]string{own}, slices.Sorted(slices.Values(custom))...)
	config.Aliases = &types.Aliases{Quantity: aws.Int32(int32(len(items))), Items: items}
	config.ViewerCertificate = &types.ViewerCertificate{
		ACMCertificateArn: &certificate, SSLSupportMethod: types.SSLSupportMethodSniOnly, MinimumProtocolVersion: types.MinimumProtocolVersionTLSv122021,
	}
	_, err := awsapi.Call(ctx, func(ctx context.Context) (*cloudfront.UpdateDistributionOutput, error) {
		return c.client.UpdateDistribution(ctx, &cloudfront.UpdateDistributionInput{Id: out.Distribution.Id, IfMatch: out.ETag, DistributionConfig: config})
	})
	return awsapi.Failed("change the aliases of the distribution "+aws.ToString(out.Distribution.Id), err)
}

// dropSharedCertificates deletes the certificates for all aliases of a
// distribution, except for one.
func (c *CDN) dropSharedCertificates(ctx context.Context, id, first, except string) error {
	return c.eachCertificate(ctx, func(s acmtypes.CertificateSummary) error {
		arn := aws.ToString(s.CertificateArn)
		if aws.ToString(s.DomainName) != first || arn == except || arn == c.cfg.CertificateARN || s.ManagedBy != "" {
			return nil
		}
		reference, err := c.referenceOf(ctx, arn)
		if err != nil || reference != c.certificateReference(id) {
			return err
		}
		if err := c.dropCertificate(ctx, arn); err != nil && !errors.Is(err, awsapi.ErrInUse) {
			return err // CloudFront releases it within minutes; the next change deletes it
		}
		return nil
	})
}

// aliasState returns the state of a host that is an alias, or is to become one.
func (c *CDN) aliasState(ctx context.Context, id, host string) (cloud.HostState, error) {
	out, err := c.get(ctx, id)
	if err != nil {
		return cloud.HostState{}, err
	}
	config := out.Distribution.DistributionConfig
	if config.Aliases != nil && slices.Contains(config.Aliases.Items, host) {
		used, err := c.certificate(ctx, aws.ToString(config.ViewerCertificate.ACMCertificateArn))
		if err != nil {
			return cloud.HostState{}, err
		}
		state := used.state()
		state.Serving, state.Records = aws.ToBool(config.Enabled), used.recordsOf(host)
		return state, nil
	}
	return c.requestedState(ctx, id, host)
}

// detachAlias removes a host from a distribution's aliases. The certificate, which
// covers the others too, stays until they change or none is left.
func (c *CDN) detachAlias(ctx context.Context, id, host string) error {
	out, err := c.get(ctx, id)
	if errors.Is(err, cloud.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	config := out.Distribution.DistributionConfig
	custom, own, err := c.customAliases(ctx, config)
	if err != nil {
		return err
	}
	kept := aws.ToString(config.ViewerCertificate.ACMCertificateArn)
	if slices.Contains(custom, host) {
		custom = slices.DeleteFunc(custom, func(h string) bool { return h == host })
		if len(custom) == 0 {
			kept = c.cfg.CertificateARN
		}
		if err := c.setAliases(ctx, out, custom, own, kept); err != nil {
			return err
		}
	}
	if !c.usesAliases() {
		return nil
	}
	names, err := c.aliasNames(ctx, own, nil)
	if err != nil {
		return err
	}
	return c.dropSharedCertificates(ctx, id, names[0], kept)
}

// aliasKey is the key of the host that an alias redirects to.
func aliasKey(id, host string) string { return id + "/h/" + host }

// redirect writes the host that an alias redirects to, and marks the pointer, so
// that the function looks for the host.
func (p *pointers) redirect(ctx context.Context, id string, h cloud.CustomHost) error {
	there, err := p.value(ctx, aliasKey(id, h.Host))
	if err != nil || there == h.Redirect {
		return err
	}
	return p.lock(ctx, pointersLock, func(ctx context.Context) error {
		return retryRaces(func() error { return p.tryRedirect(ctx, id, h) })
	})
}

func (p *pointers) tryRedirect(ctx context.Context, id string, h cloud.CustomHost) error {
	etag, err := p.etag(ctx)
	if err != nil {
		return err
	}
	key := aliasKey(id, h.Host)
	if h.Redirect == "" {
		return p.write(ctx, etag, []*change{{deletes: []kvstypes.DeleteKeyRequestListItem{{Key: &key}}}})
	}
	c := &change{puts: []kvstypes.PutKeyRequestListItem{{Key: &key, Value: &h.Redirect}}}
	pointer, err := p.read(ctx, id)
	if err != nil && !errors.Is(err, cloud.ErrNotFound) {
		return err
	}
	if pointer.Redirects == 0 {
		pointer.Redirects = 1
		text, err := json.Marshal(pointer)
		if err != nil {
			return err
		}
		c.puts = append(c.puts, kvstypes.PutKeyRequestListItem{Key: &id, Value: aws.String(string(text))})
	}
	return p.write(ctx, etag, []*change{c})
}
