package awscloud

import (
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/internal/awsapi"
	"github.com/troy-iaas/troy/site"
)

// PutAll implements cloud.Store. It writes files to S3 while it reads the next
// ones; at most awsapi.Parallel of them wait in memory or on disk.
func (s *Store) PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (int, error) {
	own, err := s.addresses(ctx, t)
	if err != nil {
		return 0, err
	}
	var (
		mu      sync.Mutex
		stored  = len(files) // the files before the first that failed
		problem error
	)
	fail := func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		if i < stored {
			stored, problem = i, fmt.Errorf("put %q: %w", files[i].Path, err)
		}
	}
	group, writing := errgroup.WithContext(ctx)
	group.SetLimit(awsapi.Parallel)
	for i, f := range files {
		// A failed write ends the reading, but not the writes of the files
		// before it, which may still succeed.
		if writing.Err() != nil {
			fail(i, writing.Err())
			break
		}
		content, err := receive(s.temp, f, io.LimitReader(r, f.Size))
		if err != nil {
			fail(i, err)
			break
		}
		group.Go(func() error {
			err := s.send(ctx, t, f, own, content)
			if err != nil {
				fail(i, err)
			}
			return err
		})
	}
	_ = group.Wait() // fail keeps the first file's error, not the first error
	return stored, problem
}
