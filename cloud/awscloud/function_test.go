package awscloud_test

import (
	"net/http"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud/awscloud/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// maxFunction is the most bytes of a function's code
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
const maxFunction = 10 << 10

func TestFunctionsAreSmall(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"viewer_request.js", "viewer_response.js"} {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(code) > maxFunction {
			t.Errorf("%s has %d bytes; CloudFront takes %d", name, len(code), maxFunction)
		}
	}
}

// The double runs the function that was published.
func TestViewerRequest(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	const host = "blog.sites.test"
	d, err := a.cloud.CDN.Create(t.Context(), "troy", host)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cloud.DNS.Upsert(t.Context(), host, d.Domain); err != nil {
		t.Fatal(err)
	}
	if _, status, err := a.double.Rewrite(host, "/"); status != http.StatusNotFound || err != nil {
		t.Errorf("a distribution without a pointer: %d, %v", status, err)
	}
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	if err := a.cloud.CDN.Flip(t.Context(), d.ID, site.Pointer{Sequence: 1, Pipeline: tree.Pipeline, Deployment: tree.Deployment}); err != nil {
		t.Fatal(err)
	}
	a.double.BreakStores(true)
	if _, status, err := a.double.Rewrite(host, "/"); status != http.StatusServiceUnavailable || err != nil {
		t.Errorf("a store that can't be read: %d, %v; want 503", status, err)
	}
	a.double.BreakStores(false)
	prefix := "/sites/" + tree.Pipeline.String() + "/" + tree.Deployment.String()
	for _, c := range []struct{ uri, want string }{
		{"/", "/index.html"},
		{"/about", "/about/index.html"},
		{"/about/", "/about/index.html"},
		{"/about.html", "/about.html"},
		{"/a/b.c/LICENSE", "/a/b.c/LICENSE/index.html"},
		{"/.well-known/acme", "/.well-known/acme/index.html"},
		{"//x", "//x/index.html"},
		{"/a%2Fb", "/a%2Fb/index.html"},
		{"/a+b/c+d.html", "/a%2Bb/c%2Bd.html"},
		{"/a%2Bb%20c.html", "/a%2Bb%20c.html"},
		{"/..", ""}, {"/../x", ""}, {"/a/../../x.html", ""}, {"/%2e%2E/x", ""}, {"/.%2e/x", ""}, {"/./x", ""},
	} {
		got, status, err := a.double.Rewrite(host, c.uri)
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" && status != http.StatusNotFound || c.want != "" && got != prefix+c.want {
			t.Errorf("%s becomes %q (%d), want %q", c.uri, got, status, c.want)
		}
	}
}
