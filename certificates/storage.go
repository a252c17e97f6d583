package certificates

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
)

// storage is a folder of certificates. It tells the attempt in its context what
// certmagic does not: each challenge, and why a file can't be written.
type storage struct{ *certmagic.FileStorage }

// Store saves a value.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	err := s.FileStorage.Store(ctx, key, value)
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok {
		switch {
		case err != nil:
			a.fail(storageError{err})
		case strings.Contains(key, "/challenge_tokens/"):
			a.presented()
		}
	}
	return err
}

// List lists keys. It leaves out the account without an e-mail address: certmagic
// would take the name of its folder, default, for the address while another process
// creates the account.
func (s *storage) List(ctx context.Context, key string, recursive bool) ([]string, error) {
	keys, err := s.FileStorage.List(ctx, key, recursive)
	if path.Base(key) == "users" {
		keys = slices.DeleteFunc(keys, func(k string) bool { return path.Base(k) == "default" })
	}
	return keys, err
}

// storageError means that a file of the folder can't be written.
type storageError struct{ error }

func (e storageError) Unwrap() error { return e.error }

// attemptKey is the key of an attempt in a context.
type attemptKey struct{}

// attempt is one attempt to get a certificate. certmagic repeats a failed one
// for 30 days within one call; fail ends it instead, because the manager decides
// when to repeat it.
type attempt struct {
	name    string
	renewal bool
	revoked string // the hash of the revoked certificate that it replaces, or ""
	cancel  context.CancelFunc

	mu         sync.Mutex
	ordered    bool // orders were reserved in the budget
	obtained   bool
	replaced   bool // another process was faster
	challenges int
	err        error
}

// fail ends the attempt. The first error counts.
func (a *attempt) fail(err error) {
	a.mu.Lock()
	if a.err == nil {
		a.err = err
	}
	a.mu.Unlock()
	a.cancel()
}

func (a *attempt) presented() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.challenges++
}
