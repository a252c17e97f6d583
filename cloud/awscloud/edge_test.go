package awscloud_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// CloudFront caches pages although browsers revalidate them each time: the
// deployment is part of every key.
func TestOriginRequests(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	const host, views = "blog.sites.test", 1000
	a.publish(t, host, "home")
	before := a.double.OriginRequests()
	for range views {
		w := a.read(host, "/")
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "public, max-age=0, must-revalidate" {
			t.Fatalf("%d, Cache-Control %q", w.Code, w.Header().Get("Cache-Control"))
		}
		a.double.Advance(time.Minute)
	}
	made := a.double.OriginRequests() - before
	t.Logf("%d views, one a minute: %d origin requests", views, made)
	if made > views/100 {
		t.Errorf("%d views made %d origin requests", views, made)
	}
}
