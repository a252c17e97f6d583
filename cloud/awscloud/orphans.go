package awscloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	acmtypes "github.com/aws/aws-sdk-go-v2/service/acm/types"
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
	sources, err := a.cdn.logSources(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range sources {
		note(strings.TrimPrefix(name, a.cdn.logSource("")), "the log delivery source "+name)
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

// Unused is something of this installation that nothing uses.
type Unused struct {
	What string
	Gone bool // it was removed
}

// Unused lists the functions and origin access controls of this installation
// that no distribution uses, and the distribution for previews if no site is left.
// With remove it removes them; a distribution takes several calls.
func (a *Account) Unused(ctx context.Context, remove bool) (all []Unused, err error) {
	left, err := a.cdn.leftOver(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range left {
		gone := false
		if remove {
			if gone, err = one.remove(ctx); err != nil {
				return nil, err
			}
		}
		all = append(all, Unused{one.what, gone})
	}
	slices.SortFunc(all, func(a, b Unused) int { return strings.Compare(a.What, b.What) })
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
	if err := a.cdn.withdrawOrphan(ctx, a.cdn.logSource(reference)); err != nil {
		return false, err
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
	_, own, err := a.cdn.customAliases(ctx, full.Distribution.DistributionConfig)
	if err != nil {
		return false, err
	}
	if own != "" {
		if err := a.dns.Delete(ctx, own, d.Domain); err != nil {
			return false, fmt.Errorf("delete the DNS record of %s: %w", own, err)
		}
	}
	err = a.cdn.Delete(ctx, d.ID, d.ETag)
	if errors.Is(err, cloud.ErrNotDisabled) {
		return false, nil
	}
	return err == nil, err
}

// Hosted is something that was made for a custom host.
type Hosted struct {
	Host, What   string
	distribution string
	certificate  string // the ARN if it is a certificate
}

// Hosts lists what was made for custom hosts: distribution tenants, aliases and
// certificates. It does not list what CloudFront made itself, because that does
// not show which installation it is for.
func (a *Account) Hosts(ctx context.Context) (all []Hosted, err error) {
	err = a.cdn.eachTenant(ctx, func(name string, hosts []string) {
		for _, host := range hosts {
			if id := a.cdn.ownerOf(name); id != "" {
				all = append(all, Hosted{Host: host, What: "the distribution tenant " + name, distribution: id})
			}
		}
	})
	if err != nil {
		return nil, err
	}
	distributions := map[string]bool{}
	err = a.cdn.each(ctx, func(d types.DistributionSummary) (bool, error) {
		id := aws.ToString(d.Id)
		distributions[id] = true
		if !a.cdn.ours(d) || len(aliases(d)) < 2 {
			return true, nil
		}
		own, err := a.cdn.ownHost(ctx, aliases(d))
		for _, host := range aliases(d) {
			if host != own && err == nil {
				all = append(all, Hosted{Host: host, What: "an alias of the distribution " + id, distribution: id})
			}
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	err = a.cdn.eachCertificate(ctx, func(s acmtypes.CertificateSummary) error {
		arn := aws.ToString(s.CertificateArn)
		if s.ManagedBy != "" || s.Type != acmtypes.CertificateTypeAmazonIssued {
			return nil
		}
		reference, err := a.cdn.referenceOf(ctx, arn)
		id, ours := strings.CutPrefix(reference, a.cdn.installation()+"-")
		if err != nil || !ours || distributions[id] && len(s.SubjectAlternativeNameSummaries) > 1 {
			return err // the certificate for all aliases of a distribution goes with it
		}
		all = append(all, Hosted{Host: aws.ToString(s.DomainName), What: "the certificate " + arn, distribution: id, certificate: arn})
		return nil
	})
	return all, err
}

// RemoveHost removes what was made for a custom host. It returns false while
// CloudFront is still ending the service; call it again later.
func (a *Account) RemoveHost(ctx context.Context, h Hosted) (bool, error) {
	err := a.cdn.Detach(ctx, h.distribution, h.Host)
	if err == nil && h.certificate != "" {
		err = a.cdn.dropCertificate(ctx, h.certificate)
	}
	if errors.Is(err, cloud.ErrNotDisabled) || errors.Is(err, awsapi.ErrInUse) {
		return false, nil
	}
	return err == nil, err
}
