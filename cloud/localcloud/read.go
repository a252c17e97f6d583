package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/troy-iaas/troy/cloud"
	"github.com/troy-iaas/troy/site"
)

func (s *store) Read(ctx context.Context, t site.Tree, f site.File) ([]byte, error) {
	data, err := s.read(ctx, t, f)
	if err != nil {
		return nil, fmt.Errorf("read %q of tree %s of %s: %w", f.Path, t.Deployment, t.Pipeline, err)
	}
	return data, nil
}

// read reads a file by its digest. It trusts the bytes, because they were
// verified before the file got its name.
func (s *store) read(ctx context.Context, t site.Tree, f site.File) ([]byte, error) {
	if err := errors.Join(ctx.Err(), cloud.CheckRead(f)); err != nil {
		return nil, err
	}
	if declared, err := s.declared(t); err != nil || !declared {
		return nil, errors.Join(err, cloud.ErrNotFound)
	}
	file, err := os.Open(s.layout.Blob(t.Pipeline, f.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cloud.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, f.Size))
}
