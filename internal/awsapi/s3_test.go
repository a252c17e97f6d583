package awsapi_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
)

// A list in parts yields what a list yields, each object once, wherever the parts
// begin: at a key or between two, at the end of a page or within it.
func TestListParts(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	cfg := awsapi.Config{Region: "us-east-1", S3Endpoint: server.URL}
	loaded, err := awsapi.Load(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	bucket := awsapi.Bucket{Client: awsapi.NewS3(loaded, cfg), Name: server.Bucket(t, "parts")}
	const prefix = "tree/"
	keys := []string{"tred", "tree-other", "tree.html", "tref/a"}
	for _, name := range []string{"a.html", "a/b", "a-b", "a/b.html", "a/c/d", "A", "é", "~", " x", "a b", "日本/語", "z/z/z"} {
		keys = append(keys, prefix+name)
	}
	for i := range 2*awsapi.ListPage + 500 {
		keys = append(keys, fmt.Sprintf("%sm/%d/%d.html", prefix, i%7, i))
	}
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(16)
	for _, key := range keys {
		group.Go(func() error { return bucket.Put(ctx, key, []byte(key), "text/plain", false) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	for _, key := range keys[4:] {
		want[key] = int64(len(key))
	}
	all := slices.Sorted(maps.Keys(want))
	for name, at := range map[string][]string{
		"one part":                nil,
		"at the end of each page": {all[awsapi.ListPage-1], all[2*awsapi.ListPage-1]},
		"within pages":            {all[10], all[awsapi.ListPage], all[awsapi.ListPage+1], all[1700]},
		"a part for each of some": all[:20],
		"between keys":            {"tree/0", "tree/a/", "tree/a/b!", "tree/m/3", "tree/zz"},
		"outside":                 {"a", "tree", "tree/", "tree/\U0010FFFF", "z"},
		"the same twice":          {all[7], all[7], all[8]},
	} {
		got, n := map[string]int64{}, 0
		if err := bucket.ListParts(t.Context(), prefix, at, func(o awsapi.Object) error {
			got[o.Key] = o.Size
			n++
			return nil
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n != len(want) || !maps.Equal(got, want) {
			t.Errorf("%s: %d objects, %d keys; want each of %d once", name, n, len(got), len(want))
		}
	}
	stop := errors.New("enough")
	if err := bucket.ListParts(t.Context(), prefix, all[:3], func(awsapi.Object) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of each: %v", err)
	}
}
