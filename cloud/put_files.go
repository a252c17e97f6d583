package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/troy-iaas/troy/site"
)

const (
	// smallFile is the size in bytes of the largest file that PutFiles sends with
	// others.
	smallFile = 64 << 10
	// maxBatch and maxBatchFiles bound such a PutAll, in bytes and files.
	maxBatch      = 16 << 20
	maxBatchFiles = 4096
	// parallelBatches and parallelPuts are how many calls run at a time.
	parallelBatches = 2
	parallelPuts    = 64
)

// PutFiles stores declared files of one source: small ones together with PutAll,
// large ones with Put, and several at a time.
func PutFiles(ctx context.Context, s Store, t site.Tree, files []site.File, open func(path string) (io.ReadCloser, error)) error {
	var small, large []site.File
	for _, f := range files {
		if f.Size <= smallFile {
			small = append(small, f)
		} else {
			large = append(large, f)
		}
	}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(parallelPuts)
		for _, f := range large {
			group.Go(func() (err error) {
				r, err := open(f.Path)
				if err != nil {
					return fmt.Errorf("open %s: %w", f.Path, err)
				}
				defer func() { err = errors.Join(err, r.Close()) }()
				return s.Put(ctx, t, f, r)
			})
		}
		return group.Wait()
	})
	both.Go(func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(parallelBatches)
		for len(small) > 0 {
			n, bytes := 0, int64(0)
			for n < min(len(small), maxBatchFiles) && bytes < maxBatch {
				bytes += small[n].Size
				n++
			}
			batch := small[:n]
			small = small[n:]
			group.Go(func() (err error) {
				r := &batchReader{files: batch, open: open}
				defer func() { err = errors.Join(err, r.close()) }()
				_, err = s.PutAll(ctx, t, batch, r)
				return err
			})
		}
		return group.Wait()
	})
	return both.Wait()
}

// batchReader reads files one after another. A file that has become longer or
// shorter is found by its digest.
type batchReader struct {
	files []site.File // still to open
	open  func(path string) (io.ReadCloser, error)
	file  io.ReadCloser
	left  int64 // of file
}

func (b *batchReader) Read(p []byte) (int, error) {
	for b.left == 0 {
		if err := b.close(); err != nil {
			return 0, err
		}
		if len(b.files) == 0 {
			return 0, io.EOF
		}
		f := b.files[0]
		b.files = b.files[1:]
		if f.Size == 0 {
			continue
		}
		file, err := b.open(f.Path)
		if err != nil {
			return 0, fmt.Errorf("open %s: %w", f.Path, err)
		}
		b.file, b.left = file, f.Size
	}
	n, err := b.file.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if errors.Is(err, io.EOF) && b.left == 0 {
		err = nil
	}
	return n, err
}

func (b *batchReader) close() error {
	if b.file == nil {
		return nil
	}
	file := b.file
	b.file = nil
	return file.Close()
}
