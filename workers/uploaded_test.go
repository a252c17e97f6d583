package workers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/intake"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
	"github.com/troy-iaas/troy/tasks"
)

// packed is a source with one file, as the CLI packs it.
func packed(t *testing.T, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(z)
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "source/index.html", Size: int64(len(content)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	_, err = archive.Write([]byte(content))
	for _, err := range []error{err, archive.Close(), z.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// uploads stores the parts of a source as a release.
func (r *rig) uploads(pipeline uuid.UUID, data []byte, parts int) uuid.UUID {
	r.t.Helper()
	id := uuid.Must(uuid.NewV7())
	if _, err := r.q.ReleaseCreate(r.t.Context(), queries.ReleaseCreateParams{ID: id, PipelineID: pipeline, ManifestDigest: "x", Files: int64(parts), Message: "try it", Actor: "ada", ValidSeconds: 3600}); err != nil {
		r.t.Fatal(err)
	}
	files := map[string]string{}
	for i := range parts {
		files[fmt.Sprintf("source-%05d.part", i)] = string(data[i*len(data)/parts : (i+1)*len(data)/parts])
	}
	upload(r.t, r.cloud.Store, site.Tree{Pipeline: pipeline, Deployment: id}, files)
	return id
}

// unpacks opens a build's source as a builder does.
func (r *rig) unpacks(deployment uuid.UUID) (content string, err error) {
	r.t.Helper()
	dir := r.t.TempDir()
	archive, err := r.builder.specOf(deployment).Source(r.t.Context(), dir)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	repo := filepath.Join(dir, "repo")
	if err := os.Mkdir(repo, 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := build.Unpack(r.t.Context(), archive, repo, build.SourceLimits{}); err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(repo, "index.html"))
	return string(text), err
}

// TestUploadedSource builds an upload for a pipeline without a repository, and
// removes the upload after the build.
func TestUploadedSource(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	r.start()
	id := r.provisioned("blog")
	r.builder.hold(id)
	content := strings.Repeat("hello ", 1000)
	source := r.uploads(id, packed(t, content), 3)
	d, err := r.in.DeploySource(t.Context(), id, source, "ada")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.in.DeploySource(t.Context(), id, source, "eve"); err != nil || again.ID != d.ID {
		t.Errorf("the same upload again: %v, %v", again.ID, err)
	}
	if _, err := r.in.Finalize(t.Context(), intake.Finalization{Pipeline: id, Release: source, Publish: true, Actor: "ada"}); troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "is the source of deployment") {
		t.Errorf("finalizing it: %v", err)
	}
	<-r.builder.started
	if got, err := r.unpacks(d.ID); err != nil || got != content {
		t.Errorf("the build gets %d bytes, %v", len(got), err)
	}
	// Retention keeps it while it is built, also after its first expiry.
	if _, err := r.db.Exec(t.Context(), "UPDATE releases SET created_at = now() - interval '1 day' WHERE id = $1", source); err != nil {
		t.Fatal(err)
	}
	r.retained(id)
	if _, err := r.unpacks(d.ID); err != nil {
		t.Errorf("after retention: %v", err)
	}
	r.builder.release(id)
	r.waitFor(id, troy.Deployed)
	eventually(t, func() bool {
		r.hurry(tasks.TypeRetention, id)
		return r.count("SELECT count(*) FROM releases WHERE id = $1", source) == 0
	}, func() string { return "the upload stays after the build" })
	if trees := r.trees(id); len(trees) != 1 || trees[0] != d.ID {
		t.Errorf("the store has the trees %v, want %v", trees, d.ID)
	}
	if _, err := r.unpacks(d.ID); troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "upload it again") {
		t.Errorf("a source that is gone: %v", err)
	}
	if _, err := r.in.Retry(t.Context(), id, d.ID, "ada"); troy.KindOf(err) != troy.Conflict || !strings.Contains(err.Error(), "upload it again") {
		t.Errorf("a retry: %v", err)
	}
	if _, err := r.in.DeploySource(t.Context(), id, uuid.New(), "ada"); troy.KindOf(err) != troy.NotFound {
		t.Errorf("an unknown upload: %v", err)
	}
}

// TestUploadedSourceIsDamaged opens uploads that are not what they should be.
func TestUploadedSourceIsDamaged(t *testing.T) {
	t.Parallel()
	r := newRig(t).withBuilds()
	w := r.workers()
	id := r.pipeline("blog")
	good := packed(t, strings.Repeat("hello ", 100_000))
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0xff
	for name, c := range map[string]struct {
		data []byte
		kind troy.ErrorKind
	}{
		"cut":      {good[:len(good)-9], troy.Invalid},
		"flipped":  {flipped, troy.Invalid},
		"not zstd": {[]byte("hello"), troy.Invalid},
		"fine":     {packed(t, ""), ""},
	} {
		tree := site.Tree{Pipeline: id, Deployment: r.uploads(id, c.data, 1)}
		archive, err := w.openUpload(t.Context(), tree)
		if err == nil {
			_, err = io.Copy(io.Discard, archive)
		}
		if c.kind == "" && err != nil || c.kind != "" && troy.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.openUpload(t.Context(), site.Tree{Pipeline: id, Deployment: uuid.New()}); troy.KindOf(err) != troy.Conflict {
		t.Errorf("no upload: %v", err)
	}
}

// heldStore returns a part after it was released, or the error of its context.
type heldStore struct {
	cloud.Reader
	data              []byte
	started, released chan struct{}
}

func (s *heldStore) Read(ctx context.Context, _ site.Tree, _ site.File) ([]byte, error) {
	s.started <- struct{}{}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.released:
		return s.data, nil
	}
}

// TestUploadedSourceIsClosedWhileRead closes a source during the Read of a part,
// as a build that is stopped does, and again after its end.
func TestUploadedSourceIsClosedWhileRead(t *testing.T) {
	t.Parallel()
	s := &heldStore{data: packed(t, "hello"), started: make(chan struct{}, 1), released: make(chan struct{})}
	u, err := unzip(t.Context(), s, site.Tree{}, []site.File{{Path: "source-00000.part"}})
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, u); read <- err }()
	<-s.started
	closed := make(chan error, 1)
	go func() { closed <- u.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Close does not end the Read of a part")
	}
	close(s.released) // the part of a Read that was not ended
	if err := <-read; !errors.Is(err, context.Canceled) || troy.KindOf(err) == troy.Invalid {
		t.Errorf("the Read that Close ended: %v", err)
	}
	if err := u.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if _, err := u.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a Read after Close: %v", err)
	}
}
