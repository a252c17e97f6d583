package localcloud

import (
	"context"
	"crypto/sha256"
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

// read reads a file by its digest, and verifies it.
func (s *store) read(ctx context.Context, t site.Tree, f site.File) ([]byte, error) {
	if err := errors.Join(ctx.Err(), cloud.CheckRead(f)); err != nil {
		return nil, err
	}
	if declared, err := s.declared(t); err != nil || !declared {
		return nil, errors.Join(err, cloud.ErrNotFound)
	}
	// A Seal moves files from the first folder to the second.
	unsynced, packs := s.layout.Unsynced(t.Pipeline), s.layout.Packs(t.Pipeline)
	for _, read := range []func() ([]byte, error){
		func() ([]byte, error) { return s.packs.Read(unsynced, f.SHA256, f.Size) },
		func() ([]byte, error) { return s.packs.Read(packs, f.SHA256, f.Size) },
		func() ([]byte, error) { return readBlob(s.unsynced(t.Pipeline, f.SHA256.String()), f) },
		func() ([]byte, error) { return readBlob(s.layout.Blob(t.Pipeline, f.SHA256), f) },
	} {
		data, err := read()
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return nil, cloud.ErrNotFound
}

func readBlob(name string, f site.File) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, f.Size+1))
	if err == nil && (int64(len(data)) != f.Size || sha256.Sum256(data) != f.SHA256) {
		err = fmt.Errorf("%s is damaged", name)
	}
	return data, err
}

func (s *store) Manifest(ctx context.Context, t site.Tree) (site.Manifest, error) {
	err := ctx.Err()
	var m site.Manifest
	if err == nil {
		m, err = s.manifest(t)
	}
	if err != nil {
		return site.Manifest{}, fmt.Errorf("manifest of tree %s of %s: %w", t.Deployment, t.Pipeline, err)
	}
	return m, nil
}
