package awscloud

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

var _ cloud.Domains = (*CDN)(nil)

// lockName runs f while no other process changes what is made for a custom host,
// or the aliases of a distribution. There are few locks, because processes keep
// their names.
func (c *CDN) lockName(ctx context.Context, name string, f func(context.Context) error) error {
	sum := sha256.Sum256([]byte(name))
	return c.cfg.Lock(ctx, fmt.Sprintf("cloudfront domain %02x", sum[0]), func(ctx context.Context) error {
		return retryRaces(func() error { return f(ctx) })
	})
}

// Target implements cloud.Domains.
func (c *CDN) Target(ctx context.Context, id string) (string, []netip.Addr, error) {
	of, err := c.Get(ctx, id)
	if err != nil || c.usesAliases() {
		return of.Domain, nil, err
	}
	shared, err := c.tenancy(ctx)
	return shared.endpoint, nil, err
}

// Attach implements cloud.Domains. Each call takes the next step that is
// possible: it requests the certificate, and makes CloudFront use it once it was
// issued.
func (c *CDN) Attach(ctx context.Context, id string, h cloud.CustomHost) (err error) {
	if h.Host, err = cloud.NormalizeCustom(h.Host); err != nil {
		return err
	}
	if h.Redirect != "" {
		if h.Redirect, err = site.NormalizeHost(h.Redirect); err != nil {
			return err
		}
	}
	out, err := c.get(ctx, id)
	if err != nil {
		return err
	}
	reference := aws.ToString(out.Distribution.DistributionConfig.CallerReference)
	if c.usesAliases() {
		return c.attachAlias(ctx, id, h)
	}
	shared, err := c.tenancy(ctx)
	if err != nil {
		return err
	}
	return c.lockName(ctx, h.Host, func(ctx context.Context) error { return c.attachTenant(ctx, shared, id, reference, h) })
}

// Host implements cloud.Domains.
func (c *CDN) Host(ctx context.Context, id, host string) (cloud.HostState, error) {
	host, err := cloud.NormalizeCustom(host)
	if err != nil {
		return cloud.HostState{}, err
	}
	if c.usesAliases() {
		return c.aliasState(ctx, id, host)
	}
	return c.tenantState(ctx, id, host)
}

// Detach implements cloud.Domains.
func (c *CDN) Detach(ctx context.Context, id, host string) error {
	host, err := cloud.NormalizeCustom(host)
	if err != nil {
		return err
	}
	// What an earlier setting of Config.Domains made goes too.
	if err := c.lockName(ctx, id, func(ctx context.Context) error { return c.detachAlias(ctx, id, host) }); err != nil {
		return err
	}
	if err := c.pointers.redirect(ctx, id, cloud.CustomHost{Host: host}); err != nil {
		return err
	}
	return c.lockName(ctx, host, func(ctx context.Context) error {
		err := c.detachTenant(ctx, id, host)
		if c.usesAliases() && troy.KindOf(err) == troy.Forbidden {
			return c.dropCertificates(ctx, id, host, false) // the role is not for tenants
		}
		return err
	})
}

// detachAll detaches the custom hosts of a distribution.
func (c *CDN) detachAll(ctx context.Context, id string, config *types.DistributionConfig) error {
	custom, _, failed := c.customAliases(ctx, config)
	for _, host := range custom {
		failed = errors.Join(failed, c.Detach(ctx, id, host))
	}
	err := c.eachTenant(ctx, func(name string, hosts []string) {
		if c.ownerOf(name) != id {
			return
		}
		for _, host := range hosts {
			failed = errors.Join(failed, c.Detach(ctx, id, host))
		}
	})
	return errors.Join(err, failed)
}

func isWildcard(host string) bool { return strings.HasPrefix(host, "*.") }

// taken is the Conflict for a host that another distribution serves.
func taken(host string) error {
	return troy.Errorf(troy.Conflict, "another distribution serves %s", host)
}

// stillServed means that a detached host is not removed yet.
func stillServed(host string) error {
	return fmt.Errorf("CloudFront is still ending the service of %s: %w", host, cloud.ErrNotDisabled)
}
