package e2e

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// amazon is a world's double of AWS, with a real S3 server.
type amazon struct {
	*awsdouble.Double
	s3   *s3test.Server
	edge *httptest.Server
}

const (
	sitesBucket = "e2e-sites"
	workBucket  = "e2e-work"
)

// newAmazon starts the double.
func newAmazon(t *testing.T, cfg awsdouble.Config) *amazon {
	t.Helper()
	a := &amazon{s3: s3test.Start(t)}
	a.s3.Bucket(t, sitesBucket)
	a.s3.Bucket(t, workBucket)
	u, err := url.Parse(a.s3.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg.S3, cfg.S3Key, cfg.S3Secret = u, s3test.Key, s3test.Secret
	if cfg.Settle == 0 {
		cfg.Settle = 300 * time.Millisecond
	}
	a.Double = awsdouble.Start(cfg)
	t.Cleanup(a.Close)
	a.edge = httptest.NewServer(a.Edge())
	t.Cleanup(a.edge.Close)
	return a
}

// settings are the settings of a Troy on the double.
func (a *amazon) settings() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s3test.Key, "AWS_SECRET_ACCESS_KEY=" + s3test.Secret, "AWS_EC2_METADATA_DISABLED=true",
		"TROY_CLOUD=aws", "TROY_AWS_REGION=us-east-1", "TROY_AWS_ENDPOINT=" + a.URL(), "TROY_AWS_S3_ENDPOINT=" + a.URL(),
		"TROY_AWS_SITES_BUCKET=" + sitesBucket, "TROY_AWS_WORK_BUCKET=" + workBucket, "TROY_AWS_ZONE=Z0123456789",
		"TROY_AWS_CERTIFICATE=arn:aws:acm:us-east-1:123456789012:certificate/1",
		"TROY_AWS_POINTER_STORE=arn:aws:cloudfront::123456789012:key-value-store/1", "TROY_SITES_SUFFIX=sites.test",
	}
}

// get requests a page as a reader.
func (a *amazon) get(t *testing.T, host, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.edge.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// left lists what exists of pipelines, without what they or their previews share.
func (a *amazon) left(t *testing.T) []string {
	t.Helper()
	left := append(a.s3.Keys(t, sitesBucket), a.s3.Keys(t, workBucket)...)
	for _, d := range a.sites() {
		left = append(left, "distribution "+d.ID)
	}
	left = append(left, a.Records()...)
	for id := range a.Pointers() {
		left = append(left, "pointer "+id)
	}
	return slices.DeleteFunc(left, func(one string) bool {
		return one == "manifests/pages" || one == "manifests/changed" || strings.HasPrefix(one, "A *.sites.test ") || strings.HasPrefix(one, "AAAA *.sites.test ") || strings.HasPrefix(one, "errors/") && strings.HasSuffix(one, "-previews/404.html")
	})
}

// sites returns the distributions of pipelines.
func (a *amazon) sites() []awsdouble.Distribution {
	return slices.DeleteFunc(a.Distributions(), func(d awsdouble.Distribution) bool { return d.Host == "*.sites.test" })
}

// previews shows a preview of the blog, promotes it and deletes it. Another one
// stays.
func (a *amazon) previews(t *testing.T, w *world) {
	t.Helper()
	const host = "spring--blog.sites.test"
	if out := w.must("troy", "release", w.folder(page("spring")), "--pipeline", "blog", "--preview=spring"); strings.TrimSpace(out) != "https://"+host {
		t.Errorf("troy release --preview printed %q", out)
	}
	for path, want := range map[string]string{"/": "<title>spring</title>", "/about": "about spring"} {
		if status, body := a.get(t, host, path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("the preview's %s: %d %.60q", path, status, body)
		}
	}
	if status, body := a.get(t, "blog.sites.test", "/"); status != 200 || !strings.Contains(body, "<title>one</title>") {
		t.Errorf("beside a preview the site answers %d %.60q", status, body)
	}
	w.must("troy", "release", w.folder(page("autumn")), "--pipeline", "blog", "--preview=autumn")
	w.must("troy", "access", "blog", "allow", "203.0.113.0/24")
	w.must("troy", "access", "blog", "protect", "previews", "--yes")
	w.eventually("the previews alone are protected", func() bool {
		preview, _ := a.get(t, host, "/")
		live, _ := a.get(t, "blog.sites.test", "/")
		return preview == 403 && live == 200
	})
	w.must("troy", "access", "blog", "off", "--yes")
	w.eventually("everyone may see the previews", func() bool {
		status, _ := a.get(t, host, "/")
		return status == 200
	})
	w.must("troy", "preview", "promote", "blog", "spring")
	w.must("troy", "preview", "delete", "blog", "spring", "--yes")
	w.eventually("the preview is gone", func() bool {
		status, _ := a.get(t, host, "/")
		return status == 404
	})
	if status, body := a.get(t, "autumn--blog.sites.test", "/"); status != 200 || !strings.Contains(body, "<title>autumn</title>") {
		t.Errorf("the other preview answers %d %.60q", status, body)
	}
}

// TestLifecycleOnAWS goes from an app event in the SQS queue to the end of the
// deletion.
func TestLifecycleOnAWS(t *testing.T) {
	t.Parallel()
	a := newAmazon(t, awsdouble.Config{})
	a.MakeQueue(awsdouble.QueueConfig{Name: "apps-dead"})
	queue := a.MakeQueue(awsdouble.QueueConfig{Name: "apps", DeadLetters: "apps-dead", MaxReceives: 1})
	health := freeAddress(t)
	w := newWorld(t, append(a.settings(), "TROY_AWS_APPS_QUEUE="+queue, "TROY_HEALTH_ADDR="+health)...)
	web := w.start("web")
	w.start("work")
	const host = "blog.sites.test"

	a.Send("apps", "this is not an event")
	a.Send("apps", `{"id":"evt-1","type":"Created","time":"2026-01-02T15:04:05Z","app":{"id":"app-1","name":"Blog"}}`)
	var id string
	w.eventually("the app's pipeline exists", func() bool {
		p, err := w.api.Pipeline(t.Context(), "blog")
		id = p.ID.String()
		return err == nil
	})
	w.waitFor(id, troy.ReadyForDeployment)
	counted := func(call string) bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+health+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("e2e", w.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), `troy_outside_calls_total{call="`+call+`",outcome="ok"}`)
	}
	for _, call := range []string{"queue.receive", "queue.done", "cdn.create"} {
		w.eventually(call+" is counted", func() bool { return counted(call) })
	}
	if n := len(a.sites()); n != 1 || len(a.left(t)) != 3 {
		t.Errorf("%d distributions; there are %q", n, a.left(t))
	}
	if status, _ := a.get(t, host, "/"); status != 404 {
		t.Errorf("with nothing live a reader gets %d", status)
	}
	out := w.must("troy", "release", w.folder(page("one")), "--pipeline", "blog")
	if strings.TrimSpace(out) != "https://"+host {
		t.Errorf("troy release printed %q", out)
	}
	if log := web.log.tail(2000); strings.Contains(log, "/files/") {
		t.Errorf("files were sent through web:\n%s", log)
	}
	for path, want := range map[string]string{"/": "<title>one</title>", "/about": "about one", "/about/": "about one", "/style.css": "/* one */"} {
		if status, body := a.get(t, host, path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.60q", path, status, body)
		}
	}
	for _, path := range []string{"/no/such/page", "/../x", "/%2e%2e/x", "/a.txt"} {
		if status, body := a.get(t, host, path); status != 404 || strings.Contains(path, "such") && body != "nothing here in one" {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	w.must("troy", "release", w.folder(page("two")), "--pipeline", "blog")
	if status, body := a.get(t, host, "/"); status != 200 || !strings.Contains(body, "<title>two</title>") {
		t.Errorf("after the second release: %d %.60q", status, body)
	}
	if _, body := a.get(t, host, "/gone"); body != "nothing here in two" {
		t.Errorf("the 404 page is %q", body)
	}
	if n := len(a.Invalidations()); n != 1 {
		t.Errorf("%d invalidations, want one: of the 404 page, when it changed", n)
	}
	w.must("troy", "rollback", "blog")
	if _, body := a.get(t, host, "/"); !strings.Contains(body, "<title>one</title>") {
		t.Errorf("after the rollback: %.60q", body)
	}
	a.previews(t, w)
	if _, body := a.get(t, host, "/"); !strings.Contains(body, "<title>spring</title>") {
		t.Errorf("after the promotion: %.60q", body)
	}
	a.Send("apps", `{"id":"evt-2","type":"Deleted","time":"2026-01-02T16:04:05Z","app":{"id":"app-1","name":"Blog"}}`)
	w.waitFor(id, troy.Deleted)
	if status, _ := a.get(t, "autumn--blog.sites.test", "/"); status != 404 {
		t.Errorf("a preview of the deleted pipeline answers %d", status)
	}
	if n, records := len(a.Distributions()), a.Records(); n != 1 || len(records) != 2 {
		t.Errorf("%d distributions and the records %q are left, expected what previews share", n, records)
	}
	if diff := cmp.Diff([]string{}, a.left(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	orphans, diag, code := w.run("troyd", "aws", "orphans")
	if code != 1 || !strings.Contains(orphans, "Nothing uses the distribution "+a.Distributions()[0].ID+" of *.sites.test for previews\n") {
		t.Errorf("troyd aws orphans: exit status %d\n%s%s", code, orphans, diag)
	}
	w.eventually("what previews share is removed", func() bool {
		out, _, status := w.run("troyd", "aws", "orphans", "--delete")
		return status == 0 && strings.Contains(out, "Everything in the account belongs to a pipeline")
	})
	if n, records, functions := len(a.Distributions()), a.Records(), a.Functions(); n+len(records)+len(functions) > 0 {
		t.Errorf("left are %d distributions, the records %q and the functions %q", n, records, slices.Collect(maps.Keys(functions)))
	}
	w.eventually("both queues have the expected messages", func() bool { return len(a.Queued("apps")) == 1 && len(a.Queued("apps-dead")) == 0 })
	twice := map[string]int{}
	for _, c := range a.Calls() {
		twice[c.String()]++
	}
	t.Logf("calls: %v", twice)
}
