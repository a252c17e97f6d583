package awscloud_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// Errors that a person has to fix are clear and are not retried.
func TestRefusalsInWords(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, c := range map[string]struct {
		cfg  awsdouble.Config
		host string
		says string
	}{
		"the quota":       {awsdouble.Config{MaxDistributions: 1}, "new.sites.test", "Web distributions per AWS account"},
		"the certificate": {awsdouble.Config{Covers: ".sites.test"}, "new.other.test", "the certificate does not cover the host"},
		"the alias":       {awsdouble.Config{}, "first.sites.test", "in use by another distribution"},
	} {
		a := newAccount(t, server, c.cfg)
		if _, err := a.cloud.CDN.Create(t.Context(), "first", "first.sites.test"); err != nil {
			t.Fatal(err)
		}
		_, err := a.cloud.CDN.Create(t.Context(), "second", c.host)
		if troy.KindOf(err) != troy.Conflict || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v (%s); want a conflict with %q", name, err, troy.KindOf(err), c.says)
		}
	}
	other := newAccount(t, server, awsdouble.Config{Zone: "Z9", ZoneName: "sites.test"}) // Troy is configured with Z0123456789
	if err := other.cloud.DNS.Upsert(t.Context(), "blog.sites.test", "d1.cloudfront.net"); troy.KindOf(err) != troy.Conflict {
		t.Errorf("another account's zone: %v", err)
	}
}

// More than a hundred distributions have a second function and a second origin
// access control.
func TestShards(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	for i := range 101 {
		name := fmt.Sprintf("p%d", i)
		if _, err := a.cloud.CDN.Create(t.Context(), name, name+".sites.test"); err != nil {
			t.Fatalf("distribution %d: %v", i+1, err)
		}
	}
	functions, access := map[string]int{}, map[string]int{}
	for _, d := range a.double.Distributions() {
		functions[d.Function]++
		access[d.Access]++
	}
	counts := slices.Sorted(maps.Values(functions))
	if !slices.Equal(counts, []int{1, 100}) || len(access) != 2 {
		t.Errorf("functions %v, origin access controls %v", functions, access)
	}
}
