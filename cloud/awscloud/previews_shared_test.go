package awscloud_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

// Troy does not take over a record, and says so. Sites are as before.
func TestPreviewsWithForeignRecord(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{}).withPreviews("sites.test")
	a.double.AddRecord("CNAME", "*.sites.test", "elsewhere.example")
	d := a.publish(t, "blog.sites.test", "home")
	err := a.cloud.Previews.Point(t.Context(), d.ID, "pr-1", site.Pointer{Sequence: 1, Pipeline: uuid.New(), Deployment: uuid.New()})
	if troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "*.sites.test has a record that Troy did not make (CNAME elsewhere.example)") {
		t.Errorf("Point: %v; expected a Conflict with the record", err)
	}
	if _, err := awscloud.NewCDN(a.loaded, a.cfg).Upkeep(t.Context()); troy.KindOf(err) != troy.Conflict {
		t.Errorf("Upkeep: %v; expected a Conflict", err)
	}
	a.wantPage(t, "blog.sites.test", "home")
}

// Previews leave room for sites in the pointers' store.
func TestPreviewsLeaveRoom(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{}).withPreviews("sites.test")
	d := a.publish(t, "blog.sites.test", "home")
	pointer := site.Pointer{Sequence: 1, Pipeline: uuid.New(), Deployment: uuid.New()}
	if err := a.cloud.Previews.Point(t.Context(), d.ID, "pr-1", pointer); err != nil {
		t.Fatal(err)
	}
	for i := range 4 << 10 {
		a.double.SetValue(a.cfg.KeyValueStoreARN, fmt.Sprintf("fill/%d", i), strings.Repeat("x", 1024))
	}
	if err := a.cloud.Previews.Point(t.Context(), d.ID, "pr-2", pointer); troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "too full") {
		t.Errorf("Point with a full store: %v; expected a Conflict", err)
	}
	// What does not grow fits.
	pointer.Sequence, pointer.Deployment = 2, uuid.New()
	if err := a.cloud.Previews.Point(t.Context(), d.ID, "pr-1", pointer); err != nil {
		t.Errorf("Point of a label that is there: %v", err)
	}
	if err := a.cloud.Previews.Unpoint(t.Context(), d.ID, "pr-1", 2); err != nil {
		t.Error(err)
	}
	a.publish(t, "news.sites.test", "news")
	a.wantPage(t, "news.sites.test", "news")
}

// The labels of as many previews as the documentation says fit.
func TestLabelsFit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ length, count int }{{20, 1500}, {57, 400}} {
		var all []string
		for i := range c.count {
			name := fmt.Sprintf("feature-%d-", i)
			all = append(all, name+strings.Repeat("x", c.length-len(name)))
		}
		for i := range 50 {
			all = append(all, troy.DeploymentLabel(int64(10_000+i)))
		}
		if !awscloud.LabelsFit("blog", all) {
			t.Errorf("%d labels of %d characters do not fit", c.count, c.length)
		}
	}
}

// A label can't be added to a distribution that is removed meanwhile.
func TestPointOfARemovedDistribution(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(account, cloud.Distribution) error{
		"removed": func(a account, d cloud.Distribution) error { a.double.RemoveDistribution(d.ID); return nil },
		"disabled": func(a account, d cloud.Distribution) error {
			now, err := a.cloud.CDN.Get(t.Context(), d.ID)
			if err == nil {
				err = a.cloud.CDN.Disable(t.Context(), d.ID, now.ETag)
			}
			return err
		},
	} {
		a := newAccount(t, s3test.Start(t), awsdouble.Config{}).withPreviews("sites.test")
		d := a.publish(t, "blog.sites.test", "home")
		a.upkeep(t)
		late := a
		late.cfg.Lock = func(ctx context.Context, lock string, f func(context.Context) error) error {
			if lock == "cloudfront pointers" {
				if err := remove(a, d); err != nil {
					return err
				}
			}
			return a.cfg.Lock(ctx, lock, f)
		}
		late = late.withPreviews("sites.test")
		err := late.cloud.Previews.Point(t.Context(), d.ID, "pr-1", site.Pointer{Sequence: 1, Pipeline: uuid.New(), Deployment: uuid.New()})
		if !errors.Is(err, cloud.ErrNotFound) || a.double.Pointers()["p/pr-1--blog"] != "" {
			t.Errorf("%s: %v, and the pointer is %q; expected ErrNotFound and none", name, err, a.double.Pointers()["p/pr-1--blog"])
		}
	}
}

// What previews share is removed behind the lock on distributions, and made again
// by a process that has used it. While it is being deployed, nothing lists all
// distributions.
func TestWhatPreviewsShare(t *testing.T) {
	t.Parallel()
	var held, unheld atomic.Int32
	a := newAccount(t, s3test.Start(t), awsdouble.Config{Settle: 300 * time.Millisecond, Fault: func(c awsdouble.Call) awsdouble.Fault {
		if c.Action == "DeleteDistribution" && held.Load() == 0 {
			unheld.Add(1)
		}
		return awsdouble.None
	}})
	lock := a.cfg.Lock
	a.cfg.Lock = func(ctx context.Context, name string, f func(context.Context) error) error {
		return lock(ctx, name, func(ctx context.Context) error {
			if name == "cloudfront distributions" {
				held.Add(1)
				defer held.Add(-1)
			}
			return f(ctx)
		})
	}
	a = a.withPreviews("sites.test")
	lists := func() (n int) {
		for _, c := range a.double.Calls() {
			if c.Action == "ListDistributions" {
				n++
			}
		}
		return n
	}
	shared := func() (id string) {
		for _, d := range a.double.Distributions() {
			if d.Host == "*.sites.test" {
				id = d.ID
			}
		}
		return id
	}
	d := a.publish(t, "blog.sites.test", "home")
	sequence := int64(0)
	point := func() error {
		sequence++
		return a.cloud.Previews.Point(t.Context(), d.ID, "pr-1", site.Pointer{Sequence: sequence, Pipeline: uuid.New(), Deployment: uuid.New()})
	}
	if err := point(); !errors.Is(err, cloud.ErrNotDeployed) {
		t.Fatalf("the first use: %v, expected ErrNotDeployed", err)
	}
	before, calls := lists(), 0
	if !poll.Until(t.Context(), 10*time.Second, 10*time.Millisecond, func() bool {
		err := point()
		if err == nil {
			return true
		}
		if !errors.Is(err, cloud.ErrNotDeployed) {
			t.Fatal(err)
		}
		if calls++; lists() != before {
			t.Fatalf("a use while it is deployed lists distributions")
		}
		return false
	}) || calls == 0 {
		t.Fatalf("the distribution was not deployed after %d calls", calls)
	}
	if !poll.Until(t.Context(), 10*time.Second, 10*time.Millisecond, func() bool { return a.deleteOnce(t, d.ID) == nil }) {
		t.Fatal("the site's distribution was not removed")
	}
	unheld.Store(0)
	if !poll.Until(t.Context(), 10*time.Second, 10*time.Millisecond, func() bool {
		left, err := a.account().Unused(t.Context(), true)
		return err == nil && len(left) == 0
	}) || shared() != "" || unheld.Load() > 0 {
		t.Errorf("the distribution for previews is %q; %d removals without the lock", shared(), unheld.Load())
	}
	d = a.publish(t, "news.sites.test", "home")
	a.cloud.Previews.(*awscloud.CDN).AgePreviews()
	if err := point(); !errors.Is(err, cloud.ErrNotDeployed) || shared() == "" {
		t.Errorf("after the removal: %v, and the distribution is %q; expected another one", err, shared())
	}
}
