package bench

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/client"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/internal/poll"
)

// binariesVariable names a folder with troy and troyd, to measure these in place
// of programs built from this source.
const binariesVariable = "TROY_BENCH_BINARIES"

var binaries struct {
	sync.Once
	dir   string
	built bool
	err   error
}

// program returns the path of troy or troyd, as users have them.
func program(b *testing.B, name string) string {
	b.Helper()
	binaries.Do(func() {
		if binaries.dir = os.Getenv(binariesVariable); binaries.dir != "" {
			return
		}
		if binaries.dir, binaries.err = os.MkdirTemp("", "troy-bench-"); binaries.err != nil {
			return
		}
		binaries.built = true
		cmd := exec.Command("go", "build", "-buildvcs=false", "-tags", "nomsgpack", "-o", binaries.dir+"/", "../cmd/troyd", "../cmd/troy")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			binaries.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if binaries.err != nil {
		b.Fatal(binaries.err)
	}
	return filepath.Join(binaries.dir, name)
}

// endBinaries removes the programs that were built.
func endBinaries() {
	if binaries.built {
		_ = os.RemoveAll(binaries.dir)
	}
}

// installation is a running `troyd dev`, as its users see it: with servers of
// its own, over HTTP and with the CLI.
type installation struct {
	b         *testing.B
	process   *exec.Cmd
	data      string
	address   string // of the API: host:port
	edge      string
	token     string
	api       *client.Client
	cliURL    string // the API's address for the CLI
	pipelines int
}

// install starts troyd dev; args follow the command.
func install(b *testing.B, settings []string, args ...string) *installation {
	b.Helper()
	in := &installation{b: b, data: b.TempDir(), address: freeAddress(b), edge: freeAddress(b)}
	in.cliURL = "http://" + in.address
	in.process = exec.Command(program(b, "troyd"), append([]string{"dev"}, args...)...)
	in.process.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir(), "TROY_DATA_DIR=" + in.data, "TROY_ADDR=" + in.address,
		"TROY_EDGE_ADDR=" + in.edge, "TROY_PROPAGATION_DELAY=300ms", "TROY_LOG_LEVEL=warn", "TROY_CHROMIUM=off"}, settings...)
	var log bytes.Buffer
	in.process.Stdout, in.process.Stderr = &log, &log
	if err := in.process.Start(); err != nil {
		b.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- in.process.Wait() }()
	b.Cleanup(func() {
		_ = in.process.Process.Signal(syscall.SIGTERM)
		if err := <-gone; err != nil || b.Failed() {
			b.Logf("troyd dev: %v\n%s", err, log.Bytes())
		}
	})
	if !poll.Until(b.Context(), time.Minute, 50*time.Millisecond, func() bool {
		token, err := os.ReadFile(filepath.Join(in.data, "admin-token"))
		in.token = strings.TrimSpace(string(token))
		return err == nil && in.token != "" && answers(b.Context(), in.cliURL+"/readyz")
	}) {
		b.Fatal("troyd dev did not become ready within a minute")
	}
	var err error
	if in.api, err = client.New(in.cliURL, in.token); err != nil {
		b.Fatal(err)
	}
	return in
}

func answers(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
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

// pipeline makes a pipeline that is ready for its first deployment, and returns
// its slug. The store has none of its files.
func (in *installation) pipeline() string {
	in.b.Helper()
	in.pipelines++
	slug := fmt.Sprintf("site-%d", in.pipelines)
	ctx := in.b.Context()
	if _, err := in.api.CreatePipeline(ctx, client.NewPipeline{Name: slug}); err != nil {
		in.b.Fatal(err)
	}
	if !poll.Until(ctx, time.Minute, 20*time.Millisecond, func() bool {
		p, err := in.api.Pipeline(ctx, slug)
		return err == nil && p.Status == troy.ReadyForDeployment
	}) {
		in.b.Fatalf("%s did not become ready within a minute", slug)
	}
	return slug
}

// release releases a folder with the CLI and waits until it is live. The cache
// is the CLI's, which remembers the digests of the folder's files.
func (in *installation) release(dir, slug, cache string) (took time.Duration, cli *os.ProcessState) {
	in.b.Helper()
	cmd := exec.CommandContext(in.b.Context(), program(in.b, "troy"), "release", dir, "--pipeline", slug)
	cmd.Env = []string{"HOME=" + cache, "XDG_CACHE_HOME=" + cache, "TROY_URL=" + in.cliURL, "TROY_TOKEN=" + in.token}
	return timed(in.b, cmd), cmd.ProcessState
}

// timed runs a command to its end.
func timed(b *testing.B, cmd *exec.Cmd) time.Duration {
	b.Helper()
	cmd.Dir = cmp.Or(cmd.Dir, b.TempDir())
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(begun)
	if err != nil {
		b.Fatalf("%v: %v\n%.2000s", cmd.Args, err, out)
	}
	return took
}

// object is an S3 server with buckets for Troy and for another tool.
type object struct {
	*s3test.Server
	endpoint string // of both sides: the server, or a proxy in front of it
	double   *awsdouble.Double
	other    string // the other tool's bucket
}

// newObject starts the server, and a double of the rest of AWS. Files go
// to the server without the double.
func newObject(b *testing.B, roundTrip time.Duration) *object {
	b.Helper()
	o := &object{Server: s3test.Start(b), other: "other"}
	for _, bucket := range []string{"sites", "work", o.other} {
		o.Bucket(b, bucket)
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		b.Fatal(err)
	}
	o.endpoint = o.URL
	if roundTrip > 0 {
		o.endpoint = "http://" + delayed(b, u.Host, roundTrip)
	}
	o.double = awsdouble.Start(awsdouble.Config{S3: u, S3Key: s3test.Key, S3Secret: s3test.Secret, Settle: 300 * time.Millisecond})
	b.Cleanup(o.double.Close)
	return o
}

// settings are those of a Troy on the server.
func (o *object) settings() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s3test.Key, "AWS_SECRET_ACCESS_KEY=" + s3test.Secret, "AWS_EC2_METADATA_DISABLED=true",
		"TROY_CLOUD=aws", "TROY_AWS_REGION=us-east-1", "TROY_AWS_ENDPOINT=" + o.double.URL(), "TROY_AWS_S3_ENDPOINT=" + o.endpoint,
		"TROY_AWS_SITES_BUCKET=sites", "TROY_AWS_WORK_BUCKET=work", "TROY_AWS_ZONE=Z0123456789",
		"TROY_AWS_CERTIFICATE=arn:aws:acm:us-east-1:123456789012:certificate/1",
		"TROY_AWS_POINTER_STORE=arn:aws:cloudfront::123456789012:key-value-store/1", "TROY_SITES_SUFFIX=sites.test",
	}
}

// rclone returns the copy of a folder to a new prefix.
func (o *object) rclone(b *testing.B, program, dir string) *exec.Cmd {
	cmd := exec.CommandContext(b.Context(), program, "copy", dir, "bench:"+o.other+"/"+uuid.NewString(), "--transfers", "64", "--checkers", "64", "--no-traverse", "--s3-no-check-bucket")
	// Its HTTP client takes no bundle of certificates.
	cmd.Env = append(os.Environ(), "AWS_CA_BUNDLE=", "RCLONE_CONFIG="+filepath.Join(b.TempDir(), "none"), "RCLONE_CONFIG_BENCH_TYPE=s3", "RCLONE_CONFIG_BENCH_PROVIDER=Other",
		"RCLONE_CONFIG_BENCH_ENDPOINT="+o.endpoint, "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID="+s3test.Key, "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY="+s3test.Secret, "RCLONE_CONFIG_BENCH_REGION=us-east-1")
	return cmd
}

// s5cmd returns the same copy with s5cmd.
func (o *object) s5cmd(b *testing.B, program, dir string) *exec.Cmd {
	cmd := exec.CommandContext(b.Context(), program, "--endpoint-url", o.endpoint, "--numworkers", "64", "--log", "error", "cp", dir+"/", "s3://"+o.other+"/"+uuid.NewString()+"/")
	cmd.Env = append(os.Environ(), "AWS_CA_BUNDLE=", "AWS_ACCESS_KEY_ID="+s3test.Key, "AWS_SECRET_ACCESS_KEY="+s3test.Secret, "AWS_REGION=us-east-1")
	return cmd
}
