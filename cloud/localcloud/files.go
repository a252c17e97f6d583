package localcloud

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/internal/disk"
)

// storeError gives a full disk its name; other errors pass.
func storeError(err error) error {
	if disk.IsFull(err) {
		return troy.Errorf(troy.Unavailable, "the store's disk is full")
	}
	return err
}

// writeFile makes file hold data, whole or not at all, and durably: when it
// returns, a crash of the machine does not undo it. The temporary file is
// made in temp, on the same file system.
func writeFile(temp, file string, data []byte) error {
	f, err := os.CreateTemp(temp, "write-")
	if err != nil {
		return storeError(err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return storeError(errors.Join(err, os.Remove(f.Name())))
	}
	return syncDir(filepath.Dir(file))
}

func writeJSON(temp, file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return writeFile(temp, file, data)
}

// removeFile removes a file durably; one that is not there is no error.
func removeFile(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return storeError(errors.Join(d.Sync(), d.Close()))
}

// removeStale removes the files in dir that nobody has written to since.
func removeStale(dir string, since time.Time) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || info.ModTime().After(since) {
			continue // gone meanwhile, or in use
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
