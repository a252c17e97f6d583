package awscloud_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// Records that Troy did not make stay, of any type, and so do their neighbours.
func TestRecordsOfOthers(t *testing.T) {
	t.Parallel()
	const host, target = "blog.sites.test", "d1.cloudfront.net"
	server := s3test.Start(t)
	for _, c := range []struct{ kind, value string }{
		{"A", "192.0.2.1"}, {"AAAA", "2001:db8::1"}, {"CNAME", "old.example.com"},
	} {
		a := newAccount(t, server, awsdouble.Config{})
		a.double.AddRecord(c.kind, host, c.value)
		before := a.double.Records()
		err := a.cloud.DNS.Upsert(t.Context(), host, target)
		if troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), c.kind+" "+c.value) {
			t.Errorf("%s: %v, want a Conflict that names it", c.kind, err)
		}
		if err := a.cloud.DNS.Delete(t.Context(), host, target); err != nil {
			t.Error(err)
		}
		if after := a.double.Records(); !slices.Equal(after, before) {
			t.Errorf("%s: the records are %q, were %q", c.kind, after, before)
		}
	}
	// A record that leads nowhere does not matter and outlives the site.
	a := newAccount(t, server, awsdouble.Config{})
	a.double.AddRecord("TXT", host, `"verification"`)
	if err := a.cloud.DNS.Upsert(t.Context(), host, target); err != nil {
		t.Fatal(err)
	}
	if n := len(a.double.Records()); n != 3 {
		t.Errorf("%d records", n)
	}
	if err := a.cloud.DNS.Delete(t.Context(), host, target); err != nil {
		t.Fatal(err)
	}
	if left := a.double.Records(); len(left) != 1 || !strings.HasPrefix(left[0], "TXT ") {
		t.Errorf("left are %q", left)
	}
}

// The answer to a change is lost after its effect, or before it: the record is
// adopted, or made.
func TestRecordsWhoseAnswerWasLost(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, fault := range []awsdouble.Fault{awsdouble.LostAfter, awsdouble.LostBefore} {
		var mended atomic.Bool
		a := newAccount(t, server, awsdouble.Config{Fault: func(c awsdouble.Call) awsdouble.Fault {
			if !mended.Load() && c.Action == "ChangeResourceRecordSets" {
				return fault
			}
			return awsdouble.None
		}})
		if err := a.cloud.DNS.Upsert(t.Context(), "blog.sites.test", "d1.cloudfront.net"); err == nil {
			t.Error("the call's answer was lost, but it returned nil")
		}
		mended.Store(true)
		if err := a.cloud.DNS.Upsert(t.Context(), "blog.sites.test", "d1.cloudfront.net"); err != nil {
			t.Error(err)
		}
		if n := len(a.double.Records()); n != 2 {
			t.Errorf("%d records", n)
		}
	}
}
