package workers

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/queries"
	"github.com/troy-iaas/troy/site"
)

// countingStore counts what is sent to a store.
type countingStore struct {
	cloud.Store
	mu           sync.Mutex
	blobs, bytes int64
}

func (s *countingStore) Put(ctx context.Context, t site.Tree, f site.File, r io.Reader) error {
	s.mu.Lock()
	s.blobs++
	s.bytes += f.Size
	s.mu.Unlock()
	return s.Store.Put(ctx, t, f, r)
}

func (s *countingStore) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (int, error) {
	s.mu.Lock()
	for _, f := range files {
		s.blobs++
		s.bytes += f.Size
	}
	s.mu.Unlock()
	return s.Store.PutAll(ctx, t, files, r)
}

// since returns what was sent since the last call.
func (s *countingStore) since() (blobs, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	blobs, bytes = s.blobs, s.bytes
	s.blobs, s.bytes = 0, 0
	return blobs, bytes
}

// TestPreviewUploadsOnlyChanges previews a pull request and uploaded files that
// change 100 of the site's 10,000 files.
func TestPreviewUploadsOnlyChanges(t *testing.T) {
	t.Parallel()
	const files, changed = 10_000, 100
	r := newRig(t).withBuilds()
	s := &countingStore{Store: r.cloud.Store}
	r.cloud.Store = s
	r.withPreviews()
	r.forge.writers = []string{ada.ID}
	r.start()
	p := r.building("blog")
	content := func(version string) map[string]string {
		out := map[string]string{}
		for n := range files {
			out[fmt.Sprintf("file-%05d.txt", n)] = fmt.Sprintf("file %05d as at first", n)
			if n%(files/changed) == 0 && version != "" {
				out[fmt.Sprintf("file-%05d.txt", n)] = fmt.Sprintf("file %05d for %s", n, version)
			}
		}
		return out
	}
	makes := func(version string) {
		r.builder.mu.Lock()
		defer r.builder.mu.Unlock()
		r.builder.output = content(version)
	}
	sent := func(what string, wantBlobs, wantBytes int64) {
		t.Helper()
		if blobs, bytes := s.since(); blobs != wantBlobs || bytes != wantBytes {
			t.Errorf("%s: %d files with %d bytes were sent, want %d with %d", what, blobs, bytes, wantBlobs, wantBytes)
		}
	}
	const page = 36 // the bytes of index.html, which has the deployment's id
	whole, part := int64(len("file 00000 as at first")), int64(len("file 00000 for pull"))
	makes("")
	r.head("blog", commitID("main"))
	r.pushed("blog", "", commitID("main"))
	r.restsWith(p.ID, commitID("main"))
	sent("the site", files+1, files*whole+page)

	makes("pull")
	r.hears(pull("blog", 7, "one", ada))
	built := r.showsCommit(p.ID, "pr-7", "one")
	sent("the pull request", changed+1, changed*part+page)
	if built.Files != files+1 {
		t.Errorf("the preview has %v files, want %d", built.Files, files+1)
	}

	draft := r.draft(p.ID, "draft", content("free"))
	r.previewLabelled(p.ID, "draft", "shown", shows(draft))
	sent("the draft", changed, changed*part)

	// What the pull request sent is not sent again when its files are the site's.
	r.head("blog", commitID("merged"))
	r.pushed("blog", commitID("main"), commitID("merged"))
	r.restsWith(p.ID, commitID("merged"))
	sent("the site after the merge", 1, page)
	if d := r.previewLabelled(p.ID, "pr-7", "shown", func(queries.Preview) bool { return true }); d.Kind != troy.PullRequestPreview {
		t.Errorf("the preview is %+v", d)
	}
}
