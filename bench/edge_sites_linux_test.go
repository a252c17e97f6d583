package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/site"
)

// idleSites is the number of sites of one edge.
const idleSites = 10_000

// BenchmarkManySites requests a page of each of many sites for the first time,
// and measures the memory that a site takes afterwards: the objects in the heap
// without the part that grows with the manifest (each file's path and 44
// bytes), and the resident memory, with all garbage and with little. Two more
// requests keep a response.
func BenchmarkManySites(b *testing.B) {
	layout := site.Layout{Root: filepath.Join(b.TempDir(), "cloud")}
	host := func(i int) string { return fmt.Sprintf("site-%d.localhost", i) }
	manifest := 0
	for i := range idleSites {
		files := map[string][]byte{"index.html": fmt.Appendf(nil, "home %d", i), "about.html": []byte("about")}
		writeSite(b, layout, host(i), files)
		for path := range files {
			manifest += len(path) + 44
		}
	}
	writeSite(b, layout, "warm.localhost", map[string][]byte{"index.html": nil})
	if err := generation.Bump(layout.Generation()); err != nil {
		b.Fatal(err)
	}
	p, heapAddress := newTroy(b, layout), freeAddress(b)
	p.environment = append(p.environment, edgeHeapVariable+"="+heapAddress)
	p.start(b)
	p.host = "warm.localhost"
	p.get(b, "/")
	heap := func() int64 { return heapOf(b, heapAddress) }
	before, residentBefore := heap(), p.memory(b)
	var times []time.Duration
	for i := range idleSites {
		p.host = host(i)
		start := time.Now()
		p.get(b, "/about")
		times = append(times, time.Since(start))
	}
	resident := p.memory(b)
	idle := heap()
	small := p.memory(b)
	for i := range idleSites {
		p.host = host(i)
		p.get(b, "/about")
		p.get(b, "/about")
	}
	kept := heap()
	slices.Sort(times)
	b.ReportMetric(quantile(times, 0.5), "first-p50-ms")
	b.ReportMetric(quantile(times, 0.99), "first-p99-ms")
	b.ReportMetric(float64(idle-before-int64(manifest))/idleSites, "heap-B/site")
	b.ReportMetric(float64(manifest)/idleSites, "manifest-B/site")
	b.ReportMetric(float64(kept-idle)/idleSites, "kept-response-B/site")
	b.ReportMetric(float64(resident-residentBefore)/idleSites, "resident-B/site")
	b.ReportMetric(float64(small-residentBefore)/idleSites, "resident-collected-B/site")
	b.ReportMetric(load(b), "load")
	b.ReportMetric(0, "ns/op")
}

// serveHeap answers each request to an address with the bytes of the objects in
// the heap, after a collection.
func serveHeap(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_, _ = io.WriteString(w, strconv.FormatUint(m.HeapAlloc, 10))
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func heapOf(b *testing.B, address string) int64 {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+address, nil)
	if err != nil {
		b.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// memory returns the resident memory of the server in bytes.
func (p *peer) memory(b *testing.B) int64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
