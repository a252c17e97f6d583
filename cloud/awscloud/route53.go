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
	"github.com/troy-iaas/troy/site"
)

// cloudFrontZone is the zone of every CloudFront distribution's own name
// (docs.aws.amazon.com/Route53/latest/APIReference/API_AliasTarget.html).
const cloudFrontZone = "Z2FDTNDATAQYW2"

// DNS keeps alias records in a hosted zone of Route 53: A and AAAA of each
// host, always both.
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
	records, err := d.records(ctx, host)
	if err != nil {
		return "", err
	}
	for _, r := range records {
		if r.AliasTarget != nil {
			return target(r), nil
		}
	}
	return "", fmt.Errorf("the record of %s: %w", host, cloud.ErrNotFound)
}

// records lists the A and AAAA records of a host.
func (d *DNS) records(ctx context.Context, host string) ([]types.ResourceRecordSet, error) {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return nil, troy.Errorf(troy.Invalid, "%w", err)
	}
	// Records are listed from one on; the two, and no others, come first.
	out, err := call(ctx, func(ctx context.Context) (*route53.ListResourceRecordSetsOutput, error) {
		return d.client.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{
			HostedZoneId: &d.cfg.Zone, StartRecordName: &host, StartRecordType: types.RRTypeA, MaxItems: aws.Int32(2),
		})
	})
	if err != nil {
		return nil, failed("look up "+host, err)
	}
	var records []types.ResourceRecordSet
	for _, r := range out.ResourceRecordSets {
		if plain(aws.ToString(r.Name)) == host && (r.Type == types.RRTypeA || r.Type == types.RRTypeAaaa) {
			records = append(records, r)
		}
	}
	return records, nil
}

func target(r types.ResourceRecordSet) string { return plain(aws.ToString(r.AliasTarget.DNSName)) }

// plain is a name as Troy writes it.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Upsert implements cloud.DNS.
func (d *DNS) Upsert(ctx context.Context, host, to string) error {
	host, err := site.NormalizeHost(host)
	if err != nil {
		return troy.Errorf(troy.Invalid, "%w", err)
	}
	var changes []types.Change
	for _, kind := range []types.RRType{types.RRTypeA, types.RRTypeAaaa} {
		changes = append(changes, types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: &types.ResourceRecordSet{
			Name: &host, Type: kind, AliasTarget: &types.AliasTarget{DNSName: &to, HostedZoneId: aws.String(cloudFrontZone)},
		}})
	}
	return d.change(ctx, "make the record of "+host, changes)
}

// Delete implements cloud.DNS. What is deleted has to match in all its values,
// so it is read first.
func (d *DNS) Delete(ctx context.Context, host, from string) error {
	records, err := d.records(ctx, host)
	if err != nil {
		return err
	}
	var changes []types.Change
	for _, r := range records {
		if r.AliasTarget != nil && target(r) == plain(from) {
			changes = append(changes, types.Change{Action: types.ChangeActionDelete, ResourceRecordSet: &r})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return d.change(ctx, "delete the record of "+host, changes)
}

// change sends changes, one after another for the zone: Route 53 refuses those
// that come while others are under way.
func (d *DNS) change(ctx context.Context, what string, changes []types.Change) error {
	return d.cfg.Lock(ctx, "route53 "+d.cfg.Zone, func(ctx context.Context) error {
		_, err := call(ctx, func(ctx context.Context) (*route53.ChangeResourceRecordSetsOutput, error) {
			return d.client.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
				HostedZoneId: &d.cfg.Zone, ChangeBatch: &types.ChangeBatch{Changes: changes},
			})
		})
		return failed(what, err)
	})
}
