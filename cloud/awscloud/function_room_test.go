package awscloud_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// earlier moves n distributions of the installation to functions of an earlier
// version, one after another.
func (a account) earlier(t *testing.T, server *s3test.Server, functions, n int) {
	t.Helper()
	client := cloudfront.NewFromConfig(a.loaded)
	var arns, access []string
	for i := range functions {
		arns = append(arns, functionNamed(t, client, fmt.Sprintf("troy-%d", i), a.cfg.KeyValueStoreARN, "function handler(e) { return e.request; }"))
	}
	for i := range 1 + n/100 {
		made, err := client.CreateOriginAccessControl(t.Context(), &cloudfront.CreateOriginAccessControlInput{OriginAccessControlConfig: &types.OriginAccessControlConfig{
			Name: aws.String(fmt.Sprintf("troy-%d", i)), OriginAccessControlOriginType: "s3", SigningBehavior: "always", SigningProtocol: "sigv4",
		}})
		if err != nil {
			t.Fatal(err)
		}
		access = append(access, aws.ToString(made.OriginAccessControl.Id))
	}
	model := join(t, server, a.double).publish(t, "model.sites.test", "of another installation")
	got, err := client.GetDistribution(t.Context(), &cloudfront.GetDistributionInput{Id: &model.ID})
	if err != nil {
		t.Fatal(err)
	}
	config := got.Distribution.DistributionConfig
	for i := range n {
		reference := aws.String("troy-" + uuid.NewString())
		config.CallerReference, config.Comment = reference, reference
		config.Aliases.Items = []string{fmt.Sprintf("e%d.sites.test", i)}
		config.Origins.Items[0].DomainName = aws.String(a.cfg.SitesBucket + ".s3.us-east-1.amazonaws.com")
		config.Origins.Items[0].OriginAccessControlId = &access[i/100]
		config.DefaultCacheBehavior.FunctionAssociations = &types.FunctionAssociations{Quantity: aws.Int32(1), Items: []types.FunctionAssociation{{
			EventType: types.EventTypeViewerRequest, FunctionARN: &arns[i%functions],
		}}}
		if _, err := client.CreateDistributionWithTags(t.Context(), &cloudfront.CreateDistributionWithTagsInput{DistributionConfigWithTags: &types.DistributionConfigWithTags{
			DistributionConfig: config, Tags: &types.Tags{},
		}}); err != nil {
			t.Fatal(err)
		}
	}
}

// More distributions than one shard takes leave nine functions of an earlier
// version. CloudFront lets ten read the pointers' store.
func TestUpkeepMakesRoom(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var inUse atomic.Bool
	a := newAccount(t, server, awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
		if c.Action == "DeleteFunction" && inUse.Load() {
			return awsdouble.Failed
		}
		return awsdouble.None
	}})
	a.earlier(t, server, 9, 101)
	inUse.Store(true)
	if done, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context()); err == nil || done.Distributions != 100 {
		t.Errorf("with no function deleted the upkeep changed %+v, %v; want 100 distributions and an error", done, err)
	}
	inUse.Store(false)
	if done := a.upkeep(t); done.Distributions != 1 {
		t.Errorf("the next upkeep changed %+v, want one distribution", done)
	}
	for range 2 { // the others are removed as orphans
		if _, err := a.account().Unused(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	if done := a.upkeep(t); done != (awscloud.Upkept{}) {
		t.Errorf("the last upkeep changed %+v", done)
	}
}

// If every function of the store belongs to an earlier version and is in use,
// nothing is moved, and the upkeep reports it.
func TestUpkeepWithoutRoom(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	a := newAccount(t, server, awsdouble.Config{})
	a.earlier(t, server, 10, 10)
	done, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context())
	if troy.KindOf(err) != troy.Conflict || !strings.Contains(fmt.Sprint(err), "10 functions read the pointers' store, CloudFront's maximum: troy-0 (used by 1)") || done != (awscloud.Upkept{}) {
		t.Errorf("the upkeep changed %+v, %v", done, err)
	}
	if _, err := a.cloud.CDN.Create(t.Context(), "troy-new", "new.sites.test"); troy.KindOf(err) != troy.Conflict {
		t.Errorf("Create: %v, want a conflict", err)
	}
	a.remove(t, "e0.sites.test")
	if done := a.upkeep(t); done.Distributions != 9 {
		t.Errorf("after one is unused the upkeep changed %+v, want nine distributions", done)
	}
}

// remove deletes a host's distribution.
func (a account) remove(t *testing.T, host string) {
	t.Helper()
	for _, d := range a.double.Distributions() {
		if d.Host != host {
			continue
		}
		got, err := a.cloud.CDN.Get(t.Context(), d.ID)
		if err == nil {
			err = a.cloud.CDN.Disable(t.Context(), d.ID, got.ETag)
		}
		if err == nil {
			got, err = a.cloud.CDN.Get(t.Context(), d.ID)
		}
		if err == nil {
			err = a.cloud.CDN.Delete(t.Context(), d.ID, got.ETag)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
