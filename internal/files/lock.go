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

// lockPoll is how often a taken lock is tried again. flock has no waiting
// that a context could end.
const lockPoll = 2 * time.Millisecond

// Lock takes the flock of a file, shared or exclusive. The file is made,
// its folder is not: without one the error is fs.ErrNotExist, also when it
// goes while the lock is waited for. flock opens the file anew for each try; a
// file that was replaced between opening and locking guards nothing, and the
// lock is taken anew.
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

// Lock takes the exclusive lock of one name. Names share a fixed number of
// lock files, so that none has to be removed with what it guards, which
// flock can't do safely. kind keeps apart the locks that are held together.
func (r Root) Lock(ctx context.Context, kind, name string) (release func(), err error) {
	sum := sha256.Sum256([]byte(name))
	return Lock(ctx, r.Path("locks", fmt.Sprintf("%s-%02x", kind, sum[0])), false)
}
