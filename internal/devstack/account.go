package devstack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// account is the user that runs Postgres. Postgres refuses to run as root, so
// root runs it as another user.
type account struct {
	name       string
	credential *syscall.Credential // nil means the caller's own account
}

// serverAccount returns the caller's own account or, for root, "postgres" if
// that user exists and otherwise "nobody".
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return account{}, fmt.Errorf("read the ids of user %s: %w", name, err)
		}
		return account{name: name, credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, errors.New("Postgres refuses to run as root, and neither the user postgres nor the user nobody exists; start troyd as another user, or set TROY_DATABASE_URL")
}

// makeFolder creates a private folder of the account.
func (a account) makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create a folder for Postgres: %w", err)
	}
	return a.own(dir)
}

// own makes the account the owner of a file or an empty folder.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	if err := os.Chown(path, int(a.credential.Uid), int(a.credential.Gid)); err != nil {
		return fmt.Errorf("change the owner of %s to %s: %w", path, a.name, err)
	}
	return nil
}

// reaches reports whether the account can access dir through all of its parent
// folders.
func (a account) reaches(dir string) bool {
	if a.credential == nil {
		return true
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	for {
		info, err := os.Stat(resolved)
		if err != nil {
			return false
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return false
		}
		bit := os.FileMode(0o001)
		switch {
		case owner.Uid == a.credential.Uid:
			bit = 0o100
		case owner.Gid == a.credential.Gid || slices.Contains(a.credential.Groups, owner.Gid):
			bit = 0o010
		}
		if info.Mode()&bit == 0 {
			return false
		}
		parent := filepath.Dir(resolved)
		if parent == resolved {
			return true
		}
		resolved = parent
	}
}

// outsideRoot returns the location of a folder's Postgres data if Postgres's
// account can't reach the folder.
func outsideRoot(dir string) string {
	digest := sha256.Sum256([]byte(dir))
	parent := "/var/lib"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = os.TempDir()
	}
	return filepath.Join(parent, "troy-"+hex.EncodeToString(digest[:8]))
}

// setAside renames a root whose password is not known because its data folder
// was removed. It deletes nothing.
func setAside(root string, logger *slog.Logger) error {
	if _, err := os.Lstat(root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside := root + ".lost-" + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(root, aside); err != nil {
		return fmt.Errorf("set aside Postgres data with a lost password: %w", err)
	}
	logger.Warn("found Postgres data with a lost password and set it aside", "to", aside)
	return nil
}

// temporaryFolder creates a private folder of the account for data or for a
// socket. os.TempDir may be inside a private home, or be too long for a
// socket's path (107 bytes on Linux, 103 on macOS).
func (a account) temporaryFolder(pattern string) (string, error) {
	parent := os.TempDir()
	if len(parent) > 60 || !a.reaches(parent) {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, pattern)
	if err != nil {
		return "", fmt.Errorf("create a temporary folder: %w", err)
	}
	if err := a.own(dir); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}
