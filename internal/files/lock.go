package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is the interval of attempts to take a lock. A context can't
// interrupt flock's own wait.
const lockPoll = 2 * time.Millisecond

// Lock takes the flock of a file, shared or exclusive. It creates the file but
// not its folder: if the folder does not exist or is removed during the wait,
// the error is fs.ErrNotExist. It opens the file again for each attempt, and
// retries if the file was replaced between opening and locking, because that
// lock would guard nothing.
func Lock(ctx context.Context, file string, shared bool) (release func(), err error) {
	for {
		lock := flock.New(file, flock.SetPermissions(0o644))
		try := lock.TryLockContext
		if shared {
			try = lock.TryRLockContext
		}
		if _, err := try(ctx, lockPoll); err != nil {
			return nil, fmt.Errorf("lock %s: %w", file, Error(errors.Join(err, lock.Close())))
		}
		held, heldErr := lock.Stat()
		named, namedErr := os.Stat(file)
		if heldErr == nil && namedErr == nil && os.SameFile(held, named) {
			return func() { _ = lock.Close() }, nil
		}
		_ = lock.Close()
	}
}

// Lock takes the exclusive lock of a name. Names share a fixed number of lock
// files, because flock can't safely remove a lock file together with what it
// guards. kind separates locks that are held together.
func (r Root) Lock(ctx context.Context, kind, name string) (release func(), err error) {
	sum := sha256.Sum256([]byte(name))
	return Lock(ctx, r.Path("locks", fmt.Sprintf("%s-%02x", kind, sum[0])), false)
}
