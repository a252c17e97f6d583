package bench

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
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

	"github.com/troy-iaas/troy/edge"
	"github.com/troy-iaas/troy/internal/poll"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/site/rules"
)

const (
	// edgeRootVariable makes the test binary an edge of this folder, so that its
	// CPU time can be told from that of the benchmark.
	edgeRootVariable, edgeAddressVariable = "TROY_BENCH_EDGE_ROOT", "TROY_BENCH_EDGE_ADDRESS"
	// edgeHeapVariable is the address at which it says how large its heap is.
	edgeHeapVariable = "TROY_BENCH_EDGE_HEAP"
	edgeHost         = "bench.localhost"
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
	cfg := edge.Config{Root: root, Traffic: os.Getenv("TROY_BENCH_EDGE_TRAFFIC") != ""}
	encrypted := os.Getenv(edgeTLSVariable)
	if encrypted != "" {
		cfg.TLS = &edge.TLS{Directory: benchAuthority}
	}
	s, err := edge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if address := os.Getenv(edgeHeapVariable); address != "" {
		serveHeap(t, address)
	}
	l, err := net.Listen("tcp", os.Getenv(edgeAddressVariable))
	if err != nil {
		t.Fatal(err)
	}
	if encrypted != "" {
		secure, err := net.Listen("tcp", encrypted)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.ServeTLS(ctx, secure, l.Addr(), time.Second) }()
	}
	if err := s.Serve(ctx, l, time.Second); err != nil {
		t.Fatal(err)
	}
}

// writeSite writes a site to a data folder, without syncing it. A file
// _redirects has its rules.
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
	compiled, err := rules.Compile(rules.Input{Redirects: string(files["_redirects"])}).Rules.Encode()
	if err != nil {
		b.Fatal(err)
	}
	m.Rules = compiled
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
	environment   []string
	command       []string
	cmd           *exec.Cmd
	brotli        bool // whether it serves files with a form for brotli
}

// start runs the server until stop or the end of the benchmark, and waits until
// it accepts.
func (p *peer) start(b *testing.B) {
	b.Helper()
	cmd := exec.CommandContext(context.Background(), p.command[0], p.command[1:]...)
	cmd.Env = append(os.Environ(), p.environment...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	p.cmd = cmd
	b.Cleanup(p.stop)
	if !poll.Until(b.Context(), 30*time.Second, 20*time.Millisecond, func() bool {
		c, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}) {
		p.stop()
		b.Fatalf("%s does not accept connections\n%s", p.name, &out)
	}
}

func (p *peer) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	p.cmd = nil
}

// pids returns the processes of the server.
func (p *peer) pids() []string {
	pids := []string{strconv.Itoa(p.cmd.Process.Pid)}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", pids[0], pids[0]))
	if err == nil {
		pids = append(pids, strings.Fields(string(children))...)
	}
	return pids
}

// cpu returns the CPU time of the server and its children.
func (p *peer) cpu(b *testing.B) time.Duration {
	b.Helper()
	var ticks int64
	for _, pid := range p.pids() {
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

// work is what the servers have to do.
type work struct {
	name, target string
	header       string // of the requests, or ""
	script       string // the file of a script of wrk, or ""
	connections  int    // 0 means 64
	seconds      int    // 0 means 3
}

// rate is what was measured of one server.
type rate struct {
	requests float64 // per CPU-second of the server
	p99      time.Duration
}

// measure measures a server at some work.
func (p *peer) measure(b *testing.B, w work) rate {
	b.Helper()
	args := []string{
		"-t1", fmt.Sprintf("-c%d", cmp.Or(w.connections, 64)), fmt.Sprintf("-d%ds", cmp.Or(w.seconds, 3)),
		"--timeout", "60s", "--latency",
	}
	if p.host != "" {
		args = append(args, "-H", "Host: "+p.host)
	}
	if w.header != "" {
		args = append(args, "-H", w.header)
	}
	if w.script != "" {
		args = append(args, "-s", w.script)
	}
	before := p.cpu(b)
	out, err := exec.CommandContext(b.Context(), "wrk", append(args, "http://"+p.address+w.target)...).Output()
	if err != nil {
		b.Fatalf("wrk: %v", err)
	}
	spent := p.cpu(b) - before
	if failed := wrkFailed.Find(out); failed != nil {
		b.Errorf("%s, GET %s: %s", p.name, w.target, failed)
	}
	n, err := strconv.ParseFloat(string(wrkRequests.FindSubmatch(out)[1]), 64)
	if err != nil || n == 0 || spent == 0 {
		b.Errorf("%s answered nothing: %v, %s of CPU time\n%s", p.name, err, spent, out)
		return rate{}
	}
	p99, err := time.ParseDuration(string(wrkP99.FindSubmatch(out)[1]))
	if err != nil {
		b.Fatal(err)
	}
	return rate{n / spent.Seconds(), p99}
}

// report reports the medians of each server's rates, and the ratios of the first
// server's to the others.
func report(b *testing.B, peers []*peer, rates [][]rate) {
	b.Helper()
	var first float64
	for i, p := range peers {
		var requests, slowest []float64
		for _, r := range rates[i] {
			requests, slowest = append(requests, r.requests), append(slowest, r.p99.Seconds()*1000)
		}
		b.ReportMetric(median(requests), p.name+"-req/cpu-s")
		b.ReportMetric(median(slowest), p.name+"-p99-ms")
		if i == 0 {
			first = median(requests)
		} else if median(requests) > 0 {
			b.ReportMetric(first/median(requests), "x-"+p.name)
		}
	}
	b.ReportMetric(load(b), "load")
	b.ReportMetric(0, "ns/op")
}

// load returns how many processes were running or ready to run in the last
// minute.
func load(b *testing.B) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		b.Fatal(err)
	}
	value, err := strconv.ParseFloat(strings.Fields(string(data))[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return value
}

// needPrograms skips the benchmark if a program is not installed.
func needPrograms(b *testing.B, programs ...string) {
	b.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("%s is not installed", program)
		}
	}
}

// BenchmarkEdge compares the edge with nginx and Caddy: requests per CPU-second
// of the server, over persistent connections from wrk. The servers take turns.
func BenchmarkEdge(b *testing.B) {
	needPrograms(b, "wrk", "nginx")
	peers := newPeers(b, edgeFiles())
	for _, p := range peers {
		p.start(b)
	}
	for _, w := range []work{
		{name: "1 KB", target: "/small.html"},
		{name: "26 KB", target: "/page.html"},
		{name: "26 KB gzip", target: "/page.html", header: "Accept-Encoding: gzip"},
		{name: "26 KB brotli", target: "/page.html", header: "Accept-Encoding: br"},
		{name: "26 KB 304", target: "/page.html", header: "If-None-Match"},
		{name: "1 MB", target: "/large.bin"},
		// More would not get one file each while the machine is busy.
		{name: "100 MB", target: "/huge.bin", connections: 8, seconds: 10},
	} {
		b.Run(w.name, func(b *testing.B) {
			measured := peers
			if w.name == "26 KB brotli" {
				measured = withBrotli(b, peers, w.target)
			}
			rates := make([][]rate, len(measured))
			for range edgePasses {
				for i, p := range measured {
					w := w
					if w.header == "If-None-Match" {
						w.header += ": " + p.get(b, w.target).Header.Get("Etag")
					}
					rates[i] = append(rates[i], p.measure(b, w))
				}
			}
			report(b, measured, rates)
		})
	}
}

// withBrotli returns the servers that answer in brotli. The edge makes its form
// after the first request.
func withBrotli(b *testing.B, peers []*peer, target string) []*peer {
	b.Helper()
	var out []*peer
	for _, p := range peers {
		if !p.brotli {
			b.Logf("%s has no module for files in brotli", p.name)
			continue
		}
		if !poll.Until(b.Context(), time.Minute, 20*time.Millisecond, func() bool {
			return p.get(b, target, "Accept-Encoding", "br").Header.Get("Content-Encoding") == "br"
		}) {
			b.Fatalf("%s does not answer in brotli", p.name)
		}
		out = append(out, p)
	}
	return out
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// get requests a file. fields are alternating names and values of header fields.
func (p *peer) get(b *testing.B, target string, fields ...string) *http.Response {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+p.address+target, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Host = p.host
	r.Header.Set("Accept-Encoding", "identity")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		b.Fatal(err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		b.Fatalf("%s: GET %s: %s", p.host, target, res.Status)
	}
	return res
}
