package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/awsdouble"
)

// TestTrafficOnAWS goes from readers' requests through CloudFront's access logs
// to the counts. A worker is killed in between.
func TestTrafficOnAWS(t *testing.T) {
	t.Parallel()
	a := newAmazon(t, awsdouble.Config{})
	const bucket = "e2e-logs"
	a.s3.Bucket(t, bucket)
	w := newWorld(t, append(a.settings(), "TROY_AWS_LOG_BUCKET="+bucket)...)
	w.start("web")
	work := w.start("work")
	w.must("troy", "pipeline", "create", "Blog")
	w.waitFor("blog", troy.ReadyForDeployment)
	w.must("troy", "release", w.folder(page("one")), "--pipeline", "blog")
	const host = "blog.sites.test"
	w.eventually("the site is live", func() bool { status, _ := a.get(t, host, "/"); return status == http.StatusOK })
	for range 4 {
		a.get(t, host, "/about")
	}
	a.get(t, host, "/lost?token=secret")
	work.kill()
	if n, err := a.WriteLogs(t.Context()); err != nil || n == 0 {
		t.Fatalf("%d log files, %v", n, err)
	}
	w.start("work")
	w.start("work")
	var got client.Traffic
	w.eventually("the requests are counted", func() bool {
		var err error
		got, err = w.api.Traffic(t.Context(), "blog", 2)
		return err == nil && got.Requests.Requests > 0 && len(a.s3.Keys(t, bucket)) == 0
	})
	if got.NotFound < 1 || got.Errors != 0 || got.Bytes == 0 {
		t.Errorf("the counts are %+v", got.Requests)
	}
	paths := map[string]int64{}
	for _, p := range got.Paths {
		paths[p.Path] = p.Requests
	}
	if paths["/about"] != 4 || paths["/"] < 1 {
		t.Errorf("the paths are %v", paths)
	}
	var missing []client.MissingRequests
	for _, m := range got.Missing {
		if m.Path == "/lost" {
			missing = append(missing, m)
		}
	}
	if diff := cmp.Diff([]client.MissingRequests{{Path: "/lost", Requests: 1}}, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if out := w.must("troy", "traffic", "blog"); !strings.Contains(out, "/about") || !strings.Contains(out, "/lost") || strings.Contains(out, "secret") {
		t.Errorf("troy traffic printed\n%s", out)
	}
	w.must("troy", "pipeline", "delete", "blog", "--yes", "--now")
	w.eventually("nothing is left", func() bool {
		return len(a.sites()) == 0 && len(a.DeliverySources()) == 0 && a.Deliveries() == 0
	})
}
