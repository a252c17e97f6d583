package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/troy-iaas/troy/internal/poll"
)

// BenchmarkPages measures the pages of the Troy at TROY_PAGES_URL, as seen with
// the token TROY_PAGES_TOKEN, after `troyd dev seed`. For each page it prints
// the server's time, the first contentful paint, and what a new visitor loads
// without thumbnails. `make bench-pages` runs it.
func BenchmarkPages(b *testing.B) {
	address, token := os.Getenv("TROY_PAGES_URL"), os.Getenv("TROY_PAGES_TOKEN")
	if address == "" || token == "" {
		b.Skip("set TROY_PAGES_URL and TROY_PAGES_TOKEN to those of a running Troy")
	}
	v := newVisitor(b, strings.TrimRight(address, "/"), token)
	fmt.Printf("%-42s %8s %8s %8s %8s\n", "page", "p50 ms", "p99 ms", "FCP ms", "kB")
	for _, page := range pages {
		v.get(page) // warms it
		if v.status != http.StatusOK {
			fmt.Printf("%-42s answers %d\n", page, v.status)
			continue
		}
		weight := v.weight(page)
		times := make([]time.Duration, pageRequests)
		for i := range times {
			start := time.Now()
			v.get(page)
			times[i] = time.Since(start)
		}
		fmt.Printf("%-42s %8.1f %8.1f %8.0f %8.1f\n", page, quantile(times, 0.5), quantile(times, 0.99), v.paint(page), float64(weight)/1000)
	}
	b.ReportMetric(0, "ns/op")
}

// pageRequests is how often each page is requested.
const pageRequests = 500

// pages are those of the dashboard, with the pipelines that the seed makes.
var pages = []string{
	"/", "/?status=failed_to_deploy", "/?sort=name", "/?q=harbour", "/?q=seed-4",
	"/pipelines/seed-50000", "/pipelines/seed-50000/settings", "/pipelines/seed-50000/deployments/5",
	"/activity", "/activity?pipeline=seed-50000", "/queue", "/new", "/system", "/docs",
}

// visitor is a browser that is signed in.
type visitor struct {
	b       *testing.B
	address string
	cookie  string
	client  *http.Client
	tab     context.Context
	status  int // of the last answer
}

func newVisitor(b *testing.B, address, token string) *visitor {
	b.Helper()
	v := &visitor{b: b, address: address, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableCompression: true},
	}}
	resp, err := v.client.PostForm(v.address+"/login", url.Values{"token": {token}})
	if err != nil {
		b.Fatal(err)
	}
	_ = resp.Body.Close()
	if len(resp.Cookies()) == 0 {
		b.Fatalf("signing in: %s", resp.Status)
	}
	v.cookie = resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value
	program, err := exec.LookPath("chromium")
	if err != nil {
		b.Skip("Chromium is not installed: make deps")
	}
	browsers, end := chromedp.NewExecAllocator(b.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute), chromedp.UserDataDir(b.TempDir()))...)
	b.Cleanup(end)
	tab, shut := chromedp.NewContext(browsers)
	b.Cleanup(shut)
	if err := chromedp.Do(tab, chromedp.Navigate(v.address+"/login"), chromedp.SendKeys("#token", token), chromedp.Submit("#token")); err != nil {
		b.Fatal(err)
	}
	if !poll.Until(b.Context(), time.Minute, 50*time.Millisecond, func() bool {
		at, _ := chromedp.Run(tab, chromedp.Evaluate[string](`location.pathname`))
		return at == "/"
	}) {
		b.Fatal("the browser could not sign in")
	}
	v.tab = tab
	return v
}

// get requests a path as a browser does and returns the body as it is sent.
func (v *visitor) get(path string) []byte {
	v.b.Helper()
	req, err := http.NewRequestWithContext(v.b.Context(), http.MethodGet, v.address+path, nil)
	if err != nil {
		v.b.Fatal(err)
	}
	req.Header.Set("Cookie", v.cookie)
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := v.client.Do(req)
	if err != nil {
		v.b.Fatal(err)
	}
	defer resp.Body.Close()
	v.status = resp.StatusCode
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.b.Fatal(err)
	}
	return body
}

var resource = regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`)

// weight returns the bytes of a page and of what it loads, but no thumbnails.
func (v *visitor) weight(page string) int {
	v.b.Helper()
	total := len(v.get(page))
	document, err := chromedp.Run(v.tab, chromedp.Evaluate[string](`fetch(`+fmt.Sprintf("%q", page)+`).then(r => r.text())`, chromedp.EvalAwaitPromise))
	if err != nil {
		v.b.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range resource.FindAllStringSubmatch(document, -1) {
		if !seen[m[1]] {
			seen[m[1]] = true
			total += len(v.get(m[1]))
		}
	}
	return total
}

// paint returns the time of a page's first contentful paint in milliseconds, the
// median of five loads.
func (v *visitor) paint(page string) float64 {
	v.b.Helper()
	times := make([]time.Duration, 5)
	for i := range times {
		if err := chromedp.Do(v.tab, chromedp.Navigate(v.address+page)); err != nil {
			v.b.Fatal(err)
		}
		ms, err := chromedp.Run(v.tab, chromedp.Evaluate[float64](`new Promise(found => new PerformanceObserver(list => {
			for (const entry of list.getEntries()) if (entry.name === 'first-contentful-paint') found(entry.startTime)
		}).observe({type: 'paint', buffered: true}))`, chromedp.EvalAwaitPromise))
		if err != nil {
			v.b.Fatal(err)
		}
		times[i] = time.Duration(ms * float64(time.Millisecond))
	}
	return quantile(times, 0.5)
}
