package localcloud

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

func (s *store) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (int, error) {
	for i, f := range files {
		h := sha256.New()
		limited := &io.LimitedReader{R: io.TeeReader(&contextReader{ctx, r}, h), N: f.Size}
		err := s.put(ctx, t, f, limited)
		if err == nil {
			_, err = io.Copy(io.Discard, limited) // the bytes of a file that the store has
		}
		if got := site.Digest(h.Sum(nil)); err == nil && got != f.SHA256 {
			err = &cloud.DigestError{Declared: f.SHA256, Got: got, DeclaredSize: f.Size, GotSize: f.Size - limited.N}
		}
		if err != nil {
			return i, fmt.Errorf("put %q into tree %s of %s: %w", f.Path, t.Deployment, t.Pipeline, err)
		}
	}
	return len(files), nil
}
