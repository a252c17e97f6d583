package awscloud

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// cloudFrontZone is the hosted zone id of every CloudFront distribution
// (docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html).
const cloudFrontZone = "Z2FDTNDATAQYW2"

// DNS keeps alias records in a hosted zone of Route 53, always both A and AAAA
// for a host.
type DNS struct {
	cfg    Config
	client *route53.Client
}

var _ cloud.DNS = (*DNS)(nil)

// NewDNS returns the DNS of the configuration's zone.
func NewDNS(loaded aws.Config, cfg Config) *DNS {
	return &DNS{cfg: cfg, client: route53.NewFromConfig(loaded)}
}

// Lookup implements cloud.DNS.
func (d *DNS) Lookup(ctx context.Context, host string) (string, error) {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return "", troy.Errorf(troy.Invalid, "%w", err)
	}
	records, err := d.records(ctx, host)
	if err != nil {
		return "", err
	}
	for _, r := range records {
		if leads(r) && r.AliasTarget != nil {
			return target(r), nil
		}
	}
	return "", fmt.Errorf("the record of %s: %w", host, cloud.ErrNotFound)
}

// maxRecords is the maximum number of records of one name that are read.
const maxRecords = 100

// records lists the records of a name, of all types.
func (d *DNS) records(ctx context.Context, host string) ([]types.ResourceRecordSet, error) {
	out, err := awsapi.Call(ctx, func(ctx context.Context) (*route53.ListResourceRecordSetsOutput, error) {
		return d.client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{
			HostedZoneId: &d.cfg.Zone, StartRecordName: &host, MaxItems: aws.Int32(maxRecords),
		})
	})
	if err != nil {
		return nil, awsapi.Failed("look up "+host, err)
	}
	var records []types.ResourceRecordSet
	for _, r := range out.ResourceRecordSets {
		if plain(aws.ToString(r.Name)) == host {
			records = append(records, r)
		}
	}
	return records, nil
}

// leads reports whether a record directs readers of the host anywhere.
func leads(r types.ResourceRecordSet) bool {
	return r.Type == types.RRTypeA || r.Type == types.RRTypeAaaa || r.Type == types.RRTypeCname
}

// made reports whether Troy made a record: an alias of the pipeline's
// distribution, and nothing else.
func made(r types.ResourceRecordSet, target string) bool {
	return r.AliasTarget != nil && r.SetIdentifier == nil && r.Type != types.RRTypeCname && plain(aws.ToString(r.AliasTarget.DNSName)) == plain(target)
}

// told describes a record in words.
func told(r types.ResourceRecordSet) string {
	value := ""
	switch {
	case r.AliasTarget != nil:
		value = " to " + target(r)
	case len(r.ResourceRecords) > 0:
		value = " " + aws.ToString(r.ResourceRecords[0].Value)
	}
	return string(r.Type) + value
}

func target(r types.ResourceRecordSet) string { return plain(aws.ToString(r.AliasTarget.DNSName)) }

// plain returns a name in Troy's notation. Route 53 lists a wildcard with an
// escaped asterisk
// (docs.aws.amazon.com/Route53/latest/DeveloperGuide/DomainNameFormat.html).
func plain(name string) string {
	return strings.Replace(strings.ToLower(strings.TrimSuffix(name, ".")), `\052`, "*", 1)
}

// Upsert implements cloud.DNS. Route 53 refuses to create an existing record,
// so a record that appears between the check and the change is not replaced
// either.
func (d *DNS) Upsert(ctx context.Context, host, to string) error {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return troy.Errorf(troy.Invalid, "%w", err)
	}
	return d.upsert(ctx, host, to)
}

// upsert is Upsert for a name that may be a wildcard.
func (d *DNS) upsert(ctx context.Context, host, to string) error {
	records, err := d.records(ctx, host)
	if err != nil {
		return err
	}
	there := map[types.RRType]bool{}
	for _, r := range records {
		if leads(r) && !made(r, to) {
			return troy.Errorf(troy.Conflict, "%s has a record that Troy did not make (%s); Troy did not change it. Remove it, or choose another name", host, told(r))
		}
		there[r.Type] = true
	}
	var changes []types.Change
	for _, kind := range []types.RRType{types.RRTypeA, types.RRTypeAaaa} {
		if there[kind] {
			continue
		}
		changes = append(changes, types.Change{Action: types.ChangeActionCreate, ResourceRecordSet: &types.ResourceRecordSet{
			Name: &host, Type: kind, AliasTarget: &types.AliasTarget{DNSName: &to, HostedZoneId: aws.String(cloudFrontZone)},
		}})
	}
	if len(changes) == 0 {
		return nil
	}
	return d.change(ctx, "make the record of "+host, changes)
}

// Delete implements cloud.DNS. A deletion has to match the record in all its
// values, so Delete reads it first.
func (d *DNS) Delete(ctx context.Context, host, from string) error {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return troy.Errorf(troy.Invalid, "%w", err)
	}
	return d.delete(ctx, host, from)
}

// delete is Delete for a name that may be a wildcard.
func (d *DNS) delete(ctx context.Context, host, from string) error {
	records, err := d.records(ctx, host)
	if err != nil {
		return err
	}
	var changes []types.Change
	for _, r := range records {
		if made(r, from) {
			changes = append(changes, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: &r})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return d.change(ctx, "delete the record of "+host, changes)
}

// change sends changes one after another for the zone: Route 53 refuses
// concurrent changes.
func (d *DNS) change(ctx context.Context, what string, changes []types.Change) error {
	return d.cfg.Lock(ctx, "route53 "+d.cfg.Zone, func(ctx context.Context) error {
		_, err := awsapi.Call(ctx, func(ctx context.Context) (*route53.ChangeResourceRecordSetsOutput, error) {
			return d.client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
				HostedZoneId: &d.cfg.Zone, ChangeBatch: &types.ChangeBatch{Changes: changes},
			})
		})
		return awsapi.Failed(what, err)
	})
}
