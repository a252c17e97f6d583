package toolchain

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/gofrs/flock"
	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/build"
	"github.com/troy-iaas/troy/internal/files"
	"github.com/troy-iaas/troy/internal/walk"
)

// record is the content of a tool's tool.json, which is written last.
type record struct {
	Tool
	Integrity string    `json:"integrity"`
	Digest    string    `json:"digest,omitempty"`
	Programs  []checked `json:"programs"`
	// Bin is the folder with the programs, relative to the tool's; "" is bin.
	Bin string `json:"bin,omitempty"`
	// Unsynced is the machine's boot since which the tool may be in memory only;
	// "" means that it is on the disk.
	Unsynced string `json:"unsynced,omitempty"`
}

// checked is a program as it was installed.
type checked struct {
	Path   string    `json:"path"` // relative to the tool's folder
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"`
	SHA256 string    `json:"sha256"`
}

func (s *Store) path(tool, version string) string { return filepath.Join(s.dir, tool, version) }

func (s *Store) recordFile(tool, version string) string {
	return filepath.Join(s.path(tool, version), "tool.json")
}

func (s *Store) lockFile(tool, version string) string {
	return filepath.Join(s.dir, "locks", tool+"-"+version)
}

// errDamaged is a tool whose files differ from what was installed, or may do so
// because the machine went down before they were on the disk.
var errDamaged = errors.New("its files have changed since it was installed")

// check reads a tool's record and makes sure that its programs are those that
// were installed. Unchanged sizes and times stand for an unchanged content. It
// returns fs.ErrNotExist if the tool is not in the store.
func (s *Store) check(tool, version string) (record, error) {
	var r record
	dir := s.path(tool, version)
	data, err := os.ReadFile(s.recordFile(tool, version))
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Lstat(dir); statErr == nil {
			return r, errDamaged
		}
	}
	if err != nil {
		return r, err
	}
	if json.Unmarshal(data, &r) != nil || len(r.Programs) == 0 || r.Unsynced != "" && r.Unsynced != s.boot {
		return r, errDamaged
	}
	for _, p := range r.Programs {
		now, err := inspect(dir, p.Path, false)
		if err != nil || now.Size != p.Size {
			return r, errDamaged
		}
		if now.Time.Equal(p.Time) {
			continue
		}
		if now, err = inspect(dir, p.Path, true); err != nil || now.SHA256 != p.SHA256 {
			return r, errDamaged
		}
	}
	return r, nil
}

// inspect describes a program, with its digest if wanted.
func inspect(dir, path string, digest bool) (checked, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return checked{}, err
	}
	defer root.Close()
	f, err := root.Open(path)
	if err != nil {
		return checked{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return checked{}, err
	}
	if !info.Mode().IsRegular() {
		return checked{}, fmt.Errorf("%s is not a file", path)
	}
	c := checked{Path: path, Size: info.Size(), Time: info.ModTime().UTC()}
	if digest {
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return c, err
		}
		c.SHA256 = hex.EncodeToString(h.Sum(nil))
	}
	return c, nil
}

// use keeps a tool from being removed until release is called, and returns its
// record. It returns fs.ErrNotExist if the tool is not in the store.
func (s *Store) use(ctx context.Context, tool, version string) (record, func(), error) {
	file := s.lockFile(tool, version)
	release, err := files.Lock(ctx, file, true)
	if err != nil {
		return record{}, nil, err
	}
	r, err := s.check(tool, version)
	if err != nil {
		release()
		return record{}, nil, err
	}
	now := s.now()
	if err := os.Chtimes(file, now, now); err != nil {
		s.log.Debug("a tool's use is not noted", "tool", tool, "version", version, "error", err)
	}
	return r, release, nil
}

// settle makes tools durable that are in use, and then records that they are.
func (s *Store) settle(tools []record) {
	syncErr := s.sync(s.dir)
	for _, r := range tools {
		err := syncErr
		if err != nil {
			// The system reports a failed write only once. Without its record the
			// tool is damaged, whatever a later sync reports.
			err = errors.Join(err, ignoreMissing(os.Remove(s.recordFile(r.Name, r.Version))))
		} else {
			err = s.settled(r.Name, r.Version)
		}
		if err != nil {
			s.log.Warn("a tool may not be on the disk", "tool", r.Name, "version", r.Version, "error", files.Error(err))
		}
	}
}

// settled completes the record of a tool that is on the disk, unless another
// process did so or removed it.
func (s *Store) settled(tool, version string) error {
	r, err := s.check(tool, version)
	if err != nil || r.Unsynced == "" {
		return err
	}
	for i, p := range r.Programs {
		if r.Programs[i], err = inspect(s.path(tool, version), p.Path, true); err != nil {
			return err
		}
	}
	r.Unsynced = ""
	return files.WriteJSON(filepath.Join(s.dir, "tmp"), s.recordFile(tool, version), r)
}

// versions returns the versions of a tool in the store.
func (s *Store) versions(tool string) (all []*semver.Version) {
	entries, err := os.ReadDir(filepath.Join(s.dir, tool))
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		v, err := semver.StrictNewVersion(entry.Name())
		if err != nil {
			continue
		}
		if _, err := s.check(tool, entry.Name()); err == nil {
			all = append(all, v)
		}
	}
	return all
}

// Tools lists the tools in the store, by name and version.
func (s *Store) Tools() ([]Tool, error) {
	var all []Tool
	for _, name := range build.ToolNames() {
		versions := s.versions(name)
		slices.SortFunc(versions, (*semver.Version).Compare)
		for _, v := range versions {
			r, err := s.check(name, v.String())
			if err != nil {
				continue // removed meanwhile
			}
			t := r.Tool
			if info, err := os.Stat(s.lockFile(name, v.String())); err == nil {
				t.LastUsed = info.ModTime()
			}
			t.InUse = s.inUse(name, v.String())
			all = append(all, t)
		}
	}
	return all, nil
}

func (s *Store) inUse(tool, version string) bool {
	lock := flock.New(s.lockFile(tool, version))
	defer lock.Close()
	free, err := lock.TryLock()
	return err == nil && !free
}

// Remove removes a tool. It returns NotFound if the tool is not in the store,
// and Conflict if a build uses it.
func (s *Store) Remove(ctx context.Context, tool, version string) error {
	label := build.ToolLabel(tool)
	if _, err := semver.StrictNewVersion(version); err != nil || !slices.Contains(build.ToolNames(), tool) {
		return troy.Errorf(troy.Invalid, "%.40s@%.40s is not a tool and its full version, like node@22.21.1", tool, version)
	}
	if _, err := os.Lstat(s.path(tool, version)); errors.Is(err, fs.ErrNotExist) {
		return troy.Errorf(troy.NotFound, "%s %s is not installed; \"troyd tools list\" shows what is", label, version)
	}
	gone, err := s.discard(ctx, tool, version)
	if err == nil && !gone {
		return troy.Errorf(troy.Conflict, "a build uses %s %s; try again when it has ended", label, version)
	}
	return err
}

// removed is the name prefix of a tool that is being removed.
const removed = "removed-"

// discard removes a tool unless it is in use.
func (s *Store) discard(ctx context.Context, tool, version string) (bool, error) {
	lock := flock.New(s.lockFile(tool, version), flock.SetPermissions(0o644))
	defer lock.Close()
	free, err := lock.TryLock()
	if err != nil || !free {
		return false, err
	}
	// A half-removed tool must not be found.
	gone := filepath.Join(s.dir, "tmp", removed+uuid.NewString())
	if err := os.Rename(s.path(tool, version), gone); err != nil {
		return errors.Is(err, fs.ErrNotExist), ignoreMissing(err)
	}
	_, err = walk.Remove(ctx, gone)
	return true, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// trim removes the tools that were not used for the longest time until the
// store is within its limit, damaged ones, and what interrupted installations
// left. It keeps tools in use.
func (s *Store) trim(ctx context.Context) error {
	if err := errors.Join(s.sweep(ctx), s.discardDamaged(ctx)); err != nil {
		return err
	}
	all, err := s.Tools()
	if err != nil {
		return err
	}
	var total int64
	for _, t := range all {
		total += t.Bytes
	}
	slices.SortFunc(all, func(a, b Tool) int { return cmp.Compare(a.LastUsed.UnixNano(), b.LastUsed.UnixNano()) })
	for _, t := range all {
		if total <= s.maxBytes {
			return nil
		}
		gone, err := s.discard(ctx, t.Name, t.Version)
		if err != nil {
			return err
		}
		if gone {
			total -= t.Bytes
			s.log.Info("a tool was removed: the store exceeded its limit", "tool", t.Name, "version", t.Version)
		}
	}
	return nil
}

func (s *Store) discardDamaged(ctx context.Context) error {
	for _, tool := range build.ToolNames() {
		entries, err := os.ReadDir(filepath.Join(s.dir, tool))
		if ignoreMissing(err) != nil {
			return err
		}
		for _, entry := range entries {
			if _, err := s.check(tool, entry.Name()); !errors.Is(err, errDamaged) {
				continue
			}
			if _, err := s.discard(ctx, tool, entry.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep removes what processes left that died while they installed or removed a
// tool. Who installs a tool holds its lock; its folder in tmp has the lock's
// name.
func (s *Store) sweep(ctx context.Context) error {
	dir := filepath.Join(s.dir, "tmp")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue // a list that is being written
		}
		if strings.HasPrefix(entry.Name(), removed) {
			if err := remove(ctx, filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
			continue
		}
		lock := flock.New(filepath.Join(s.dir, "locks", entry.Name()), flock.SetPermissions(0o644))
		free, err := lock.TryLock()
		if err == nil && free {
			_, err = walk.Remove(ctx, filepath.Join(dir, entry.Name()))
		}
		if err = errors.Join(ignoreMissing(err), lock.Close()); err != nil {
			return err
		}
	}
	return files.RemoveStale(dir, s.now().Add(-time.Hour))
}
