package codebuild_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/troy-iaas/troy/builder/buildertest"
	"github.com/troy-iaas/troy/builder/codebuild"
	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/internal/awsdouble"
	"github.com/troy-iaas/troy/internal/devstack/s3test"
	"github.com/troy-iaas/troy/site"
)

// An artifact is what was found when the build ended: another process does not
// hash it again, and a store refuses files that have changed since.
func TestArtifactIsNotReadAgain(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	e, _, cfg := newBuilderWith(t, server, awsdouble.Config{}, codebuild.Config{Temp: t.TempDir()})
	spec := buildertest.Shell("mkdir out; printf 'as built' > out/index.html").Spec(t)
	plain := buildertest.Repository{"index.html": "as built"}.Spec(t)
	plain.Tree.Pipeline = spec.Tree.Pipeline
	e.Succeeds(t, plain)
	e.Succeeds(t, spec)
	loaded, err := awsapi.Load(t.Context(), cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Credentials = credentials.NewStaticCredentialsProvider(s3test.Key, s3test.Secret, "")
	work := awsapi.Bucket{Client: awsapi.NewS3(loaded, cfg.Config), Name: cfg.WorkBucket}
	replaced := 0
	err = work.List(t.Context(), "builds/", func(o awsapi.Object) error {
		if !strings.HasSuffix(o.Key, "/output.tar") {
			return nil
		}
		replaced++
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "output/repo/out/index.html", Mode: 0o644, Size: 8}); err != nil {
			return err
		}
		if _, err := w.Write([]byte("replaced")); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		return work.Put(t.Context(), o.Key, b.Bytes(), "application/x-tar", false)
	})
	if err != nil || replaced != 1 {
		t.Fatalf("%d outputs were replaced, %v", replaced, err)
	}
	other := codebuild.New(loaded, cfg)
	want := site.Digest(sha256.Sum256([]byte("as built")))
	for _, tree := range []site.Tree{spec.Tree, plain.Tree} {
		s, err := other.Artifact(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Files) != 1 || s.Files[0].SHA256 != want {
			t.Errorf("the artifact has %+v, want the digest %s", s.Files, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	// Removing the pipeline removes everything.
	if err := other.Remove(t.Context(), site.Tree{Pipeline: spec.Tree.Pipeline}); err != nil {
		t.Fatal(err)
	}
	err = work.List(t.Context(), "", func(o awsapi.Object) error { t.Errorf("%s still exists", o.Key); return nil })
	if err != nil {
		t.Error(err)
	}
}
