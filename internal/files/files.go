// Package files writes and removes small files atomically and durably, and
// locks them between processes. Packages that keep state in the data folder use
// it.
package files

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

// Root is the folder in which the processes of one machine keep their state.
type Root string

// Path returns the path of a file below the root.
func (r Root) Path(elements ...string) string {
	return filepath.Join(append([]string{string(r)}, elements...)...)
}

// Temp returns the folder in which files are written before they are renamed
// into place.
func (r Root) Temp() string { return r.Path("tmp") }

// Error returns an Unavailable error for a full disk, and any other error
// unchanged.
func Error(err error) error {
	if disk.IsFull(err) {
		return troy.Errorf(troy.Unavailable, "the store's disk is full")
	}
	return err
}

// Write writes data to file atomically and durably: after it returns, a crash
// of the machine does not lose the data. The temporary file is created in temp,
// which must be on the same file system.
func Write(temp, file string, data []byte) error {
	if err := Replace(temp, file, data); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(file))
}

// Replace is like Write, but leaves the name to the caller: until SyncFolder has
// returned, a crash of the machine may bring the previous file back.
func Replace(temp, file string, data []byte) error {
	f, err := os.CreateTemp(temp, "write-")
	if err != nil {
		return Error(err)
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
		return Error(errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// WriteJSON is like Write, for a value as JSON.
func WriteJSON(temp, file string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", file, err)
	}
	return Write(temp, file, data)
}

// Remove removes a file durably. A missing file is not an error.
func Remove(file string) error {
	err := os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(file))
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return Error(errors.Join(d.Sync(), d.Close()))
}

// RemoveStale removes the files in dir that were not written to since a time.
func RemoveStale(dir string, since time.Time) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || info.IsDir() || info.ModTime().After(since) {
			continue // removed meanwhile, or in use
		}
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Unnamed creates a file without a name, which disappears with its last user.
// It creates the folder if necessary; "" means the system's folder for
// temporary files.
func Unnamed(dir string) (*os.File, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	f, err := os.CreateTemp(dir, "troy-file-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
