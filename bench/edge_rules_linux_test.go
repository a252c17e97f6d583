package bench

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

// BenchmarkEdgeRules sends requests over connections, in turn to a site with
// rules and to the same site without, and reports the ratio of the CPU times of
// a request ("x-without"). The response to a page with a query is not kept, so
// the rules decide about each request.
func BenchmarkEdgeRules(b *testing.B) {
	needPrograms(b, "wrk")
	layout := site.Layout{Root: filepath.Join(b.TempDir(), "cloud")}
	page := edgePage()
	writeSite(b, layout, "plain.localhost", map[string][]byte{"index.html": page, "page.html": page})
	counts := []struct{ static, dynamic int }{{100, 0}, {10_000, 0}, {100_000, 0}, {100_000, 1_000}}
	host := func(static, dynamic int) string { return fmt.Sprintf("rules-%d-%d.localhost", static, dynamic) }
	for _, n := range counts {
		var text strings.Builder
		for i := range n.static {
			fmt.Fprintf(&text, "/old/%d /page 301!\n", i)
		}
		for i := range n.dynamic {
			fmt.Fprintf(&text, "/section/:year/%d/* /new/:year/:splat 301!\n", i)
		}
		writeSite(b, layout, host(n.static, n.dynamic), map[string][]byte{"index.html": page, "page.html": page, "_redirects": []byte(text.String())})
	}
	if err := generation.Bump(layout.Generation()); err != nil {
		b.Fatal(err)
	}
	p := newTroy(b, layout)
	p.start(b)
	for _, n := range counts {
		// A redirect is compared with one that the file list decides.
		for _, c := range []struct{ name, target, without string }{
			{"page", "/page", "/page"},
			{"page with a query", "/page?a=b", "/page?a=b"},
			{"redirect", fmt.Sprintf("/old/%d", n.static-1), "/page/"},
			{"pattern", fmt.Sprintf("/section/2026/%d/a/b", n.dynamic-1), "/page/"},
		} {
			if c.name == "pattern" && n.dynamic == 0 {
				continue
			}
			b.Run(fmt.Sprintf("static=%d/dynamic=%d/%s", n.static, n.dynamic, c.name), func(b *testing.B) {
				var with, without []float64
				for range edgePasses {
					p.host = host(n.static, n.dynamic)
					p.get(b, c.target) // reads the rules
					with = append(with, p.measure(b, work{target: c.target}).requests)
					p.host = "plain.localhost"
					without = append(without, p.measure(b, work{target: c.without}).requests)
				}
				b.ReportMetric(median(with), "with-req/cpu-s")
				b.ReportMetric(median(without), "without-req/cpu-s")
				b.ReportMetric(median(without)/median(with), "x-without")
				b.ReportMetric(load(b), "load")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
