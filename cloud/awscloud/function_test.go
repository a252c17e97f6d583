package awscloud_test

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// maxFunction is the maximum size of a function's code in bytes
// (docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html).
const maxFunction = 10 << 10

func TestFunctionsAreSmall(t *testing.T) {
	t.Parallel()
	// The maximum length of TROY_URL with passwords.
	long := "https://" + strings.Repeat("troy.", 77) + "example"
	for name, code := range awscloud.PublishedCode(long) {
		t.Logf("the viewer-%s function has %d bytes, %d of them for Troy's address", name, len(code), len(long))
		if len(code) > maxFunction {
			t.Errorf("the viewer-%s function has %d bytes; CloudFront accepts %d", name, len(code), maxFunction)
		}
		if strings.Contains(string(code), long) != (name != "response") {
			t.Errorf("the viewer-%s function has Troy's address: %v", name, name == "response")
		}
	}
}

// The double runs the published function.
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

// TestDifferences compares the list of docs/aws.md with the addresses for which
// CloudFront's answer differs from site's rules. Every other address of the
// conformance suite follows them.
func TestDifferences(t *testing.T) {
	t.Parallel()
	a := newAccount(t, s3test.Start(t), awsdouble.Config{})
	const host = "blog.sites.test"
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.Must(uuid.NewV7())}
	d, err := a.cloud.CDN.Create(t.Context(), "troy-"+tree.Pipeline.String(), host)
	if err == nil {
		err = a.cloud.DNS.Upsert(t.Context(), host, d.Domain)
	}
	if err != nil {
		t.Fatal(err)
	}
	var m site.Manifest
	paths := site.PathSet{}
	for _, p := range []string{
		"404.html", "docs/404.html", "docs/index.html", "v1.2.html", "dir.d/index.html", "about.html", "team.html", "team/index.html", "LICENSE", "free.html", "free",
	} {
		m.Files = append(m.Files, site.File{Path: p, Size: int64(len(p)), SHA256: sha256.Sum256([]byte(p))})
		paths[p] = struct{}{}
	}
	_, err = a.cloud.Store.Begin(t.Context(), tree, m)
	for _, f := range m.Files {
		if err == nil {
			err = a.cloud.Store.Put(t.Context(), tree, f, strings.NewReader(f.Path))
		}
	}
	if err == nil {
		err = a.cloud.Store.Seal(t.Context(), tree, nil, nil)
	}
	if err == nil {
		err = a.cloud.CDN.Flip(t.Context(), d.ID, site.Pointer{Sequence: 1, Pipeline: tree.Pipeline, Deployment: tree.Deployment})
	}
	if err != nil {
		t.Fatal(err)
	}
	// The file that answers, or the redirect's target; by the rules, and on
	// CloudFront.
	for address, want := range map[string]struct{ rules, here string }{
		"/docs/none":          {"", "404.html"}, // the rules don't know 404.html; the edge sends docs/404.html
		"/v1.2":               {"v1.2.html", "404.html"},
		"/v1.2.html":          {"v1.2.html", "v1.2.html"},
		"/dir.d":              {"→/dir.d/", "404.html"},
		"/dir.d/":             {"dir.d/index.html", "dir.d/index.html"},
		"/team":               {"team.html", "→/team/"},
		"/team/":              {"team/index.html", "team/index.html"},
		"/team.html":          {"team.html", "team.html"},
		"/free":               {"free", "free"},
		"/free/":              {"→/free.html", "free"},
		"/docs/index":         {"→/docs/", "404.html"},
		"/LICENSE/":           {"", "LICENSE"},
		"/LICENSE/index.html": {"", "LICENSE"},
		"/about/index.html":   {"", "about.html"},
	} {
		rule := site.SlashAuto.Resolve(paths, address)
		byRules := rule.Path
		if rule.Redirect {
			byRules = "→" + rule.Address()
		}
		w := a.read(host, address)
		here := w.Body.String()
		if w.Code == http.StatusMovedPermanently {
			here = "→" + w.Header().Get("Location")
		}
		if byRules != want.rules || here != want.here || (here == "404.html") != (w.Code == http.StatusNotFound) {
			t.Errorf("%s: the rules say %q, CloudFront answers %d %q; want %q and %q", address, byRules, w.Code, here, want.rules, want.here)
		}
	}
	if got := a.read(host, "/about/index.html").Header().Get("Link"); got != `</about>; rel="canonical"` {
		t.Errorf("/about/index.html names %q", got)
	}
}
