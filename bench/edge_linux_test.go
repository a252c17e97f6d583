package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"

	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/internal/generation"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
)

const (
	// edgeRootVariable makes the test binary an edge of this folder, so that its
	// CPU time can be told from that of the benchmark.
	edgeRootVariable, edgeAddressVariable = "TROY_BENCH_EDGE_ROOT", "TROY_BENCH_EDGE_ADDRESS"
	edgeHost                              = "bench.localhost"
	coldFiles                             = 50_000
	idleSites                             = 10_000
	// edgePasses is how often each measurement is made; the median counts.
	edgePasses = 3
)

// TestServeEdge is the process of the benchmarks' edge.
func TestServeEdge(t *testing.T) {
	root := os.Getenv(edgeRootVariable)
	if root == "" {
		t.Skip("only the benchmarks of the edge need it")
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	s, err := edge.New(edge.Config{Root: root, Traffic: os.Getenv("TROY_BENCH_EDGE_TRAFFIC") != ""})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", os.Getenv(edgeAddressVariable))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(ctx, l, time.Second); err != nil {
		t.Fatal(err)
	}
}

// writeSite writes a site to a data folder, without syncing it.
func writeSite(b *testing.B, layout site.Layout, host string, files map[string][]byte) {
	b.Helper()
	write := func(path string, data []byte) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	tree := site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}
	var m site.Manifest
	for path, data := range files {
		f := site.File{Path: path, SHA256: sha256.Sum256(data), Size: int64(len(data))}
		write(layout.Blob(tree.Pipeline, f.SHA256), data)
		m.Files = append(m.Files, f)
	}
	data, err := site.EncodeManifest(m)
	if err != nil {
		b.Fatal(err)
	}
	id := "d" + strings.ReplaceAll(tree.Pipeline.String(), "-", "")[:20]
	write(layout.Tree(tree), data)
	write(layout.Pointer(id), encode(site.Pointer{Sequence: 1, Pipeline: tree.Pipeline, Deployment: tree.Deployment}))
	write(layout.Distribution(id), encode(site.DistributionFile{ID: id, Domain: site.DistributionDomain(id), Host: host, Enabled: true}))
	write(layout.Record(host), encode(site.Record{Host: host, Target: site.DistributionDomain(id)}))
}

// peer is a server that is measured.
type peer struct {
	name, address string
	host          string // the Host header, if it matters
	cmd           *exec.Cmd
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// start runs a server until the benchmark ends, and waits until it accepts.
func (p *peer) start(b *testing.B, environment []string, name string, args ...string) {
	b.Helper()
	p.cmd = exec.CommandContext(context.Background(), name, args...)
	p.cmd.Env = append(os.Environ(), environment...)
	var out bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = &out, &out
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Wait()
	})
	if !poll.Until(b.Context(), 30*time.Second, 20*time.Millisecond, func() bool {
		c, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}) {
		b.Fatalf("%s does not accept connections\n%s", p.name, &out)
	}
}

// cpu returns the CPU time of the server and its children.
func (p *peer) cpu(b *testing.B) time.Duration {
	b.Helper()
	pids := []string{strconv.Itoa(p.cmd.Process.Pid)}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", pids[0], pids[0]))
	if err == nil {
		pids = append(pids, strings.Fields(string(children))...)
	}
	var ticks int64
	for _, pid := range pids {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		for _, i := range []int{11, 12} {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkP99      = regexp.MustCompile(`(?m)^\s+99%\s+(\S+)`)
	wrkFailed   = regexp.MustCompile(`Non-2xx[^\n]*`)
)

// measure returns the requests per CPU-second and the 99th percentile of the
// time to a response.
func (p *peer) measure(b *testing.B, target, script string, headers ...string) (rate float64, p99 time.Duration) {
	b.Helper()
	args := []string{"-t1", "-c64", "-d3s", "--latency"}
	if p.host != "" {
		headers = append(headers, "Host: "+p.host)
	}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	if script != "" {
		args = append(args, "-s", script)
	}
	before := p.cpu(b)
	out, err := exec.CommandContext(b.Context(), "wrk", append(args, "http://"+p.address+target)...).Output()
	if err != nil {
		b.Fatalf("wrk: %v", err)
	}
	spent := p.cpu(b) - before
	if failed := wrkFailed.Find(out); failed != nil && (len(headers) == 0 || !strings.HasPrefix(headers[0], "If-None-Match")) {
		b.Errorf("%s, GET %s: %s", p.name, target, failed)
	}
	n, err := strconv.ParseFloat(string(wrkRequests.FindSubmatch(out)[1]), 64)
	if err != nil || n == 0 || spent == 0 {
		b.Errorf("%s answered nothing: %v, %s of CPU time\n%s", p.name, err, spent, out)
		return 0, 0
	}
	p99, err = time.ParseDuration(string(wrkP99.FindSubmatch(out)[1]))
	if err != nil {
		b.Fatal(err)
	}
	return n / spent.Seconds(), p99
}

// BenchmarkEdge compares the edge with nginx and Caddy: requests per CPU-second
// of the server, over 64 persistent connections from wrk.
func BenchmarkEdge(b *testing.B) {
	for _, program := range []string{"wrk", "nginx"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("%s is not installed", program)
		}
	}
	dir := b.TempDir()
	files := edgeFiles()
	folder := filepath.Join(dir, "html")
	for path, data := range files {
		name := filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil { //nolint:gosec // nginx may run as another user
			b.Fatal(err)
		}
	}
	layout := site.Layout{Root: filepath.Join(dir, "cloud")}
	writeSite(b, layout, edgeHost, files)
	if err := generation.Bump(layout.Generation()); err != nil {
		b.Fatal(err)
	}
	peers := startPeers(b, dir, folder, layout)
	script := filepath.Join(dir, "cold.lua")
	if err := os.WriteFile(script, fmt.Appendf(nil, "request = function() return wrk.format('GET', '/cold/' .. math.random(%d) .. '.html') end\n", coldFiles), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, work := range []struct{ name, target, script, header string }{
		{"1 KB", "/small.html", "", ""},
		{"26 KB", "/page.html", "", ""},
		{"26 KB gzip", "/page.html", "", "Accept-Encoding: gzip"},
		{"26 KB 304", "/page.html", "", "If-None-Match"},
		{"1 MB", "/large.bin", "", ""},
		{"100 MB", "/huge.bin", "", ""},
		{"50,000 files", "/", script, ""},
	} {
		b.Run(work.name, func(b *testing.B) {
			rates, slowest := make([][]float64, len(peers)), make([][]float64, len(peers))
			for range edgePasses {
				for i, p := range peers {
					header := work.header
					if header == "If-None-Match" {
						header += ": " + p.etag(b, work.target)
					}
					var headers []string
					if header != "" {
						headers = []string{header}
					}
					rate, p99 := p.measure(b, work.target, work.script, headers...)
					rates[i], slowest[i] = append(rates[i], rate), append(slowest[i], p99.Seconds()*1000)
				}
			}
			for i, p := range peers {
				b.ReportMetric(median(rates[i]), p.name+"-req/cpu-s")
				b.ReportMetric(median(slowest[i]), p.name+"-p99-ms")
				if i > 0 && median(rates[i]) > 0 {
					b.ReportMetric(median(rates[0])/median(rates[i]), "x-"+p.name)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// edgeFiles is the site. Its page compresses to about a quarter.
func edgeFiles() map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // test data
	text := func(size int) []byte {
		var out bytes.Buffer
		for out.Len() < size {
			fmt.Fprintf(&out, "<p>paragraph %d of a page with %x</p>\n", out.Len(), random.Uint32())
		}
		return out.Bytes()[:size]
	}
	noise := func(size int) []byte {
		data := make([]byte, size)
		for i := 0; i+8 <= size; i += 8 {
			v := random.Uint64()
			for j := range 8 {
				data[i+j] = byte(v >> (8 * j))
			}
		}
		return data
	}
	files := map[string][]byte{"small.html": text(1000), "page.html": text(26_000), "large.bin": noise(1 << 20), "huge.bin": noise(100 << 20)}
	for i := range coldFiles {
		files[fmt.Sprintf("cold/%d.html", i+1)] = text(4000)
	}
	return files
}

func startPeers(b *testing.B, dir, folder string, layout site.Layout) []*peer {
	b.Helper()
	troy := &peer{name: "troy", address: freeAddress(b), host: edgeHost}
	troy.start(b, []string{edgeRootVariable + "=" + layout.Root, edgeAddressVariable + "=" + troy.address}, os.Args[0], "-test.run=^TestServeEdge$")
	peers := []*peer{troy}

	nginx := &peer{name: "nginx", address: freeAddress(b)}
	page, err := os.ReadFile(filepath.Join(folder, "page.html"))
	if err != nil {
		b.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(page)
	if err = cmp.Or(err, z.Close(), os.WriteFile(filepath.Join(folder, "page.html.gz"), zipped.Bytes(), 0o644)); err != nil { //nolint:gosec // as above
		b.Fatal(err)
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`user root root; worker_processes 1; worker_rlimit_nofile 16000; daemon off; pid %[1]s/nginx.pid; error_log stderr;
events { worker_connections 4096; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; include /etc/nginx/mime.types; gzip_static on;
open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s;
client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
server { listen %[2]s; root %[3]s; } }
`, dir, nginx.address, folder)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	nginx.start(b, nil, "nginx", "-c", conf)
	peers = append(peers, nginx)

	if _, err := exec.LookPath("caddy"); err == nil {
		caddy := &peer{name: "caddy", address: freeAddress(b)}
		caddyfile := filepath.Join(dir, "Caddyfile")
		text := fmt.Sprintf("{\n admin off\n auto_https off\n}\nhttp://%s {\n root * %s\n file_server {\n  precompressed gzip\n }\n}\n", caddy.address, folder)
		if err := os.WriteFile(caddyfile, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		caddy.start(b, []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, "caddy", "run", "--config", caddyfile)
		peers = append(peers, caddy)
	}
	return peers
}

// etag returns the entity tag of a file.
func (p *peer) etag(b *testing.B, target string) string {
	b.Helper()
	return p.get(b, p.host, target).Header.Get("Etag")
}

func (p *peer) get(b *testing.B, host, target string) *http.Response {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+p.address+target, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Host = host
	r.Header.Set("Accept-Encoding", "identity")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		b.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		b.Fatalf("%s: GET %s: %s", host, target, res.Status)
	}
	return res
}

// BenchmarkManySites requests a page of each of many sites for the first time.
func BenchmarkManySites(b *testing.B) {
	layout := site.Layout{Root: filepath.Join(b.TempDir(), "cloud")}
	host := func(i int) string { return fmt.Sprintf("site-%d.localhost", i) }
	for i := range idleSites {
		writeSite(b, layout, host(i), map[string][]byte{"index.html": fmt.Appendf(nil, "home %d", i), "about.html": []byte("about")})
	}
	if err := generation.Bump(layout.Generation()); err != nil {
		b.Fatal(err)
	}
	p := &peer{name: "troy", address: freeAddress(b)}
	p.start(b, []string{edgeRootVariable + "=" + layout.Root, edgeAddressVariable + "=" + p.address}, os.Args[0], "-test.run=^TestServeEdge$")
	writeSite(b, layout, "warm.localhost", map[string][]byte{"index.html": nil})
	p.get(b, "warm.localhost", "/")
	before := p.memory(b)
	var times []time.Duration
	for i := range idleSites {
		start := time.Now()
		p.get(b, host(i), "/about")
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(quantile(times, 0.5), "first-p50-ms")
	b.ReportMetric(quantile(times, 0.99), "first-p99-ms")
	b.ReportMetric(float64(p.memory(b)-before)/idleSites, "bytes/site")
	b.ReportMetric(0, "ns/op")
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
