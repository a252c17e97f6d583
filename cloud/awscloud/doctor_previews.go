package awscloud

import (
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
)

// previews checks what serves the previews, and its certificate and zone if they
// are not those of the sites. zone says whether the sites' zone is well.
func (e examiner) previews(zone bool) {
	const part = "previews"
	of := e.cfg.ofPreviews()
	if of.CertificateARN != e.cfg.CertificateARN || e.cfg.PreviewSuffix != e.suffix {
		e.certificate("previews' certificate", "TROY_AWS_PREVIEW_CERTIFICATE", of.CertificateARN, e.cfg.PreviewSuffix)
		zone = e.zone("previews' hosted zone", "TROY_PREVIEW_SUFFIX", "TROY_AWS_PREVIEW_ZONE", of.Zone, e.cfg.PreviewSuffix)
	}
	if !zone {
		return // its finding says what to do first
	}
	cdn := NewCDN(e.Loaded, e.cfg)
	alias := e.cfg.previewAlias()
	found, err := cdn.Find(e.Context, cdn.previewsReference())
	if errors.Is(err, cloud.ErrNotFound) {
		e.previewRecord(cdn, alias, "")
		return
	}
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "the role must be allowed cloudfront:ListDistributions and cloudfront:GetDistribution (docs/aws.md)")
		return
	}
	out, err := cdn.get(e.Context, found.ID)
	if err != nil {
		e.Wrong(part, awsapi.Words(err), "the role must be allowed cloudfront:GetDistribution (docs/aws.md)")
		return
	}
	config := out.Distribution.DistributionConfig
	if !cdn.configured(aws.ToBool(config.Enabled), config.Aliases, config.ViewerCertificate) {
		e.Wrong(part, "the distribution "+found.ID+" does not serve "+alias+" with the certificate of the settings",
			"keep `troyd work` running: it changes this within %s, or logs the reason", UpkeepInterval)
		return
	}
	e.previewRecord(cdn, alias, found.Domain)
}

// previewRecord checks the record of the previews. Without a target, their
// distribution was not made yet.
func (e examiner) previewRecord(cdn *CDN, alias, target string) {
	const part = "previews"
	records, err := cdn.previewDNS.records(e.Context, alias)
	records = slices.DeleteFunc(records, func(r types.ResourceRecordSet) bool { return !leads(r) })
	foreign := slices.IndexFunc(records, func(r types.ResourceRecordSet) bool { return !made(r, target) })
	switch {
	case err != nil:
		e.Wrong(part, awsapi.Words(err), "the role must be allowed route53:ListResourceRecordSets for the zone (docs/aws.md)")
	case target != "" && len(records) == 0:
		e.Wrong(part, alias+" has no record", "keep `troyd work` running: it makes the record within %s, or logs the reason", UpkeepInterval)
	case foreign >= 0:
		e.Wrong(part, alias+" has a record that Troy did not make ("+told(records[foreign])+")", "remove it, or set TROY_PREVIEW_SUFFIX to another domain")
	case target == "":
		e.Well(part, "%s is served from the first site on", alias)
	default:
		e.Well(part, "%s", alias)
	}
}
