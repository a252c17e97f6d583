package bench

import (
	"archive/zip"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/cloud/awscloud"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/workers"
)

// artifact writes a site of n files of 1 to 16 KiB, as a zip and, if dir is not
// empty, as a folder. The version sets the content of the changed files.
func artifact(b *testing.B, n, changed int, version string, dir string) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "site.zip")
	file, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	z := zip.NewWriter(file)
	random := rand.NewChaCha8([32]byte{1})
	for i := range n {
		path := fmt.Sprintf("section-%d/asset-%05d.js", i%100, i)
		if i == 0 {
			path = "index.html"
		}
		content := make([]byte, 1024+i*37%15360)
		_, _ = random.Read(content)
		if i < changed {
			copy(content, version)
		}
		w, err := z.Create(path)
		if err == nil {
			_, err = w.Write(content)
		}
		if err == nil && dir != "" {
			at := filepath.Join(dir, path)
			if err = os.MkdirAll(filepath.Dir(at), 0o755); err == nil {
				err = os.WriteFile(at, content, 0o644)
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	return name
}

// s3Cloud is awscloud on the server, or on a double in front of it.
func s3Cloud(b *testing.B, server *s3test.Server, endpoint string) cloud.Cloud {
	b.Helper()
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:20]
	cfg := awscloud.Config{
		Config: awsapi.Config{Region: "us-east-1", Endpoint: endpoint, S3Endpoint: endpoint}, SitesBucket: server.Bucket(b, "sites-"+id), WorkBucket: server.Bucket(b, "work-"+id),
		Zone: "Z0123456789", CertificateARN: "arn:aws:acm:us-east-1:123456789012:certificate/1", KeyValueStoreARN: "arn:aws:cloudfront::123456789012:key-value-store/1",
		Lock: oneByOne(),
	}
	loaded, err := awsapi.Load(b.Context(), cfg.Config)
	if err != nil {
		b.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	return cloud.Cloud{Store: awscloud.NewStore(loaded, cfg, site.Limits{}), CDN: awscloud.NewCDN(loaded, cfg)}
}

// publish stores an artifact's files and seals the tree, as the workers do.
func publish(b *testing.B, c cloud.Cloud, tree site.Tree, artifact string) {
	b.Helper()
	source, err := site.OpenSource(b.Context(), artifact, site.DefaultLimits())
	if err != nil {
		b.Fatal(err)
	}
	defer source.Close()
	if _, err := workers.StoreFiles(b.Context(), c.Store, tree, source, site.SlashAuto, func(site.Manifest, []site.File) error { return nil }); err != nil {
		b.Fatal(err)
	}
	if err := c.Store.Seal(b.Context(), tree, nil, nil); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPublishToS3 publishes a zip of 10,000 files to a local S3 server;
// rclone copies the unzipped folder to the same server for comparison.
func BenchmarkPublishToS3(b *testing.B) {
	rclone, err := exec.LookPath("rclone")
	if err != nil {
		b.Skip("rclone is not installed; make deps-bench installs it")
	}
	server := s3test.Start(b)
	dir := b.TempDir()
	zip := artifact(b, 10_000, 0, "", dir)
	c := s3Cloud(b, server, server.URL)
	bucket := server.Bucket(b, "rclone-"+uuid.NewString()[:8])
	var ours, theirs []time.Duration
	for round := range 3 {
		begun := time.Now()
		publish(b, c, site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}, zip)
		ours = append(ours, time.Since(begun))
		cmd := exec.CommandContext(b.Context(), rclone, "copy", dir, fmt.Sprintf("bench:%s/%d", bucket, round), "--transfers", "64", "--checkers", "64", "--no-traverse", "--s3-no-check-bucket")
		// Its HTTP client takes no bundle of certificates.
		cmd.Env = append(os.Environ(), "AWS_CA_BUNDLE=", "RCLONE_CONFIG="+filepath.Join(b.TempDir(), "none"), "RCLONE_CONFIG_BENCH_TYPE=s3", "RCLONE_CONFIG_BENCH_PROVIDER=Other",
			"RCLONE_CONFIG_BENCH_ENDPOINT="+server.URL, "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID="+s3test.Key, "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY="+s3test.Secret, "RCLONE_CONFIG_BENCH_REGION=us-east-1")
		begun = time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("rclone: %v\n%s", err, out)
		}
		theirs = append(theirs, time.Since(begun))
	}
	b.Logf("10,000 files from a zip to S3: Troy %s (%v), rclone %s (%v), ratio %.2f", middle(ours), ours, middle(theirs), theirs, float64(middle(ours))/float64(middle(theirs)))
	b.ReportMetric(float64(middle(ours))/float64(middle(theirs)), "ratio")
}

// BenchmarkPublishMemory measures the heap while it publishes sites of several
// sizes.
func BenchmarkPublishMemory(b *testing.B) {
	server := s3test.Start(b)
	for _, n := range []int{1_000, 10_000, 50_000} {
		folder := b.TempDir() // as a build leaves it
		zip := artifact(b, n, 0, "", folder)
		for _, form := range []struct{ name, source string }{{"folder", folder}, {"zip", zip}} {
			c := s3Cloud(b, server, server.URL)
			runtime.GC()
			idle := heap()
			stop, most := make(chan struct{}), make(chan uint64)
			go func() {
				peak, tick := idle, time.NewTicker(10*time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						peak = max(peak, heap())
					case <-stop:
						most <- peak
						return
					}
				}
			}()
			begun := time.Now()
			publish(b, c, site.Tree{Pipeline: uuid.New(), Deployment: uuid.New()}, form.source)
			took := time.Since(begun)
			close(stop)
			b.Logf("%6d files from a %s: at most %.1f MiB of heap over idle, %s", n, form.name, float64(<-most-idle)/(1<<20), took.Round(time.Millisecond))
		}
	}
}

// oneByOne is a lock within one process.
func oneByOne() func(context.Context, string, func(context.Context) error) error {
	var mu sync.Mutex
	return func(ctx context.Context, _ string, f func(context.Context) error) error {
		mu.Lock()
		defer mu.Unlock()
		return f(ctx)
	}
}

func middle(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2].Round(time.Millisecond)
}

// heap returns the bytes of live and dead objects, including garbage.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// BenchmarkCallsPerDeploy counts the AWS calls of a deployment of 10,000 files,
// 100 of them changed.
func BenchmarkCallsPerDeploy(b *testing.B) {
	server := s3test.Start(b)
	at, err := url.Parse(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	double := awsdouble.Start(awsdouble.Config{S3: at, S3Key: s3test.Key, S3Secret: s3test.Secret})
	defer double.Close()
	c := s3Cloud(b, server, double.URL())
	pipeline := uuid.New()
	d, err := c.CDN.Create(b.Context(), "troy-"+pipeline.String(), "blog.sites.test")
	if err != nil {
		b.Fatal(err)
	}
	for sequence, version := range []string{"one", "two"} {
		before := len(double.Calls())
		tree := site.Tree{Pipeline: pipeline, Deployment: uuid.Must(uuid.NewV7())}
		publish(b, c, tree, artifact(b, 10_000, 100, version, ""))
		if err := c.CDN.Flip(b.Context(), d.ID, site.Pointer{Sequence: int64(sequence + 1), Pipeline: pipeline, Deployment: tree.Deployment}); err != nil {
			b.Fatal(err)
		}
		counts := map[string]int{}
		for _, call := range double.Calls()[before:] {
			counts[call.String()]++
		}
		what := "the first deploy"
		if sequence > 0 {
			what = "a deploy with 100 of 10,000 files changed"
		}
		b.Logf("%s: %d uploads, %d copies, %d lists, %d reads, %d flips, %d invalidations; all: %v", what,
			counts["s3.PutObject"], counts["s3.CopyObject"], counts["s3.ListObjects"], counts["s3.GetObject"]+counts["s3.HeadObject"],
			counts["cloudfront-keyvaluestore.UpdateKeys"], counts["cloudfront.CreateInvalidation"], counts)
	}
}
