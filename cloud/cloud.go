// Package cloud defines the ports to the services that serve sites: the store
// of their files, the CDN and the DNS. Workers use all of them, web only Store.
// The adapters are awscloud and localcloud; both pass cloudtest.
//
// Every call may fail before or after its effect, so every call may be
// repeated: repeating a completed call is not an error, unless the call's
// comment says so. Calls honour their context. An error that retries can't fix
// is a *troy.Error of kind Invalid, Conflict, NotFound or Moved; any other
// error may be temporary.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/troy-iaas/troy"
	"github.com/troy-iaas/troy/site"
)

// ErrNotFound means that the requested item does not exist. It may be wrapped.
var ErrNotFound = errors.New("not found")

// ErrExists means that the reference of a CDN.Create was used before. CDN.Find
// then finds the distribution.
var ErrExists = errors.New("already exists")

// ErrPrecondition means that a distribution changed after the ETag was read:
// read it again and retry.
var ErrPrecondition = errors.New("changed meanwhile")

// ErrFull means that the store's disk has no room for an upload.
var ErrFull = errors.New("the store's disk is full")

// ErrNotDeployed is returned by Previews.Point while what serves the previews is
// being made: retry later.
var ErrNotDeployed = errors.New("not deployed yet")

// ErrNotDisabled is returned by CDN.Delete while the distribution is enabled or
// its disabling is still in progress.
var ErrNotDisabled = errors.New("not disabled yet")

// ErrStalePointer is returned by CDN.Flip when the pointer in force has a
// higher sequence. The pointer does not change.
var ErrStalePointer = errors.New("a later deployment is live")

// StalePointerError is an ErrStalePointer with the sequence in force.
type StalePointerError struct{ InForce int64 }

func (e *StalePointerError) Error() string { return ErrStalePointer.Error() }

// Is reports whether target is ErrStalePointer.
func (e *StalePointerError) Is(target error) bool { return target == ErrStalePointer }

// DigestError means that the bytes of an upload differ from the declared ones.
type DigestError struct {
	Declared, Got         site.Digest
	DeclaredSize, GotSize int64
}

func (e *DigestError) Error() string {
	if e.DeclaredSize != e.GotSize {
		return fmt.Sprintf("the upload has %d bytes; expected %d as declared", e.GotSize, e.DeclaredSize)
	}
	return fmt.Sprintf("the upload's SHA-256 is %s; expected %s as declared", e.Got, e.Declared)
}

// MissingError lists the files of a tree that have not been uploaded.
type MissingError struct{ Files []site.File }

func (e *MissingError) Error() string {
	if len(e.Files) == 1 {
		return "a file has not been uploaded: " + e.Files[0].Path
	}
	return fmt.Sprintf("%d files have not been uploaded, the first is %s", len(e.Files), e.Files[0].Path)
}

// Store holds the trees of deployments. It never uses or reveals one pipeline's
// files for another.
type Store interface {
	// Begin declares a tree and returns the files to send: those whose bytes
	// the pipeline has neither in this tree nor in another one, one file for
	// each digest. Declaring a tree again with the same files continues it,
	// with its first trailing slash policy; with other files Begin returns
	// ErrExists.
	Begin(ctx context.Context, t site.Tree, m site.Manifest) (missing []site.File, err error)

	// Put stores one declared file. It reads at most f.Size+1 bytes. If they
	// are not f's, it returns *DigestError and stores nothing. For a tree that
	// was not declared it returns ErrNotFound.
	Put(ctx context.Context, t site.Tree, f site.File, r io.Reader) error

	// PutAll stores declared files whose bytes follow each other in r, in the
	// order of files. It returns how many it stored, also beside an error: those
	// before files[stored], the one that failed. Each stored file is as after
	// its Put, so a broken transfer continues there. If the bytes of a file are
	// not its own, PutAll returns *DigestError; for a tree that was not declared
	// it returns ErrNotFound. It reads nothing beyond the last file, and the
	// bytes of files that the store has as well.
	PutAll(ctx context.Context, t site.Tree, files []site.File, r io.Reader) (stored int, err error)

	// Seal completes a declared tree and makes it durable and ready to be
	// served: it copies files that were not sent from other trees of the
	// pipeline, and returns *MissingError if a file is in none. carried
	// replaces the tree's list of assets carried from earlier deployments,
	// except for those that no tree has and those whose path the tree has
	// itself. rules are the site's compiled rules; nil keeps those that the
	// tree has. A sealed tree may be sealed again.
	Seal(ctx context.Context, t site.Tree, carried []site.Carried, rules []byte) error

	Reader

	Lister

	// Remove deletes trees of a pipeline, and the bytes that none of its other
	// trees needs. Declared trees need the files that Begin did not return, so
	// an upload can finish while other trees are removed. It ignores trees that
	// do not exist.
	Remove(ctx context.Context, pipeline uuid.UUID, deployments ...uuid.UUID) error

	// RemoveAll deletes everything of a pipeline and returns the number of
	// files (objects, on AWS) that it removed; 0 means that nothing was left.
	RemoveAll(ctx context.Context, pipeline uuid.UUID) (int, error)
}

// Reader reads declared trees.
type Reader interface {
	// Manifest returns a tree's manifest, or ErrNotFound if it was not
	// declared.
	Manifest(ctx context.Context, t site.Tree) (site.Manifest, error)

	// Read returns the bytes of one of a declared tree's files, which has at
	// most MaxRead bytes. It also finds those that only another tree of the
	// pipeline has before this one is sealed. It returns ErrNotFound if they
	// were not uploaded, and a TooLarge error for a larger file.
	Read(ctx context.Context, t site.Tree, f site.File) ([]byte, error)
}

// MaxRead is the maximum size of a file that Reader.Read reads, in bytes.
const MaxRead = 8 << 20

// CheckRead returns a TooLarge error if a file is too large for Reader.Read.
func CheckRead(f site.File) error {
	if f.Size > MaxRead {
		return troy.Errorf(troy.TooLarge, "the file %q has %d bytes; at most %d can be read", f.Path, f.Size, MaxRead)
	}
	return nil
}

// Signer is a Store that clients can upload to directly.
type Signer interface {
	// Sign returns, for each of a declared tree's files, a request that any
	// client may make until it expires, and that stores that file and no other
	// bytes. The store refuses it (412) if the file already exists.
	Sign(ctx context.Context, t site.Tree, files []site.File) (requests []SignedPut, expires time.Time, err error)
}

// SignedPut is a PUT whose URL carries its permission.
type SignedPut struct {
	URL string
	// Header must be sent unchanged, with Content-Length.
	Header http.Header
}

// Distribution serves a site's hosts on a CDN.
type Distribution struct {
	ID     string
	Domain string // the CDN's own name for it, target of the alias record
	ETag   string // guards Disable and Delete
	// Enabled is the wanted state; Deployed means that it has been reached
	// everywhere. A new or changed distribution is not Deployed for minutes.
	Enabled, Deployed bool
}

// CDN makes distributions and points them at trees.
type CDN interface {
	// Create makes an enabled distribution for the host. The reference derives
	// from the pipeline; if it was used before, Create returns ErrExists. If
	// another distribution serves the host, it returns a *troy.Error of kind
	// Conflict.
	Create(ctx context.Context, reference string, host string) (Distribution, error)
	// Find returns the distribution that was created with the reference, or
	// ErrNotFound. It also finds one whose Create lost its answer.
	Find(ctx context.Context, reference string) (Distribution, error)
	// Get returns a distribution's current state, or ErrNotFound.
	Get(ctx context.Context, id string) (Distribution, error)
	// Disable stops a distribution from serving, guarded by the ETag; it
	// returns ErrPrecondition if the distribution changed. Poll Get until
	// !Enabled and Deployed.
	Disable(ctx context.Context, id, etag string) error
	// Delete removes a disabled distribution and its pointer. After
	// ErrNotDisabled and ErrPrecondition, retry later. Delete returns nil if
	// the distribution does not exist.
	Delete(ctx context.Context, id, etag string) error
	// Flip makes p the distribution's pointer and refreshes the CDN's cache. If
	// the pointer in force has a higher sequence, or the same and another tree,
	// Flip returns *StalePointerError. A pointer that differs from the one in
	// force only in its sequence means that the tree was sealed again: Flip
	// invalidates the tree in the cache. When it returns nil, new requests are
	// answered from p's tree (on a CDN within seconds).
	Flip(ctx context.Context, id string, p site.Pointer) error
}

// ErrStaleProtection is returned by Protector.Protect when the protection in
// force has a higher sequence. The protection does not change.
var ErrStaleProtection = errors.New("a later protection is in force")

// StaleProtectionError is an ErrStaleProtection with the sequence in force.
type StaleProtectionError struct{ InForce int64 }

func (e *StaleProtectionError) Error() string { return ErrStaleProtection.Error() }

// Is reports whether target is ErrStaleProtection.
func (e *StaleProtectionError) Is(target error) bool { return target == ErrStaleProtection }

// Protector is a CDN that can protect sites from visitors.
type Protector interface {
	// Protect makes p the protection of the distribution's site. If the
	// protection in force has a higher sequence, or the same and other content,
	// Protect returns *StaleProtectionError. It returns ErrNotFound if the
	// distribution does not exist. When it returns nil, p applies to every
	// request that begins later (on a CDN within seconds). Deleting the
	// distribution removes p.
	Protect(ctx context.Context, id string, p site.Protection) error
}

// DNS keeps the records of hosts.
type DNS interface {
	// Lookup returns the target of a host's alias record, or ErrNotFound.
	Lookup(ctx context.Context, host string) (target string, err error)
	// Upsert makes the host an alias of target. It accepts an existing record
	// that points at target, which comes from a call whose answer was lost. It
	// does not change any other record of the host, and returns a *troy.Error
	// of kind Conflict that names it.
	Upsert(ctx context.Context, host, target string) error
	// Delete removes the host's record if it points at target. It returns nil
	// if the record does not exist or points elsewhere.
	Delete(ctx context.Context, host, target string) error
}

// Cloud is one adapter's ports.
type Cloud struct {
	Store Store
	CDN   CDN
	DNS   DNS
	// Domains is nil if the cloud can't serve custom hosts.
	Domains Domains
	// Previews is nil if the cloud can't serve previews.
	Previews Previews
	// AccessLogs is nil if the CDN writes no access logs for Troy to count.
	AccessLogs AccessLogs
	// Functions means that CloudFront's functions obey the sites' rules
	// (package site/rules). They don't obey all of them.
	Functions bool
	// PropagationDelay is the time between two polls of a distribution that is
	// changing.
	PropagationDelay time.Duration
}
